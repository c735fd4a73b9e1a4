from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, conlist

from outlast import Agent, DefinitionError, ToolSpec, tool
from outlast.jsonschema.canonical import canonical_schema
from outlast.jsonschema.schema_checks import MAX_SCHEMA_BYTES, check_derived, check_schema
from tests.outlast.jsonschema.checked_types import (
    TEXT,
    WHOLE,
    Branching,
    Chain,
    Crossed,
    Empty,
    Endless,
    Extra,
    One,
    Sloppy,
    Tree,
    assert_rejected,
    of,
)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("object", "out: 'object' is not a JSON Schema"),
        ({}, "out: not a JSON Schema: it has nothing, and needs one of"),
        ({"title": "x"}, "out: not a JSON Schema: it has 'title'"),
        ({"type": "text"}, "out.type: 'text' is not one of array"),
        ({"type": ["string", "text"]}, "out.type"),
        ({"type": "object", "properties": ["a"]}, "out.properties: ['a'] is not an object"),
        ({"type": "object", "properties": {"a": {"type": 3}}}, "out.properties.a.type: 3"),
        ({"type": "object", "properties": {"a": 3}}, "out.properties.a: 3 is not a JSON Schema"),
        ({"type": "object", "required": "a"}, "out.required: 'a' is not a list of property names"),
        ({"type": "array", "items": {"type": "x"}}, "out.items.type"),
        ({"enum": []}, "out.enum: [] is not a list with an entry"),
        ({"anyOf": []}, "out.anyOf"),
        ({"anyOf": [{"type": "x"}]}, "out.anyOf.0.type"),
        (
            {"type": "string", "pattern": "("},
            "out.pattern: '(' is not a supported regular expression: unterminated",
        ),
        ({"type": "string", "maxLength": -1}, "out.maxLength: -1 is not a whole number"),
        ({"$ref": "#/$defs/Missing"}, "out.$ref: '#/$defs/Missing' is not a reference"),
        ({"$ref": "other.json"}, "out.$ref"),
        ({"type": "object", "$defs": {"A": {"type": "x"}}}, "out.$defs.A.type"),
    ],
)
def test_what_is_no_schema_is_rejected_at_its_place(schema: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=".") as error:
        check_schema(schema, "out")
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"tpye": "string"}, "out: not a JSON Schema: it has 'tpye', and needs one of"),
        (
            of(a={"tpye": "string"}),
            "out.properties.a: unknown keyword 'tpye'; did you mean 'type'?",
        ),
        ({"type": "object", "propertes": {"a": TEXT}}, "did you mean 'properties'?"),
        ({"type": "array", "itmes": TEXT}, "out: unknown keyword 'itmes'; did you mean 'items'?"),
        ({"type": "string", "Enum": ["a"]}, "out: unknown keyword 'Enum'; did you mean 'enum'?"),
        ({"type": "array", "items": [TEXT, 3]}, "out.items.1: 3 is not a JSON Schema"),
        ({**TEXT, "pattern": "(" * 900 + ")" * 900}, "out.pattern: "),
        ({**TEXT, "pattern": "a" * 5_000}, "out.pattern: "),
        ({"const": float("nan")}, "out: not JSON"),
        ({"const": object()}, "out: not JSON"),
        ({"enum": ["x" * 70_000]}, f"out: larger than {MAX_SCHEMA_BYTES:,} bytes"),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a~1b": TEXT}}, "out.$ref: '#/$defs/a~1b' is not"),
        ({"$ref": "https://example.org/other.json"}, "other documents are not read"),
        ({"$ref": "#/$defs/A/"}, "out.$ref: '#/$defs/A/' is not"),
        ({"$ref": "#nowhere"}, "out.$ref: '#nowhere' is not"),
        ({"$dynamicRef": "#x", **TEXT}, "out.$dynamicRef: '#x' is not"),
        ({"$ref": "#/enum/9", "enum": [1]}, "out.$ref: '#/enum/9' is not"),
        ({"$ref": 3}, "out.$ref: 3 is not"),
        (
            {"pattern": "a(?=b)"},
            "out.pattern: 'a(?=b)' is not a supported regular expression: a look",
        ),
        (
            {"patternProperties": {r"(a)\1": {}}},
            "a back reference, which no linear engine can match",
        ),
        ({"dependencies": {"a": 3}}, "out.dependencies: {'a': 3} is not an object of schemas"),
        ({"additionalItems": 3}, "out.additionalItems: 3 is not a JSON Schema"),
        ({"exclusiveMinimum": "3"}, "out.exclusiveMinimum: '3' is not a number, or true or false"),
        ({"$ref": "#/x/y", "x": {"y": {"type": "text"}}}, "out.x.y.type: 'text' is not one of"),
    ],
)
def test_what_no_engine_could_use_is_rejected_at_its_place(schema: Any, reason: str) -> None:
    assert_rejected(schema, reason)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (
            {**WHOLE, "minimum": 5, "maximum": 3},
            "out.minimum: 5 leaves no value, because maximum is 3",
        ),
        ({**WHOLE, "minimum": 3, "exclusiveMaximum": 3}, "out.minimum: 3 leaves no value"),
        ({**WHOLE, "exclusiveMinimum": 3, "maximum": 3}, "out.exclusiveMinimum: 3 leaves no value"),
        ({**WHOLE, "exclusiveMinimum": 3, "exclusiveMaximum": 3}, "out.exclusiveMinimum: 3 leaves"),
        ({**WHOLE, "minimum": 3, "maximum": 3}, None),
        ({"type": "number", "exclusiveMinimum": 3, "exclusiveMaximum": 4}, None),
        ({**TEXT, "minLength": 5, "maxLength": 3}, "out.minLength: 5 leaves no value"),
        ({"type": "array", "minItems": 2, "maxItems": 1}, "out.minItems: 2 leaves no value"),
        (
            {"type": "array", "minItems": 1, "items": {**TEXT, "minLength": 2, "maxLength": 1}},
            "out.items.minLength",
        ),
        ({"type": "object", "minProperties": 2, "maxProperties": 1}, "out.minProperties: 2 leaves"),
        ({"enum": [1, 2], "type": "string"}, "out.enum: has no value of type string"),
        ({"const": True, "type": "integer"}, "out.const: has no value of type integer"),
        (
            {"const": None, "type": ["integer", "string"]},
            "out.const: has no value of type integer or",
        ),
        ({"enum": [1.0, "a"], "type": "integer"}, None),
        (
            {**of(a=TEXT), "required": ["b"], "additionalProperties": False},
            "out.required: 'b' is not in 'properties', and additionalProperties is false; add it",
        ),
        ({**of(a=TEXT), "required": ["b"]}, None),
        (
            {"anyOf": [{**WHOLE, "minimum": 5, "maximum": 3}]},
            "out.anyOf.0.minimum: 5 leaves no value",
        ),
        ({"oneOf": [{"type": "array", "minItems": 2, "maxItems": 1}]}, "out.oneOf.0.minItems"),
        ({"type": "object", "properties": {"a": False, "b": TEXT}}, None),
        (
            of(a={**TEXT, "minLength": 2, "maxLength": 1}),
            "out.properties.a.minLength: 2 leaves no value",
        ),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, "in a circle"),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, TEXT]}}},
            "out.$defs.A: '#/$defs/A' refers to itself in a circle",
        ),
        (of(next={"$ref": "#"}), "out.properties.next.$ref: '#' contains itself without end"),
        ({"type": "object", "properties": {"next": {"$ref": "#"}}}, None),
        (of(next={"anyOf": [{"$ref": "#"}, {"type": "null"}]}), None),
        (
            of(next={"anyOf": [{"$ref": "#"}, of(a={"$ref": "#"})]}),
            "out.properties.next.anyOf.0.$ref",
        ),
        (
            {"type": "array", "minItems": 1, "prefixItems": [{"$ref": "#"}]},
            "out.prefixItems.0.$ref: '#' contains itself without end",
        ),
        ({"type": "array", "minItems": 1, "prefixItems": [TEXT, {"$ref": "#"}]}, None),
        ({"allOf": [of(a={"$ref": "#"})]}, "out.allOf.0.properties.a.$ref"),
        (
            {
                **of(a={"$ref": "#/$defs/A"}),
                "$defs": {"A": {**TEXT, "minLength": 2, "maxLength": 1}},
            },
            "out.$defs.A.minLength: 2 leaves no value",
        ),
    ],
)
def test_a_contradiction_is_rejected_at_its_place(schema: Any, reason: str | None) -> None:
    assert_rejected(schema, reason) if reason else check_schema(schema, "out")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": False},
        {"type": "object", "properties": {}, "additionalProperties": False},
        {
            "$ref": "#/$defs/A",
            "$defs": {"A": {"type": "object", "properties": {}, "additionalProperties": False}},
        },
    ],
)
def test_an_answer_without_content_is_rejected_and_arguments_without_any_are_not(
    schema: Any,
) -> None:
    assert_rejected(schema, "out: an object without properties has no content")
    check_schema(schema, "out", arguments=True)


@pytest.mark.parametrize("others", [True, TEXT, {}])
def test_an_open_map_is_an_answer(others: Any) -> None:
    check_schema({"type": "object", "additionalProperties": others}, "out")


def test_annotations_are_no_unknown_keywords() -> None:
    texts = ("$schema", "$comment", "title", "description", "default", "contentMediaType")
    flags = ("deprecated", "readOnly", "writeOnly", "x-ours")
    schema: Any = {**TEXT, **dict.fromkeys(texts, "x"), **dict.fromkeys(flags, True)}
    check_schema({**schema, "examples": ["x"], "discriminator": {}}, "out")


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            Endless,
            "$defs.Endless.properties.next.$ref: '#/$defs/Endless' contains itself without end",
        ),
        (Branching, "properties.branches.items.$ref: '#/$defs/Branching' contains itself without"),
        (
            One,
            "contains itself without end; make it optional, nullable, or a list that may be empty",
        ),
        (Empty, "an object without properties has no content"),
        (Crossed, "properties.amount.minimum: 5 leaves no value"),
        (list[Annotated[str, Field(pattern=r"^(a)\1$")]], "backreferences are not supported"),
        (Annotated[str, Field(pattern="^(?=a)b$")], "look-around"),
        (conlist(int, min_length=2, max_length=1), "minItems: 2 leaves no value"),
        (Literal[tuple("x" * 90 + str(n) for n in range(1_000))], "larger than 64,000 bytes"),
    ],
)
def test_types_that_no_answer_satisfies_are_rejected_when_the_agent_is_defined(
    output: Any, reason: str
) -> None:
    with pytest.raises(DefinitionError) as error:
        Agent(name="a", instructions="Do.", output=output)
    assert str(error.value).startswith("the output of agent 'a'")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "output",
    [Tree, Chain, Sloppy, Extra, str, list[Tree], dict[str, int], dict[str, Any], Any, int | None],
)
def test_types_that_some_answer_satisfies_are_accepted(output: Any) -> None:
    Agent(name="a", instructions="Do.", output=output)


def test_arguments_that_no_call_satisfies_are_rejected_when_the_tool_is_defined() -> None:
    def walk(to: Endless) -> str:
        """Walk."""
        return ""

    with pytest.raises(DefinitionError, match=r"the parameters of tool 'walk'.*without end"):
        tool(effect="read")(walk)


def test_a_named_tool_is_checked_too() -> None:
    spec = ToolSpec(name="look", parameters={**of(a=TEXT), "requird": ["a"]})
    with pytest.warns(UserWarning, match=r"tool 'look': unknown keyword 'requird'; did"):
        Agent(name="a", instructions="Do.", tools=[spec])


@pytest.mark.parametrize("model", [Tree, Chain, Extra])
def test_schemas_of_types_are_schemas(model: type[BaseModel]) -> None:
    check_derived(model.model_json_schema(), "out")


CROSSED = {**TEXT, "minLength": 2, "maxLength": 1}


@pytest.mark.parametrize(
    ("schema", "remark"),
    [
        ({**TEXT, "maxLenght": 3}, "out: unknown keyword 'maxLenght'; did you mean 'maxLength'?"),
        ({**TEXT, "max_length": 3}, "did you mean 'maxLength'?"),
        ({**TEXT, "maxlength": 3}, "did you mean 'maxLength'?"),
        ({**TEXT, "_format": "date"}, "did you mean 'format'?"),
        ({**TEXT, "patern": "a"}, "did you mean 'pattern'?"),
        ({**WHOLE, "minimun": 3}, "did you mean 'minimum'?"),
        ({**of(a=TEXT), "additonalProperties": False}, "did you mean 'additionalProperties'?"),
        ({**of(a=TEXT), "requird": ["a"]}, "did you mean 'required'?"),
        (of(a={"type": "array", "items": TEXT, "uniqueItem": True}), "out.properties.a: unknown"),
        ({"type": "object", "properties": {"a": CROSSED}}, "out.properties.a.minLength: 2 leaves"),
        ({"type": "array", "items": CROSSED}, "out.items.minLength: 2 leaves"),
        ({"anyOf": [CROSSED, {"type": "null"}]}, "out.anyOf.0.minLength: 2 leaves"),
        (
            {"type": "object", "properties": {"a": {"type": "boolean", "enum": ["True"]}}},
            "out.properties.a.enum: has no value of type boolean",
        ),
        (
            {**of(a=TEXT), "$schema": "http://json-schema.org/draft-04/schema#", "const": {}},
            "out: 'const' has no effect in draft 4",
        ),
    ],
)
def test_a_probable_mistake_is_a_remark(schema: Any, remark: str) -> None:
    remarks = check_schema(schema, "out")
    assert len(remarks) == 1
    assert remark in remarks[0]
    with pytest.warns(UserWarning, match="the output of agent 'a'"):
        Agent(name="a", instructions="Do.", output=schema)


NAMED = {"$defs": {"Foo Bar": TEXT, "a/b": WHOLE, "t~x": TEXT, "F": of(x=TEXT)}}
FROM_THE_WILD: list[tuple[Any, Any, Any]] = [
    ({"$id": "https://example.com/p.json", **of(a=TEXT)}, {"a": "x"}, {"a": 1}),
    ({"id": "http://x/p#", **TEXT}, "x", 1),
    ({**TEXT, "name": "x", "self": {"vendor": 1}, "links": [], "_uniqueItems": 1}, "x", 1),
    ({**TEXT, "nullable": True, "example": "x", "xml": {}}, "x", None),
    (of(a=TEXT, b={"$ref": "#/properties/a"}), {"a": "x", "b": "y"}, {"a": "x", "b": 1}),
    ({**of(b={"$ref": "#/$defs/Foo%20Bar"}), **NAMED}, {"b": "x"}, {"b": 1}),
    ({**of(b={"$ref": "#/$defs/a~1b"}), **NAMED}, {"b": 1}, {"b": "x"}),
    ({**of(b={"$ref": "#/$defs/t~0x"}), **NAMED}, {"b": "x"}, {"b": 1}),
    ({**of(b={"$ref": "#/$defs/F/properties/x"}), **NAMED}, {"b": "x"}, {"b": 1}),
    (
        {"$id": "http://e.org/p", **of(b={"$ref": "p#/$defs/F"}), **NAMED},
        {"b": {"x": ""}},
        {"b": {}},
    ),
    (
        {"$id": "http://e.org/p", **of(b={"$ref": "http://e.org/p#/$defs/F"}), **NAMED},
        {"b": {"x": ""}},
        {},
    ),
    ({"$defs": {"A": {"$anchor": "here", **TEXT}}, **of(a={"$ref": "#here"})}, {"a": ""}, {"a": 1}),
    ({"$defs": {"A": {"$id": "item", **TEXT}}, **of(a={"$ref": "item"})}, {"a": ""}, {"a": 1}),
    (
        {"definitions": {"A": {"id": "#item", **TEXT}}, **of(a={"$ref": "#item"})},
        {"a": ""},
        {"a": 1},
    ),
    (
        {
            "definitions": {"t": {"definitions": {"x": TEXT}}},
            "$ref": "#/definitions/t/definitions/x",
        },
        "",
        1,
    ),
    ({"components": {"schemas": {"A": TEXT}}, "$ref": "#/components/schemas/A"}, "", 1),
    ({"type": "array", "items": [TEXT, WHOLE], "additionalItems": False}, ["", 1], ["", 1, 2]),
    ({"type": "array", "items": [TEXT], "additionalItems": WHOLE}, ["", 1], ["", ""]),
    ({**WHOLE, "minimum": 3, "exclusiveMinimum": True}, 4, 3),
    ({**WHOLE, "maximum": 3, "exclusiveMaximum": False}, 3, 4),
    ({"type": "object", "dependencies": {"a": ["b"]}}, {"a": 1, "b": 1}, {"a": 1}),
    ({"type": "object", "dependencies": {"a": of(b=TEXT)}}, {"a": 1, "b": ""}, {"a": 1, "b": 1}),
    ({"$dynamicRef": "#n", "$defs": {"n": {"$dynamicAnchor": "n", **TEXT}}}, "", 1),
    ({"type": "object", "properties": {"c": {"$recursiveRef": "#"}}}, {"c": {}}, {"c": 1}),
    ({"type": "object", "additionalProperties": TEXT}, {"a": ""}, {"a": 1}),
    ({"additionalProperties": TEXT}, {"a": ""}, {"a": 1}),
    ({"patternProperties": {"^a": TEXT}}, {"a": ""}, {"a": 1}),
    ({"type": "object"}, {"a": 1}, 1),
    ({**TEXT, "minLength": 2.0}, "ab", "a"),
    ({**WHOLE, "minimum": 10**400}, 10**400, 10**399),
    ({"required": ["a"], "allOf": [{"required": ["b"]}]}, {"a": 1, "b": 1}, {"a": 1}),
    ({"not": {"type": "null"}}, 1, None),
    ({"if": TEXT, "then": {"maxLength": 1}}, "a", "ab"),
    ({"type": ["string", "null"], "minLength": 3, "maxLength": 2}, None, "abc"),
]


@pytest.mark.parametrize(("schema", "good", "bad"), FROM_THE_WILD)
def test_what_the_standard_accepts_is_accepted_and_means_the_same(
    schema: Any, good: Any, bad: Any
) -> None:
    check_schema(schema, "out")
    check_schema(schema, "out", arguments=True)
    canonical = canonical_schema(schema)
    Draft202012Validator.check_schema(canonical)
    assert Draft202012Validator(canonical).is_valid(good)
    assert not Draft202012Validator(canonical).is_valid(bad)
    assert canonical_schema(canonical) == canonical
