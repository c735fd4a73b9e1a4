"""Documents of pipelines in files: JSON, or YAML if PyYAML is installed."""

import re
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from outlast.errors import BadRequest
from outlast.terminal.console import read_stdin
from outlast.text.json_text import MAX_JSON_DEPTH, NestedTooDeep, from_json
from outlast.text.texts import cut

MAX_FILE_BYTES = 1_000_000
"""Size of a file: comments and indentation do not count in the document."""

MAX_PROBLEM_BYTES = 300
"""Bytes of what a parser says about a file."""


def read_document(file: Path) -> JsonValue:
    """Return the document in a file; `-` is stdin. Raises `BadRequest` if it cannot be read."""
    name = "stdin" if str(file) == "-" else str(file)
    try:
        data = read_stdin(MAX_FILE_BYTES) if name == "stdin" else _read(file)
    except OSError as error:
        raise BadRequest(f"{name} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise BadRequest(f"{name} has more than {MAX_FILE_BYTES:,} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRequest(f"{name} is not text in UTF-8") from None
    try:
        return from_json(text) if text.lstrip().startswith("{") else from_yaml(text)
    except (ValueError, RecursionError, TypeError) as error:
        reason = cut(str(error), MAX_PROBLEM_BYTES)
        raise BadRequest(f"{name} is neither JSON nor YAML: {reason}") from None


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MAX_FILE_BYTES + 1)


def from_yaml(text: str) -> JsonValue:
    """Return YAML as JSON: objects, arrays, text, numbers, booleans and null, without anchors and tags.

    Raises `BadRequest` without PyYAML, and `ValueError` for what is not YAML or not JSON.
    """
    try:
        import yaml  # noqa: PLC0415 JSON needs no library
    except ModuleNotFoundError:
        raise BadRequest("YAML needs PyYAML: pip install 'outlast[yaml]', or give JSON") from None

    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"{_line_of(event)}: an alias (*name) is not supported")
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    return _json_of(node, 0)


def _json_of(node: Any, depth: int) -> JsonValue:
    """Return a node of YAML as JSON. Raises `ValueError` for what JSON does not have."""
    if depth > MAX_JSON_DEPTH:
        raise NestedTooDeep(f"it is nested deeper than {MAX_JSON_DEPTH} levels")
    if node is None:
        return None
    if node.id == "sequence":
        return [_json_of(item, depth + 1) for item in node.value]
    if node.id == "mapping":
        result: dict[str, JsonValue] = {}
        for key, value in node.value:
            line = _line_of(key)
            if key.id != "scalar":
                raise ValueError(f"{line}: a key is not a text")
            if key.value in result:
                raise ValueError(f"{line}: the key {key.value!r} stands twice")
            result[key.value] = _json_of(value, depth + 1)
        return result
    return _scalar(node)


def _scalar(node: Any) -> JsonValue:
    """Return a scalar as in YAML 1.2: `yes`, `no` and dates are texts."""
    text: str = node.value
    kind = node.tag.rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind in ("int", "float") and _NUMBER.fullmatch(text):
        return from_json(text)
    if kind in ("binary", "set", "omap", "pairs") or not node.tag.startswith(_STANDARD):
        raise ValueError(f"{_line_of(node)}: the tag {node.tag!r} is not supported")
    return text


def _line_of(part: Any) -> str:
    return f"line {part.start_mark.line + 1}"


_STANDARD = "tag:yaml.org,2002:"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
