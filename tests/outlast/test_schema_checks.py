import contextlib
import time
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, conlist

from outlast import Agent, DefinitionError, ToolSpec, tool
from outlast.jsonschema.schema_checks import MAX_SCHEMA_BYTES, check_derived, check_schema

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}


class Tree(BaseModel):
    value: int
    children: list["Tree"] = []


class Chain(BaseModel):
    next: "Chain | None"


class Sloppy(BaseModel):
    next: "Sloppy" = None  # type: ignore[assignment]


class Endless(BaseModel):
    next: "Endless"


class Branching(BaseModel):
    branches: Annotated[list["Branching"], Field(min_length=1)]


class One(BaseModel):
    two: "Two"


class Two(BaseModel):
    one: One


class Empty(BaseModel):
    pass


class Extra(BaseModel):
    model_config = ConfigDict(json_schema_extra={"icon": "x", "maxLenght": 3})

    a: int


class Crossed(BaseModel):
    amount: Annotated[int, Field(ge=5, le=3)]


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


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
        ({"type": "string", "pattern": "("}, "out.pattern: '(' is not a regular expression"),
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
        ({**TEXT, "maxLenght": 3}, "out: unknown keyword 'maxLenght'; did you mean 'maxLength'?"),
        (of(a={**TEXT, "foo": 3}), "out.properties.a: unknown keyword 'foo'; leave it out, or"),
        (
            {"type": "array", "items": [TEXT]},
            "out.items: [{'type': 'string'}] is not a JSON Schema",
        ),
        ({**TEXT, "pattern": "(" * 900 + ")" * 900}, "out.pattern: "),
        ({**TEXT, "pattern": "a" * 5_000}, "out.pattern: "),
        ({"const": float("nan")}, "out: not JSON"),
        ({"const": object()}, "out: not JSON"),
        ({"enum": ["x" * 70_000]}, f"out: larger than {MAX_SCHEMA_BYTES:,} bytes"),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a~1b": TEXT}}, "out.$ref: '#/$defs/a~1b' is not"),
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
            {"type": "array", "items": {**TEXT, "minLength": 2, "maxLength": 1}},
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
            {"anyOf": [{**WHOLE, "minimum": 5, "maximum": 3}, {"type": "null"}]},
            "out.anyOf.0.minimum: 5 leaves no value",
        ),
        ({"oneOf": [{"type": "array", "minItems": 2, "maxItems": 1}]}, "out.oneOf.0.minItems"),
        ({"type": "object", "properties": {"a": False, "b": TEXT}}, None),
        (
            {"type": "object", "properties": {"a": {**TEXT, "minLength": 2, "maxLength": 1}}},
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
        {"type": "object"},
        {"type": "object", "properties": {}, "additionalProperties": False},
        {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {}}}},
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
    with pytest.raises(DefinitionError, match=r"tool 'look': unknown keyword 'requird'; did"):
        Agent(name="a", instructions="Do.", tools=[spec])


def _tree(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = {**TEXT}
    for _ in range(levels):
        node = {"anyOf": [node, node]}
    return node


def _chain(length: int) -> dict[str, Any]:
    links = {f"a{n}": of(n={"$ref": f"#/$defs/a{n + 1}"}) for n in range(length)}
    return {"$ref": "#/$defs/a0", "$defs": {**links, f"a{length}": TEXT}}


def _star(length: int) -> dict[str, Any]:
    chain = _chain(length)
    rays = [{"$ref": f"#/$defs/a{n}"} for n in range(length)]
    return {"allOf": rays, "$defs": chain["$defs"]}


@pytest.mark.parametrize(
    "schema",
    [
        _tree(60),
        {"enum": ["x" * 100] * 5_000},
        {"$ref": "#/$defs/A", "$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}] * 2_000}}},
        _chain(600),
        _star(500),
        {**TEXT, "pattern": "(a*)*" * 300 + "^"},
    ],
)
def test_hostile_schemas_are_checked_in_time(schema: Any) -> None:
    began = time.monotonic()
    with contextlib.suppress(ValueError):
        check_schema(schema, "out")
    assert time.monotonic() - began < 2


def test_a_list_that_contains_itself_is_no_schema() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert_rejected({"enum": endless}, "out: ")


def assert_rejected(schema: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=".") as error:
        check_schema(schema, "out")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", [Tree, Chain, Extra])
def test_schemas_of_types_are_schemas(model: type[BaseModel]) -> None:
    check_derived(model.model_json_schema(), "out")


def test_a_schema_nested_without_end_is_refused() -> None:
    schema: Any = {"type": "string"}
    for _ in range(100):
        schema = {"type": "array", "items": schema}
    with pytest.raises(ValueError, match="nested deeper than"):
        check_schema(schema, "out")
