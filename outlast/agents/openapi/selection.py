"""The operations of an OpenAPI document, and the choice among them."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from outlast.agents.openapi.documents import Document, Unusable
from outlast.contracts.effects import Effect
from outlast.contracts.names import MAX_TOOLS
from outlast.errors import DefinitionError
from outlast.text.hints import hint
from outlast.text.texts import shown

MAX_OPERATIONS = 20_000
"""Operations of one document."""

EFFECTS: dict[str, Effect] = {
    "get": "read",
    "head": "read",
    "put": "idempotent",
    "delete": "idempotent",
    "post": "write",
    "patch": "write",
}
"""The effect of each method, by the rules of HTTP (RFC 9110, section 9.2)."""


class Found(NamedTuple):
    """An operation in a document. `name` is its operationId, or its method and path."""

    name: str
    method: str
    template: str
    item: Mapping[str, Any]
    node: Mapping[str, Any]

    @property
    def path(self) -> str:
        """The path of the operation in the document."""
        return f"paths.{self.template}.{self.method}"


def operations_of(document: Document) -> Iterator[Found]:
    """Yield the operations of a document. Raises `DefinitionError`."""
    try:
        paths = document.mapping(document.root, "paths", "document")
    except Unusable as error:
        raise DefinitionError(str(error)) from None
    count = 0
    for template, entry in paths.items():
        item = _item(document, entry, f"paths.{template}")
        for method in EFFECTS:
            node = item.get(method)
            if node is None:
                continue
            count += 1
            if count > MAX_OPERATIONS:
                raise DefinitionError(f"document: more than {MAX_OPERATIONS:,} operations")
            if not isinstance(node, Mapping):
                raise DefinitionError(
                    f"document: paths.{template}.{method}: {shown(node)} is not an object"
                )
            named = node.get("operationId")
            is_named = isinstance(named, str) and named.strip()
            yield Found(
                str(named)
                if is_named
                else re.sub(r"[^A-Za-z0-9]+", "_", f"{method}{template}").strip("_"),
                method,
                template,
                item,
                node,
            )


def _item(document: Document, entry: object, path: str) -> Mapping[str, Any]:
    """Return the operations of a path, which can be a reference."""
    try:
        return document.resolved(entry, path)
    except Unusable as error:
        raise DefinitionError(f"document: {error}") from None


def chosen(
    found: list[Found], include: Sequence[str] | None, exclude: Sequence[str]
) -> list[Found]:
    """Return the operations that the developer chose. Raises `DefinitionError`."""
    names = [each.name for each in found]
    for option, patterns in (("include", () if include is None else include), ("exclude", exclude)):
        if (
            not isinstance(patterns, Collection)
            or isinstance(patterns, str | Mapping)
            or not all(isinstance(each, str) for each in patterns)
        ):
            raise DefinitionError(f"{option}: {shown(patterns)} must be a list of names")
        for pattern in patterns:
            if not any(_matches(name, pattern) for name in names):
                raise DefinitionError(
                    f"{option}: {shown(pattern)} is not an operation of the document;"
                    f" {hint(pattern, names[:MAX_TOOLS])}"
                )
    kept = [
        each
        for each in found
        if (include is None or any(_matches(each.name, pattern) for pattern in include))
        and not any(_matches(each.name, pattern) for pattern in exclude)
    ]
    if not kept:
        raise DefinitionError("document: no operation is left: correct include= and exclude=")
    if len(kept) > MAX_TOOLS:
        raise DefinitionError(
            f"document: {len(kept):,} operations are too many for one agent; name at most {MAX_TOOLS}"
            " with include="
        )
    return kept


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)
