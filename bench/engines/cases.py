"""The cases that every engine is measured with: one for each keyword, format and construct of JSON Schema.

The prompt asks the model to repeat `goad`. `schema` forbids it, and `loose`, the same schema without
the keyword, allows it. In cases whose schema allows the goad, the engine must accept the schema and let
the goad through.
"""

from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
NULL: Schema = {"type": "null"}
INTEGERS: Schema = {"type": "array", "items": INTEGER}
INTEGER_MAP: Schema = {"type": "object", "additionalProperties": INTEGER}

DECIMAL_PATTERN = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"
"""The pattern of a Decimal in earlier versions of pydantic."""


@dataclass(frozen=True)
class Case:
    """A schema, a value that it forbids or allows, and a schema that allows the value."""

    name: str
    schema: Schema
    goad: Any
    loose: Schema
    at_root: bool = False
    """Whether the schema is the root. By default it is `v` of an object, because not all engines take
    other roots."""

    @property
    def sent(self) -> Schema:
        """The schema of the request."""
        return self.schema if self.at_root else _wrapped(self.schema)

    @property
    def control(self) -> Schema:
        """The schema of the control request, without the keyword."""
        return self.loose if self.at_root else _wrapped(self.loose)

    @property
    def prompted(self) -> Any:
        """The value that the prompt asks for."""
        return self.goad if self.at_root else {"v": self.goad}


def _wrapped(schema: Schema) -> Schema:
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    definitions = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    return _object(v=inner) | definitions


def _object(required: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required or properties),
        "additionalProperties": False,
    }


def _node(name: Schema) -> Schema:
    node = _object(name=name, children={"type": "array", "items": {"$ref": "#/$defs/node"}})
    return {"$ref": "#/$defs/node", "$defs": {"node": node}}


def _kind(kind: str, **properties: Schema) -> Schema:
    return _object(kind={"const": kind}, **properties)


_AB = _object(("a",), a=INTEGER, b=INTEGER)
_CONDITIONAL = _object(("a",), a=BOOLEAN, b=INTEGER)
_IF = {"if": {"properties": {"a": {"const": True}}}, "then": {"required": ["b"]}}
_CAT_OR_DOG = [_kind("cat", meows=BOOLEAN), _kind("dog", barks=BOOLEAN)]
_PETS_IN_DEFS: Schema = {
    "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
    "discriminator": {
        "propertyName": "kind",
        "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"},
    },
    "$defs": {"Cat": _CAT_OR_DOG[0], "Dog": _CAT_OR_DOG[1]},
}
_ANY_PET = _object(("kind",), kind={"enum": ["cat", "dog"]}, meows=BOOLEAN, barks=BOOLEAN)
_TITLED = {"title": "Count", "description": "How many", "default": 1, "examples": [2]}

GENERAL = (
    Case("type", INTEGER, "five", {"type": ["integer", "string"]}),
    Case("type, a list", {"type": ["integer", "null"]}, "five", {"type": ["integer", "string"]}),
    Case("enum", {"enum": ["red", "green"]}, "blue", STRING),
    Case("const", {"const": "red"}, "blue", STRING),
    Case("title, description, default, examples", {**INTEGER, **_TITLED}, 3, INTEGER),
)

OBJECTS = (
    Case("properties", _object(a=INTEGER), {"a": "five"}, _object(a=STRING)),
    Case("required", _object(a=INTEGER, b=INTEGER), {"a": 1}, _AB),
    Case("additionalProperties: false", _object(a=INTEGER), {"a": 1, "b": 2}, INTEGER_MAP),
    Case(
        "additionalProperties: schema",
        INTEGER_MAP,
        {"a": "five"},
        {"type": "object", "additionalProperties": STRING},
    ),
    Case("minProperties", {**INTEGER_MAP, "minProperties": 3}, {"a": 1}, INTEGER_MAP),
    Case("maxProperties", {**INTEGER_MAP, "maxProperties": 1}, {"a": 1, "b": 2}, INTEGER_MAP),
    Case(
        "patternProperties",
        {"type": "object", "patternProperties": {"^x": INTEGER}, "additionalProperties": False},
        {"abc": 1},
        INTEGER_MAP,
    ),
    Case(
        "propertyNames",
        {**INTEGER_MAP, "propertyNames": {"pattern": "^[a-z]$"}},
        {"ABC": 1},
        INTEGER_MAP,
    ),
    Case("dependentRequired", {**_AB, "dependentRequired": {"a": ["b"]}}, {"a": 1}, _AB),
    Case(
        "unevaluatedProperties: false",
        {"type": "object", "properties": {"a": INTEGER}, "unevaluatedProperties": False},
        {"a": 1, "b": 2},
        INTEGER_MAP,
    ),
)

ARRAYS = (
    Case("items", INTEGERS, ["five", "six"], {"type": "array", "items": STRING}),
    Case("minItems", {**INTEGERS, "minItems": 3}, [1], INTEGERS),
    Case("maxItems", {**INTEGERS, "maxItems": 2}, [1, 2, 3, 4], INTEGERS),
    Case("uniqueItems", {**INTEGERS, "uniqueItems": True}, [7, 7, 7], INTEGERS),
    Case(
        "prefixItems",
        {"type": "array", "prefixItems": [INTEGER, STRING], "minItems": 2},
        ["five", "six"],
        {"type": "array", "items": STRING},
    ),
    Case(
        "prefixItems and items: false",
        {"type": "array", "prefixItems": [INTEGER, INTEGER], "items": False},
        [1, 2, 3, 4],
        INTEGERS,
    ),
    Case(
        "tuple, as pydantic writes it",
        {"type": "array", "prefixItems": [INTEGER, INTEGER], "minItems": 2, "maxItems": 2},
        [1, 2, 3, 4],
        INTEGERS,
    ),
    Case("contains", {**INTEGERS, "contains": {"const": 9}}, [1, 2], INTEGERS),
)

STRINGS = (
    Case("minLength", {**STRING, "minLength": 12}, "ab", STRING),
    Case("maxLength", {**STRING, "maxLength": 3}, "abcdefgh", STRING),
    Case("pattern, anchored", {**STRING, "pattern": "^[a-z]{3}$"}, "XY99", STRING),
    Case("pattern, unanchored", {**STRING, "pattern": "[0-9]{3}"}, "hello", STRING),
    Case("pattern with lookahead", {**STRING, "pattern": "^(?!b)[a-z]+$"}, "bbb", STRING),
    Case("pattern of a Decimal", {**STRING, "pattern": DECIMAL_PATTERN}, "many", STRING),
    Case(
        "pattern and maxLength",
        {**STRING, "pattern": "^[a-z]+$", "maxLength": 3},
        "abcdefgh",
        {**STRING, "pattern": "^[a-z]+$"},
    ),
    Case("format: date", {**STRING, "format": "date"}, "yesterday", STRING),
    Case("format: date, an impossible day", {**STRING, "format": "date"}, "2023-02-30", STRING),
    Case("format: date-time", {**STRING, "format": "date-time"}, "yesterday", STRING),
    Case("format: time", {**STRING, "format": "time"}, "noon", STRING),
    Case("format: duration", {**STRING, "format": "duration"}, "two hours", STRING),
    Case("format: uuid", {**STRING, "format": "uuid"}, "abc", STRING),
    Case("format: email", {**STRING, "format": "email"}, "nobody", STRING),
    Case("format: ipv4", {**STRING, "format": "ipv4"}, "localhost", STRING),
    Case("format: uri", {**STRING, "format": "uri"}, "hello world", STRING),
    Case("format: an unknown one", {**STRING, "format": "money"}, "five", STRING),
    Case("format and maxLength", {**STRING, "format": "email", "maxLength": 9}, "nobody", STRING),
)

NUMBERS = (
    Case("integer: minimum", {**INTEGER, "minimum": 100}, 7, INTEGER),
    Case("integer: maximum", {**INTEGER, "maximum": 5}, 999, INTEGER),
    Case("integer: exclusiveMinimum", {**INTEGER, "exclusiveMinimum": 7}, 7, INTEGER),
    Case("integer: multipleOf", {**INTEGER, "multipleOf": 5}, 7, INTEGER),
    Case("number: minimum", {**NUMBER, "minimum": 10.5}, 1.25, NUMBER),
    Case("number: maximum", {**NUMBER, "maximum": 1.5}, 99.25, NUMBER),
    Case("number: exclusiveMinimum", {**NUMBER, "exclusiveMinimum": 7.5}, 7.5, NUMBER),
    Case("number: multipleOf", {**NUMBER, "multipleOf": 0.5}, 1.25, NUMBER),
)

COMBINED = (
    Case("anyOf", {"anyOf": [INTEGER, BOOLEAN]}, "five", {"anyOf": [INTEGER, STRING]}),
    Case("anyOf with null", {"anyOf": [INTEGER, NULL]}, "five", {"anyOf": [INTEGER, STRING]}),
    Case(
        "anyOf of tagged objects",
        {"anyOf": _CAT_OR_DOG},
        {"kind": "cat", "barks": True},
        _ANY_PET,
    ),
    Case(
        "oneOf with discriminator, $ref",
        _PETS_IN_DEFS,
        {"kind": "cat", "barks": True},
        _ANY_PET,
    ),
    Case("oneOf", {"oneOf": [INTEGER, BOOLEAN]}, "five", {"anyOf": [INTEGER, STRING]}),
    Case(
        "oneOf, two that fit",
        {"oneOf": [{**INTEGER, "minimum": 0}, {**INTEGER, "maximum": 10}]},
        5,
        INTEGER,
    ),
    Case("allOf of one", {"allOf": [{**INTEGER, "minimum": 100}]}, 7, INTEGER),
    Case(
        "allOf of two",
        {"allOf": [{**INTEGER, "minimum": 100}, {**INTEGER, "maximum": 200}]},
        7,
        INTEGER,
    ),
    Case("not", {**STRING, "not": {"const": "secret"}}, "secret", STRING),
    Case("if, then, else", {**_CONDITIONAL, **_IF}, {"a": True}, _CONDITIONAL),
    Case("$ref", {"$ref": "#/$defs/n", "$defs": {"n": INTEGER}}, "five", STRING),
    Case(
        "$ref beside a keyword",
        {"$ref": "#/$defs/n", "maximum": 5, "$defs": {"n": INTEGER}},
        999,
        INTEGER,
    ),
    Case(
        "$ref to itself (recursion)",
        _node(STRING),
        {"name": "a", "children": [{"name": 7, "children": []}]},
        _node({"type": ["string", "integer"]}),
    ),
)

ROOTS = (
    Case(
        "array at the root",
        INTEGERS,
        ["five", "six"],
        {"type": "array", "items": STRING},
        at_root=True,
    ),
    Case(
        "anyOf at the root",
        {"anyOf": [{"const": 5}, BOOLEAN]},
        "five",
        {"anyOf": [{"const": 5}, STRING]},
        at_root=True,
    ),
    Case(
        "$ref at the root",
        {"$ref": "#/$defs/n", "$defs": {"n": _object(a=INTEGER)}},
        {"a": "five"},
        _object(a=STRING),
        at_root=True,
    ),
)

ALLOWED = (
    Case("allowed: a match in the middle", {**STRING, "pattern": "[0-9]{3}"}, "ab123cd", STRING),
    Case(
        "allowed: maxLength, not in bytes", {**STRING, "maxLength": 3}, "\u00e9\u00e9\u00e9", STRING
    ),
    Case("allowed: line feed in a string", STRING, "one\ntwo", {"enum": ["one\ntwo", "one"]}),
    Case(
        "allowed: date-time with offset",
        {**STRING, "format": "date-time"},
        "2024-05-01T10:00:00.5+02:00",
        STRING,
    ),
    Case("allowed: properties in another order", _AB, {"b": 1, "a": 2}, INTEGER_MAP),
    Case("allowed: a property left out", _AB, {"a": 1}, INTEGER_MAP),
    Case(
        "allowed: additional properties by default",
        {"type": "object", "properties": {"a": INTEGER}, "required": ["a"]},
        {"a": 1, "b": 2},
        INTEGER_MAP,
    ),
    Case("allowed: an empty list", INTEGERS, [], INTEGERS),
)

CASES = (*GENERAL, *OBJECTS, *ARRAYS, *STRINGS, *NUMBERS, *COMBINED, *ROOTS, *ALLOWED)
