"""The keywords of JSON Schema: their drafts, and where schemas stand in a schema."""

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import JsonValue

from outlast.jsonschema.schemas import Schema

SCHEMA_KEYWORDS = (
    *("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"),
    *("unevaluatedProperties", "unevaluatedItems", "additionalItems"),
)
"""Keywords with a schema."""

GROUPS = ("properties", "patternProperties", "dependentSchemas")
"""Keywords with an object of schemas, by a name or a pattern."""

DEFINITIONS = ("$defs", "definitions")
"""Keywords with schemas for references."""

BRANCHES = ("anyOf", "oneOf", "allOf", "prefixItems")
"""Keywords with a list of schemas."""

ASSERTIONS = (
    *("type", "enum", "const", "required", "dependentRequired", "format", "pattern", "multipleOf"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "uniqueItems"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("minContains", "maxContains"),
)
"""Keywords that constrain a value, and contain no schema."""

ANNOTATIONS = (
    *("$comment", "title", "description", "default", "examples", "deprecated"),
    *("readOnly", "writeOnly", "contentMediaType", "contentEncoding", "contentSchema"),
    "discriminator",
)
"""Keywords that describe a value, and constrain nothing."""

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

IDENTIFIERS = (
    *("$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary"),
)

CONSTRAINING = frozenset(
    (*SCHEMA_KEYWORDS, *GROUPS, *BRANCHES, *ASSERTIONS, *REFERENCES, "dependencies")
)
"""Keywords that can exclude a value."""

OLDER_KEYWORDS = ("dependencies", "additionalItems")
"""Keywords of drafts 4 to 7 that 2020-12 has under other names."""

COUNTS = (
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("minContains", "maxContains"),
)
"""Keywords with a whole number from 0."""

FOREIGN = frozenset(("example", "readonly", "ref"))
"""Annotations of OpenAPI and other tools: no slips, though they look like a keyword."""

KNOWN = frozenset(
    (
        *(*SCHEMA_KEYWORDS, *GROUPS, *DEFINITIONS, *BRANCHES, *ASSERTIONS, *ANNOTATIONS),
        *(*REFERENCES, *IDENTIFIERS, *OLDER_KEYWORDS),
    )
)

DRAFT_4, DRAFT_6, DRAFT_7, DRAFT_2019, DRAFT_2020 = 4, 6, 7, 2019, 2020

_DRAFTS = {
    "json-schema.org/draft-03/schema": DRAFT_4,
    "json-schema.org/draft-04/schema": DRAFT_4,
    "json-schema.org/draft-06/schema": DRAFT_6,
    "json-schema.org/draft-07/schema": DRAFT_7,
    "json-schema.org/draft/2019-09/schema": DRAFT_2019,
}

SINCE = {
    **dict.fromkeys(("const", "contains", "propertyNames"), DRAFT_6),
    **dict.fromkeys(("if", "then", "else"), DRAFT_7),
    **dict.fromkeys(("dependentRequired", "dependentSchemas"), DRAFT_2019),
    **dict.fromkeys(("unevaluatedProperties", "unevaluatedItems"), DRAFT_2019),
    **dict.fromkeys(("minContains", "maxContains", "$recursiveRef"), DRAFT_2019),
    **dict.fromkeys(("prefixItems", "$dynamicRef"), DRAFT_2020),
}
"""The draft that introduced a keyword. Older drafts ignore it."""


def draft_of(schema: Schema) -> int:
    """Return the draft that `$schema` names, or 2020 if it names none that is known."""
    name = str(schema.get("$schema", "")).rstrip("#")
    return _DRAFTS.get(name.removeprefix("http://").removeprefix("https://"), DRAFT_2020)


def children(node: Schema) -> Iterator[tuple[JsonValue, str]]:
    """Yield the schemas in a schema of any draft, and their places. Values such as `enum` have none."""
    for keyword, value in node.items():
        if isinstance(value, list) and keyword in (*BRANCHES, "items"):
            yield from ((child, f"{keyword}.{index}") for index, child in enumerate(value))
        elif keyword in SCHEMA_KEYWORDS:
            yield value, keyword
        elif keyword in (*GROUPS, *DEFINITIONS) and isinstance(value, dict):
            yield from ((child, f"{keyword}.{name}") for name, child in value.items())
        elif keyword == "dependencies" and isinstance(value, dict):
            for name, child in value.items():
                if not isinstance(child, list):
                    yield child, f"{keyword}.{name}"


def with_children(node: Schema, change: Callable[[JsonValue], JsonValue]) -> Schema:
    """Return a schema of draft 2020-12 with changed schemas in it. Definitions stay as they are."""
    changed: Schema = {}
    for keyword, value in node.items():
        if keyword in SCHEMA_KEYWORDS:
            changed[keyword] = change(value)
        elif keyword in GROUPS and isinstance(value, dict):
            changed[keyword] = {name: change(child) for name, child in value.items()}
        elif keyword in BRANCHES and isinstance(value, list):
            changed[keyword] = [change(child) for child in value]
        else:
            changed[keyword] = value
    return changed


def modern(node: Schema, draft: int) -> Schema:
    """Return one schema in the words of draft 2020-12, without the schemas in it.

    A schema without `$schema` can have keywords of all drafts.
    """
    if draft <= DRAFT_7 and "$ref" in node:
        return {"$ref": node["$ref"]}  # these drafts ignore what is beside it
    kept = {
        key: value
        for key, value in node.items()
        if SINCE.get(key, DRAFT_4) <= draft and key not in OLDER_KEYWORDS
    }
    for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        flag = kept.get(exclusive)
        if isinstance(flag, bool):  # draft 4
            del kept[exclusive]
            if flag and limit in kept:
                kept[exclusive] = kept.pop(limit)
    if isinstance(node.get("items"), list):
        del kept["items"]
        if node["items"]:
            kept["prefixItems"] = node["items"]
        if "additionalItems" in node:
            kept["items"] = node["additionalItems"]
    return _with_dependencies(kept, node.get("dependencies"))


def _with_dependencies(node: Schema, dependencies: Any) -> Schema:
    if not isinstance(dependencies, dict):
        return node
    names = {name: value for name, value in dependencies.items() if isinstance(value, list)}
    schemas = {name: value for name, value in dependencies.items() if name not in names}
    added: Schema = {}
    for keyword, group in (("dependentRequired", names), ("dependentSchemas", schemas)):
        known: Any = node.get(keyword, {})
        if group:
            added[keyword] = {**group, **known}
    return {**node, **added}
