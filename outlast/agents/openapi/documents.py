"""OpenAPI documents as JSON, and the references in them."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from outlast.errors import DefinitionError
from outlast.text.error_text import error_text
from outlast.text.json_text import from_json
from outlast.text.texts import cut, shown

MAX_DOCUMENT_BYTES = 32_000_000
"""Bytes of a document. The largest public ones have 12 MB."""

MAX_REFERENCE_STEPS = 20
"""References that lead to each other, from one place of a document to what it means."""


class Unusable(ValueError):
    """Raised for a part of a document that cannot be used. The message begins with the path of the part."""


class Document:
    """An OpenAPI document of the version 3.0 or 3.1. Other documents are never read."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        version = root.get("openapi")
        if not isinstance(version, str) or not version.startswith(("3.0", "3.1")):
            old = root.get("swagger")
            hint = "; convert the Swagger document first" if old is not None else ""
            raise DefinitionError(
                f"openapi: {shown(version or old)} is not a supported version; give a document of 3.0 or"
                f" 3.1{hint}"
            )
        self.is_3_0 = version.startswith("3.0")

    def resolved(self, node: Any, path: str) -> dict[str, Any]:
        """Return the object at a place, or the one that its `$ref` names. Raises `Unusable`."""
        for _ in range(MAX_REFERENCE_STEPS):
            if not isinstance(node, Mapping):
                raise Unusable(f"{path}: {shown(node)} is not an object")
            if "$ref" not in node:
                return dict(node)
            node = self.target(node["$ref"], path)
        raise Unusable(f"{path}: its $ref leads to more than {MAX_REFERENCE_STEPS} others")

    def target(self, reference: object, path: str) -> Any:
        """Return what a `$ref` of this document names. Raises `Unusable` for one of another document."""
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise Unusable(
                f"{path}: $ref {shown(reference)} must begin with '#/': other documents are not read, so"
                " bundle them into one"
            )
        node: Any = self.root
        for part in unquote(reference[2:]).split("/"):
            step = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, Mapping) and step in node:
                node = node[step]
            elif isinstance(node, list) and step in map(str, range(len(node))):
                node = node[int(step)]
            else:
                raise Unusable(f"{path}: $ref {shown(reference)} names nothing in the document")
        return node

    def mapping(self, node: Mapping[str, Any], key: str, path: str) -> dict[str, Any]:
        """Return the object in a field, or an empty one. Raises `Unusable` for another value."""
        value = node.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise Unusable(f"{path}.{key}: {shown(value)} is not an object")
        return {str(name): entry for name, entry in value.items()}


def read_document(document: object) -> Document:
    """Return a document from a dict, JSON text or the path of a JSON file. Raises `DefinitionError`."""
    if isinstance(document, Mapping):
        return Document(document)
    if isinstance(document, str) and document.lstrip()[:1] in ("{", "["):
        text, where = document, "the JSON text"
    elif isinstance(document, str | PathLike):
        text, where = _file_text(document), f"the file {shown(str(document))}"
    else:
        raise DefinitionError(
            f"document: {shown(document)} must be a dict, JSON text, or the path of a JSON file"
        )
    if len(text) > MAX_DOCUMENT_BYTES:
        raise DefinitionError(f"document: {where} has more than {MAX_DOCUMENT_BYTES:,} bytes")
    try:
        root = from_json(text)
    except ValueError as error:
        reason = "it is not JSON" if isinstance(error, json.JSONDecodeError) else error_text(error)
        raise DefinitionError(
            f"document: {where} cannot be read ({cut(reason, 200)}); for YAML, pass"
            " yaml.safe_load(text)"
        ) from None
    if not isinstance(root, dict):
        raise DefinitionError(f"document: {where} is not a JSON object")
    return Document(root)


def _file_text(place: "str | PathLike[str]") -> str:
    try:
        path = Path(place)
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            raise DefinitionError(
                f"document: the file {shown(str(path))} has more than {MAX_DOCUMENT_BYTES:,} bytes"
            )
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DefinitionError(f"document: the file {shown(str(place))} is not UTF-8") from None
    except (OSError, ValueError) as error:
        if isinstance(error, DefinitionError):
            raise
        raise DefinitionError(
            f"document: {shown(str(place))} is neither JSON text nor a file that can be read"
            f" ({cut(error_text(error), 200)})"
        ) from None
