"""Checks of JSON Schemas: each is well formed, small, and free of contradictions, or rejected by path."""

import difflib
import json
import math
import re
from collections.abc import Callable, Iterator

from pydantic import JsonValue

from outlast.jsonschema.contradictions import contradiction_in, endless_reference
from outlast.jsonschema.pattern_syntax import MAX_PATTERN, PatternError
from outlast.jsonschema.patterns import pattern_of
from outlast.jsonschema.schemas import Schema
from outlast.texts import cut

MAX_SCHEMA_BYTES = 64_000
"""A schema as compact JSON. Every run records it, every prompt contains it, and the engine compiles it."""

MAX_SCHEMA_DEPTH = 64
"""Levels of nesting: engines compile a schema recursively."""

MAX_QUOTED = 80
"""Bytes of a value in a message."""

MAX_PATH = 300
"""Bytes of a path in a message: names of properties have no limit."""

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_COUNTS = (
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("minContains", "maxContains"),
)
_UNSUPPORTED = ("$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$anchor", "$id")
_SCHEMA_KEYWORDS = (
    *("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"),
    *("unevaluatedProperties", "unevaluatedItems", "contentSchema"),
)
_GROUPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_BRANCHES = ("anyOf", "oneOf", "allOf", "prefixItems")
_DEFINING = ("$ref", "allOf", "anyOf", "const", "enum", "oneOf", "properties", "type")
_ANNOTATIONS = (
    *("$schema", "$comment", "title", "description", "default", "examples", "deprecated"),
    *("readOnly", "writeOnly", "contentMediaType", "contentEncoding", "discriminator"),
)


def check_schema(schema: JsonValue, path: str, *, arguments: bool = False) -> None:
    """Raise `ValueError`, with the path of the mistake, if a JSON Schema that a person wrote is unusable.

    It must constrain something, contain no contradiction and no unknown keyword. An answer must have
    content; `arguments` of a tool may be empty.
    """
    if not isinstance(schema, dict):
        raise ValueError(
            f"{path}: {_quoted(schema)} is not a JSON Schema; give an object with a 'type'"
        )
    if not any(keyword in schema for keyword in _DEFINING):
        keywords = ", ".join(_quoted(key) for key in list(schema)[:3]) or "nothing"
        raise ValueError(
            f"{path}: not a JSON Schema: it has {keywords}, and needs one of {', '.join(_DEFINING)}"
        )
    _check(schema, path, arguments=arguments, written=True)


def check_derived(schema: Schema, path: str, *, arguments: bool = False) -> None:
    """Raise `ValueError` if the schema of a type is unusable.

    Unlike `check_schema` it accepts unknown keywords: a type may add some (`json_schema_extra`).
    """
    _check(schema, path, arguments=arguments, written=False)


def _check(schema: Schema, path: str, *, arguments: bool, written: bool) -> None:
    _check_size(schema, path)
    _check_node(schema, path, schema, 0, written=written)
    endless = endless_reference(schema, path)
    if endless is not None:
        raise ValueError(f"{cut(endless[0], MAX_PATH)}: {endless[1]}")
    if not arguments and _has_no_content(schema):
        raise ValueError(
            f"{path}: an object without properties has no content; name its properties, or set "
            "additionalProperties to true or to a schema"
        )


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


def _has_no_content(schema: Schema) -> bool:
    node: JsonValue = schema
    while isinstance(node, dict) and isinstance(node.get("$ref"), str):
        node = _referred(str(node["$ref"]), schema)
    return (
        isinstance(node, dict)
        and node.get("type") == "object"
        and not any(node.get(word) for word in ("properties", "patternProperties", "required"))
        and node.get("additionalProperties", False) is False
        and not any(word in node for word in ("anyOf", "oneOf", "allOf", "const", "enum"))
    )


def _check_node(node: JsonValue, path: str, root: Schema, depth: int, *, written: bool) -> None:
    if isinstance(node, bool):
        return
    if not isinstance(node, dict):
        raise ValueError(
            f"{cut(path, MAX_PATH)}: {_quoted(node)} is not a JSON Schema; give an object"
        )
    if depth > MAX_SCHEMA_DEPTH:
        raise ValueError(f"{cut(path, MAX_PATH)}: nested deeper than {MAX_SCHEMA_DEPTH}")
    for keyword, value in node.items():
        check = _KEYWORDS.get(keyword)
        if check is not None and not check(value, root):
            raise ValueError(
                f"{cut(path, MAX_PATH)}.{keyword}: {_quoted(value)} is not {_ALLOWED[keyword]}"
            )
        if written and keyword not in _KNOWN and not keyword.startswith("x-"):
            raise ValueError(f"{cut(path, MAX_PATH)}: {_unknown(keyword)}")
    contradiction = contradiction_in(node, path)
    if contradiction is not None:
        raise ValueError(f"{cut(contradiction[0], MAX_PATH)}: {contradiction[1]}")
    for child, place in _children(node):
        _check_node(child, f"{path}.{place}", root, depth + 1, written=written)


def _unknown(keyword: str) -> str:
    near = difflib.get_close_matches(keyword[:MAX_QUOTED], _KNOWN, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "leave it out, or begin its name with 'x-'"
    return f"unknown keyword {_quoted(keyword)}; {hint}"


def _quoted(value: object) -> str:
    return cut(repr(value), MAX_QUOTED)


def _children(node: Schema) -> Iterator[tuple[JsonValue, str]]:
    for keyword in _SCHEMA_KEYWORDS:
        if keyword in node:
            yield node[keyword], keyword
    for keyword in _GROUPS:
        group = node.get(keyword)
        if isinstance(group, dict):
            yield from ((child, f"{keyword}.{name}") for name, child in group.items())
    for keyword in _BRANCHES:
        group = node.get(keyword)
        if isinstance(group, list):
            yield from ((child, f"{keyword}.{index}") for index, child in enumerate(group))


def _is_type(value: JsonValue, _: Schema) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(name in _TYPES for name in names)


def _is_count(value: JsonValue, _: Schema) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_group(value: JsonValue, _: Schema) -> bool:
    return isinstance(value, dict)


def _is_list(value: JsonValue, _: Schema) -> bool:
    return isinstance(value, list) and bool(value)


def _is_names(value: JsonValue, _: Schema) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_groups_of_names(value: JsonValue, root: Schema) -> bool:
    return isinstance(value, dict) and all(_is_names(names, root) for names in value.values())


def _is_number(value: JsonValue, _: Schema) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_positive(value: JsonValue, root: Schema) -> bool:
    return _is_number(value, root) and isinstance(value, int | float) and value > 0


def _is_text(value: JsonValue, _: Schema) -> bool:
    return isinstance(value, str)


def _is_flag(value: JsonValue, _: Schema) -> bool:
    return isinstance(value, bool)


def _is_unsupported(_value: JsonValue, _root: Schema) -> bool:
    return False


def _is_patterns(value: JsonValue, root: Schema) -> bool:
    return isinstance(value, dict) and all(_is_pattern(pattern, root) for pattern in value)


def _is_pattern(value: JsonValue, _: Schema) -> bool:
    if not isinstance(value, str):
        return False
    try:
        pattern_of(value)
    except PatternError:
        return False
    return True


def _is_reference(value: JsonValue, root: Schema) -> bool:
    return isinstance(value, str) and _referred(value, root) is not None


def _referred(reference: str, root: Schema) -> JsonValue:
    """Return the schema of a reference. Names with `~` or `%`, which need escapes, are not supported."""
    if reference == "#":
        return root
    named = re.fullmatch(r"#/(\$defs|definitions)/([^/~%]+)", reference)
    group = root.get(named[1]) if named else None
    return group.get(named[2]) if named and isinstance(group, dict) else None


_KEYWORDS: dict[str, Callable[[JsonValue, Schema], bool]] = {
    "type": _is_type,
    "required": _is_names,
    "enum": _is_list,
    "pattern": _is_pattern,
    "$ref": _is_reference,
    "format": _is_text,
    "uniqueItems": _is_flag,
    "multipleOf": _is_positive,
    "dependentRequired": _is_groups_of_names,
    **dict.fromkeys(_GROUPS, _is_group),
    "patternProperties": _is_patterns,
    **dict.fromkeys(_BRANCHES, _is_list),
    **dict.fromkeys(_BOUNDS, _is_number),
    **dict.fromkeys(_UNSUPPORTED, _is_unsupported),
    **dict.fromkeys(_COUNTS, _is_count),
}
_ALLOWED = {
    "type": f"one of {', '.join(_TYPES)}",
    "required": "a list of property names",
    "pattern": f"a regular expression of at most {MAX_PATTERN:,} characters",
    "$ref": "a reference to a definition of this schema, such as '#/$defs/Name'",
    "format": "the name of a format",
    "uniqueItems": "true or false",
    "multipleOf": "a number above 0",
    "dependentRequired": "an object of lists of property names",
    **dict.fromkeys(_GROUPS, "an object of schemas"),
    "patternProperties": "an object of regular expressions and schemas",
    **dict.fromkeys(_BOUNDS, "a number"),
    **dict.fromkeys(
        _UNSUPPORTED, "supported; write the definition where it is used, or under $defs"
    ),
    **dict.fromkeys(("enum", *_BRANCHES), "a list with an entry"),
    **dict.fromkeys(_COUNTS, "a whole number from 0"),
}
_KNOWN = frozenset((*_KEYWORDS, *_SCHEMA_KEYWORDS, *_ANNOTATIONS, "const"))
