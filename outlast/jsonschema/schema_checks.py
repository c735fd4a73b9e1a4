"""Checks of JSON Schemas: each is well formed, small, and free of contradictions, or rejected by path."""

import json
import math
from collections.abc import Callable, Iterator

from pydantic import JsonValue

from outlast.jsonschema.canonical import canonical_schema
from outlast.jsonschema.contradictions import contradiction_in, endless_reference
from outlast.jsonschema.keywords import (
    BRANCHES,
    CONSTRAINING,
    COUNTS,
    DEFINITIONS,
    GROUPS,
    REFERENCES,
    SCHEMA_KEYWORDS,
    SINCE,
    children,
    draft_of,
    modern,
)
from outlast.jsonschema.pattern_syntax import PatternError
from outlast.jsonschema.patterns import pattern_of
from outlast.jsonschema.references import References
from outlast.jsonschema.schemas import Schema
from outlast.jsonschema.slips import slip_of
from outlast.text.texts import cut

MAX_SCHEMA_BYTES = 64_000
"""A schema as compact JSON. Every run records it, every prompt contains it, and the engine compiles it."""

MAX_SCHEMA_DEPTH = 64
"""Levels of nesting: engines compile a schema recursively."""

MAX_PATTERN_BYTES = 16_000_000
"""The estimated size of all patterns of a schema when they are compiled."""

MAX_REMARKS = 10
"""Remarks about one schema."""

MAX_UNKNOWN_KEYWORDS = 200
"""Unknown keywords of one schema that are compared with the known ones."""

MAX_QUOTED = 80
"""Bytes of a value in a message."""

MAX_PATH = 300
"""Bytes of a path in a message: names of properties have no limit."""

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_DEFINING = ("$ref", "allOf", "anyOf", "const", "enum", "oneOf", "properties", "type")
_SHAPING = (
    *("type", "properties", "items", "prefixItems", "patternProperties", "additionalProperties"),
    *("enum", "const", "anyOf", "oneOf", "allOf", "$ref"),
)
"""Keywords without which a schema is not what its author meant."""


def check_schema(schema: JsonValue, path: str, *, arguments: bool = False) -> tuple[str, ...]:
    """Check a JSON Schema that a person wrote, of drafts 4 to 2020-12. Return remarks on probable mistakes.

    Raises `ValueError`, with the path of the mistake, if it is unusable. An answer must have content;
    `arguments` of a tool may be empty. Unknown keywords are annotations, as the standard says.
    """
    if not isinstance(schema, dict):
        raise ValueError(
            f"{path}: {_quoted(schema)} is not a JSON Schema; give an object with a 'type'"
        )
    if not CONSTRAINING & schema.keys():
        keywords = ", ".join(_quoted(key) for key in list(schema)[:3]) or "nothing"
        meant = next(filter(None, map(slip_of, list(schema)[:MAX_UNKNOWN_KEYWORDS])), None)
        hint = f"; did you mean {meant!r}?" if meant else ""
        raise ValueError(
            f"{path}: not a JSON Schema: it has {keywords}, and needs one of "
            f"{', '.join(_DEFINING)}{hint}"
        )
    return _checked(schema, path, arguments=arguments, written=True)


def check_derived(schema: Schema, path: str, *, arguments: bool = False) -> None:
    """Raise `ValueError` if the schema of a type is unusable.

    Unlike in `check_schema`, each contradiction is an error: a type has no part that nobody means.
    """
    _checked(schema, path, arguments=arguments, written=False)


def _checked(schema: Schema, path: str, *, arguments: bool, written: bool) -> tuple[str, ...]:
    _check_size(schema, path)
    inspection = _Inspection(schema, written=written)
    inspection.inspect(path)
    canonical = canonical_schema(schema)
    endless = endless_reference(canonical, path)
    if endless is not None:
        raise ValueError(f"{cut(endless[0], MAX_PATH)}: {endless[1]}")
    if not arguments and _has_no_content(canonical, written=written):
        raise ValueError(
            f"{path}: an object without properties has no content; name its properties, or set "
            "additionalProperties to true or to a schema"
        )
    return tuple(inspection.remarks)


def _check_size(schema: Schema, path: str) -> None:
    # Encode in pieces, to reject a huge schema before all of it is encoded.
    pieces = json.JSONEncoder(
        ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).iterencode(schema)
    size = 0
    try:
        for piece in pieces:
            size += len(piece.encode(errors="surrogatepass"))
            if size > MAX_SCHEMA_BYTES:
                break
    except RecursionError:
        raise ValueError(f"{path}: nested deeper than {MAX_SCHEMA_DEPTH}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if size > MAX_SCHEMA_BYTES:
        raise ValueError(
            f"{path}: larger than {MAX_SCHEMA_BYTES:,} bytes of JSON; give a smaller type, and let a tool "
            "look things up"
        )


def _has_no_content(schema: Schema, *, written: bool) -> bool:
    node: JsonValue = schema
    while isinstance(node, dict) and str(node.get("$ref", "")).startswith("#/$defs/"):
        definitions = schema.get("$defs", {})
        node = definitions.get(str(node["$ref"])[8:]) if isinstance(definitions, dict) else None
    return (
        isinstance(node, dict)
        and node.get("type") == "object"
        and not any(node.get(word) for word in ("properties", "patternProperties", "required"))
        and node.get("additionalProperties", written) is False
        and not any(word in node for word in ("anyOf", "oneOf", "allOf", "const", "enum"))
    )


class _Inspection:
    """A walk through a schema and all that its references name."""

    def __init__(self, schema: Schema, *, written: bool) -> None:
        self._root = schema
        self._draft = draft_of(schema)
        self._written = written
        self._references = References(schema)
        self._seen: set[int] = set()
        self._pattern_bytes: dict[str, int] = {}
        self._unknown: set[str] = set()
        self._targets: list[tuple[JsonValue, str]] = []
        self._contradictions: list[tuple[int, str]] = []
        self.remarks: list[str] = []

    def inspect(self, path: str) -> None:
        """Raise `ValueError` for a mistake, and collect remarks."""
        self._node(self._root, path, 0)
        while self._targets:
            target, place = self._targets.pop()
            if isinstance(target, dict) and id(target) not in self._seen:
                self._node(target, f"{path}.{place}", 0)
        if sum(self._pattern_bytes.values()) > MAX_PATTERN_BYTES:
            raise ValueError(f"{path}: its patterns are too large to compile together")
        needed = self._needed() if self._contradictions else set()
        for node, message in self._contradictions:
            if not self._written or node in needed:
                raise ValueError(message)
            self._remark(message)

    def _node(self, node: JsonValue, path: str, depth: int) -> None:
        if isinstance(node, bool):
            return
        place = cut(path, MAX_PATH)
        if not isinstance(node, dict):
            raise ValueError(f"{place}: {_quoted(node)} is not a JSON Schema; give an object")
        if depth > MAX_SCHEMA_DEPTH:
            raise ValueError(f"{place}: nested deeper than {MAX_SCHEMA_DEPTH}")
        self._seen.add(id(node))
        for keyword, value in node.items():
            self._keyword(keyword, value, node, place)
        contradiction = contradiction_in(modern(node, self._draft), path)
        if contradiction is not None:
            where, reason = contradiction
            self._contradictions.append((id(node), f"{cut(where, MAX_PATH)}: {reason}"))
        for child, step in children(node):
            self._node(child, f"{path}.{step}", depth + 1)

    def _keyword(self, keyword: str, value: JsonValue, node: Schema, place: str) -> None:
        check = _CHECKS.get(keyword)
        if check is not None and not check(value):
            allowed = _ALLOWED[keyword]
            raise ValueError(f"{place}.{keyword}: {_quoted(value)} is not {allowed}")
        if keyword in REFERENCES:
            self._reference(keyword, value, node, place)
        elif keyword == "pattern":
            self._pattern(value, f"{place}.pattern")
        elif keyword == "patternProperties" and isinstance(value, dict):
            for pattern in value:
                self._pattern(pattern, f"{place}.patternProperties")
        elif self._written and SINCE.get(keyword, 0) > self._draft:
            self._remark(f"{place}: {keyword!r} has no effect in draft {self._draft}")
        elif self._written and keyword not in self._unknown:
            self._slip(keyword, node, place)

    def _reference(self, keyword: str, value: JsonValue, node: Schema, place: str) -> None:
        target = self._references.target(value, node)
        if target is None:
            raise ValueError(
                f"{place}.{keyword}: {_quoted(value)} is not a reference to a schema in this document, "
                "such as '#/$defs/Name'; other documents are not read"
            )
        if keyword == "$dynamicRef" and self._references.is_ambiguous(str(value)):
            raise ValueError(f"{place}.{keyword}: {_quoted(value)} names more than one schema")
        self._targets.append((target, str(value).lstrip("#/").replace("/", ".")))

    def _pattern(self, value: JsonValue, place: str) -> None:
        pattern = str(value)
        try:
            self._pattern_bytes[pattern] = pattern_of(pattern).size.bytes
        except PatternError as error:
            raise ValueError(
                f"{place}: {_quoted(pattern)} is not a supported regular expression: {error}"
            ) from None

    def _slip(self, keyword: str, node: Schema, place: str) -> None:
        if len(self._unknown) >= MAX_UNKNOWN_KEYWORDS:
            return
        meant = slip_of(keyword)
        if meant is None:
            self._unknown.add(keyword)
            return
        message = f"{place}: unknown keyword {_quoted(keyword)}; did you mean {meant!r}?"
        if meant in _SHAPING and not (CONSTRAINING - {"type"}) & node.keys():
            raise ValueError(message)
        self._remark(message)

    def _remark(self, message: str) -> None:
        if len(self.remarks) < MAX_REMARKS:
            self.remarks.append(message)

    def _needed(self) -> set[int]:
        """Return the schemas that some part of every value must satisfy."""
        needed: set[int] = set()
        waiting: list[JsonValue] = [self._root]
        while waiting:
            node = waiting.pop()
            if isinstance(node, dict) and id(node) not in needed:
                needed.add(id(node))
                waiting.extend(_needed_by(modern(node, self._draft)))
                reference = node.get("$ref")
                if reference is not None:
                    waiting.append(self._references.target(reference, node))
        return needed


def _needed_by(node: Schema) -> Iterator[JsonValue]:
    for keyword in ("allOf", "anyOf", "oneOf"):
        branches = node.get(keyword)
        if isinstance(branches, list) and (keyword == "allOf" or len(branches) == 1):
            yield from branches
    properties, required = node.get("properties"), node.get("required")
    if node.get("type") == "object" and isinstance(properties, dict) and isinstance(required, list):
        yield from (properties.get(str(name)) for name in required)
    least = node.get("minItems")
    if node.get("type") == "array" and isinstance(least, int) and least:
        first = node.get("prefixItems")
        prefix = first if isinstance(first, list) else []
        yield from prefix[:least]
        if least > len(prefix):
            yield node.get("items")


def _quoted(value: object) -> str:
    try:
        return cut(repr(value), MAX_QUOTED)
    except ValueError:  # Python writes no numbers with thousands of digits
        return "a number with too many digits"


def _is_type(value: JsonValue) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(name in _TYPES for name in names)


def _is_count(value: JsonValue) -> bool:
    if isinstance(value, float):
        return value.is_integer() and value >= 0
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_group(value: JsonValue) -> bool:
    return isinstance(value, dict)


def _is_list(value: JsonValue) -> bool:
    return isinstance(value, list) and bool(value)


def _is_names(value: JsonValue) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_groups_of_names(value: JsonValue) -> bool:
    return isinstance(value, dict) and all(_is_names(names) for names in value.values())


def _is_dependencies(value: JsonValue) -> bool:
    return isinstance(value, dict) and all(
        _is_names(part) if isinstance(part, list) else isinstance(part, dict | bool)
        for part in value.values()
    )


def _is_number(value: JsonValue) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _is_exclusive(value: JsonValue) -> bool:
    return isinstance(value, bool) or _is_number(value)


def _is_positive(value: JsonValue) -> bool:
    return _is_number(value) and isinstance(value, int | float) and value > 0


def _is_text(value: JsonValue) -> bool:
    return isinstance(value, str)


def _is_flag(value: JsonValue) -> bool:
    return isinstance(value, bool)


def _is_schema(value: JsonValue) -> bool:
    return isinstance(value, dict | bool)


def _is_items(value: JsonValue) -> bool:
    return isinstance(value, dict | bool | list)


_Check = tuple[Callable[[JsonValue], bool], str]
_A_SCHEMA: _Check = (_is_schema, "a JSON Schema; give an object")
_RULES: dict[str, _Check] = {
    **dict.fromkeys(SCHEMA_KEYWORDS, _A_SCHEMA),
    "items": (_is_items, _A_SCHEMA[1]),
    "type": (_is_type, f"one of {', '.join(_TYPES)}"),
    "required": (_is_names, "a list of property names"),
    **dict.fromkeys(("enum", *BRANCHES), (_is_list, "a list with an entry")),
    "pattern": (_is_text, "a regular expression"),
    "format": (_is_text, "the name of a format"),
    "uniqueItems": (_is_flag, "true or false"),
    "multipleOf": (_is_positive, "a number above 0"),
    "dependentRequired": (_is_groups_of_names, "an object of lists of property names"),
    "dependencies": (_is_dependencies, "an object of schemas and of lists of property names"),
    **dict.fromkeys((*GROUPS, *DEFINITIONS), (_is_group, "an object of schemas")),
    **dict.fromkeys(_BOUNDS, (_is_number, "a number")),
    **dict.fromkeys(_BOUNDS[2:], (_is_exclusive, "a number, or true or false in draft 4")),
    **dict.fromkeys(COUNTS, (_is_count, "a whole number from 0")),
}
_CHECKS = {keyword: check for keyword, (check, _) in _RULES.items()}
_ALLOWED = {keyword: allowed for keyword, (_, allowed) in _RULES.items()}
