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
    ("schema", "said"),
    [
        ("object", "out: 'object' is no JSON Schema"),
        ({}, "out: no JSON Schema: has nothing, needs one of"),
        ({"title": "x"}, "out: no JSON Schema: has 'title'"),
        ({"type": "text"}, "out.type: 'text' is not one of array"),
        ({"type": ["string", "text"]}, "out.type"),
        ({"type": "object", "properties": ["a"]}, "out.properties: ['a'] is not an object"),
        ({"type": "object", "properties": {"a": {"type": 3}}}, "out.properties.a.type: 3"),
        ({"type": "object", "properties": {"a": 3}}, "out.properties.a: 3 is no JSON Schema"),
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
def test_what_is_no_schema_is_refused_at_its_place(schema: Any, said: str) -> None:
    with pytest.raises(ValueError, match=".") as refused:
        check_schema(schema, "out")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({**TEXT, "maxLenght": 3}, "out: unknown keyword 'maxLenght'; did you mean 'maxLength'?"),
        (of(a={**TEXT, "foo": 3}), "out.properties.a: unknown keyword 'foo'; leave it out, or"),
        ({"type": "array", "items": [TEXT]}, "out.items: [{'type': 'string'}] is no JSON Schema"),
        ({**TEXT, "pattern": "(" * 900 + ")" * 900}, "out.pattern: "),
        ({**TEXT, "pattern": "a" * 5_000}, "out.pattern: "),
        ({"const": float("nan")}, "out: no JSON"),
        ({"const": object()}, "out: no JSON"),
        ({"enum": ["x" * 70_000]}, f"out: larger than {MAX_SCHEMA_BYTES:,} bytes"),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a~1b": TEXT}}, "out.$ref: '#/$defs/a~1b' is not"),
    ],
)
def test_what_no_engine_could_use_is_refused_at_its_place(schema: Any, said: str) -> None:
    refused(schema, said)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({**WHOLE, "minimum": 5, "maximum": 3}, "out: no number is above 5 and below 3"),
        ({"minimum": 5, "maximum": 3, "enum": [4]}, None),
        ({**WHOLE, "exclusiveMinimum": 3, "maximum": 3}, "out: no number is above 3"),
        ({**WHOLE, "exclusiveMinimum": 3, "exclusiveMaximum": 4}, "out: no integer lies between"),
        ({**WHOLE, "minimum": 3.2, "maximum": 3.8}, "out: no integer lies between 3.2 and 3.8"),
        ({"type": "number", "minimum": 3.2, "maximum": 3.8}, None),
        ({"type": "number", "exclusiveMinimum": 3, "exclusiveMaximum": 4}, None),
        ({**WHOLE, "minimum": 6, "maximum": 9, "multipleOf": 5}, "out: no multiple of 5 lies"),
        ({"type": ["integer", "string"], "minimum": 5, "maximum": 3}, None),
        ({**TEXT, "minLength": 5, "maxLength": 3}, "out.minLength: 5 is above maxLength"),
        ({"type": "array", "minItems": 2, "maxItems": 1}, "out.minItems: 2 is above maxItems"),
        ({"type": "array", "minItems": 1, "items": False}, "out.minItems: 1 items, and 'items'"),
        ({"type": "array", "items": False}, None),
        ({"type": "array", "minItems": 1, "prefixItems": [False]}, "out.prefixItems.0: false"),
        ({"type": "array", "items": {**TEXT, "pattern": "a^b"}}, "out.items.pattern: no text"),
        ({"enum": [1, 2], "type": "string"}, "out.enum: has no value of type string"),
        ({"const": True, "type": "integer"}, "out.const: has no value of type integer"),
        ({"enum": [1.0, "a"], "type": "integer"}, None),
        (of(a=False), "out.properties.a: false admits nothing"),
        ({"type": "object", "properties": {"a": False, "b": TEXT}}, None),
        (
            {**of(a=TEXT), "required": ["b"], "additionalProperties": False},
            "out.required: 'b' is no property, and additionalProperties forbids others",
        ),
        ({**of(a=TEXT), "required": ["b"]}, None),
        ({"type": "object", "minProperties": 2, "maxProperties": 1}, "out.minProperties: 2 is"),
        (of(a={"anyOf": [False, {**TEXT, "pattern": "$a"}]}), "out.properties.a.anyOf.0: false"),
        ({"anyOf": [{**WHOLE, "minimum": 5, "maximum": 3}, {"type": "null"}]}, None),
        ({"oneOf": [{"type": "array", "minItems": 2, "maxItems": 1}]}, "out.oneOf.0.minItems"),
        ({"allOf": [TEXT, {"pattern": "(?!)"}]}, "out.allOf.1.pattern: no text matches"),
        ({**TEXT, "not": {}}, "out.not: excludes everything"),
        ({**TEXT, "not": {**TEXT, "pattern": "a^b"}}, None),
        (
            {"type": "object", "properties": {"a": {**TEXT, "minLength": 2, "maxLength": 1}}},
            "out.properties.a.minLength: 2 is above",
        ),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, "in a circle"),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, TEXT]}}},
            "out.$defs.A: '#/$defs/A' refers to itself in a circle",
        ),
        (of(next={"$ref": "#"}), "out.properties.next.$ref: '#' needs itself without end"),
        ({"type": "object", "properties": {"next": {"$ref": "#"}}}, None),
        (
            {**of(a={"$ref": "#/$defs/A"}), "$defs": {"A": {**TEXT, "pattern": "$a"}}},
            "out.$defs.A.pattern: no text matches",
        ),
    ],
)
def test_what_no_value_satisfies_is_refused_at_its_place(schema: Any, said: str | None) -> None:
    refused(schema, said) if said else check_schema(schema, "out")


@pytest.mark.parametrize(
    "pattern",
    ["a^b", "$a", "(?!)", r"[^\s\S]", "(a|b)^", r"^a\Zb$", "(?=[^\\d\\D])a", "^(?!.*)a$"],
)
def test_a_pattern_without_a_match_is_refused(pattern: str) -> None:
    refused({**TEXT, "pattern": pattern}, f"out.pattern: no text matches {pattern!r}")


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "^$",
        "$",
        "^a|b$",
        "(a^)?b",
        "(?m)a^b",
        "(?m:a$)b",
        "a$\n",
        "^(?!b).*$",
        r"^(a)\1$",
        "x*^a",
    ],
)
def test_a_pattern_that_may_have_a_match_is_accepted(pattern: str) -> None:
    check_schema({**TEXT, "pattern": pattern}, "out")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"pattern": "^a{2}$", "minLength": 3}, "matches no text of at least 3 characters"),
        ({"pattern": "^(a|bc)$", "minLength": 3}, "matches no text of at least 3 characters"),
        ({"pattern": "a{4}", "maxLength": 3}, "matches no text of at most 3 characters"),
        ({"pattern": "^a{2}", "minLength": 3}, None),
        ({"pattern": "^a+$", "minLength": 3, "maxLength": 3}, None),
    ],
)
def test_a_pattern_and_lengths_must_agree(schema: dict[str, Any], said: str | None) -> None:
    schema = {**TEXT, **schema}
    refused(schema, f"out.pattern: {said}") if said else check_schema(schema, "out")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}, "additionalProperties": False},
        {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {}}}},
    ],
)
def test_an_answer_that_can_say_nothing_is_refused_and_arguments_are_not(schema: Any) -> None:
    refused(schema, "out: an object without properties says nothing")
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
    ("output", "said"),
    [
        (Endless, "$defs.Endless.properties.next.$ref: '#/$defs/Endless' needs itself without end"),
        (Branching, "properties.branches.items.$ref: '#/$defs/Branching' needs itself without"),
        (One, "needs itself without end; make it optional, nullable, or a list that may be empty"),
        (Empty, "an object without properties says nothing"),
        (Crossed, "properties.amount: no number is above 5 and below 3"),
        (Annotated[str, Field(pattern="a^b")], "pattern: no text matches 'a^b'"),
        (list[Annotated[str, Field(pattern=r"\p{L}")]], "items.pattern: "),
        (conlist(int, min_length=2, max_length=1), "minItems: 2 is above maxItems"),
        (Literal[tuple("x" * 90 + str(n) for n in range(1_000))], "larger than 64,000 bytes"),
    ],
)
def test_types_that_no_answer_satisfies_are_refused_when_the_agent_is_defined(
    output: Any, said: str
) -> None:
    with pytest.raises(DefinitionError) as error:
        Agent(name="a", instructions="Do.", output=output)
    assert str(error.value).startswith("the output of agent 'a'")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "output",
    [Tree, Chain, Sloppy, Extra, str, list[Tree], dict[str, int], dict[str, Any], Any, int | None],
)
def test_types_that_some_answer_satisfies_are_accepted(output: Any) -> None:
    Agent(name="a", instructions="Do.", output=output)


def test_arguments_that_no_call_satisfies_are_refused_when_the_tool_is_defined() -> None:
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
def test_hostile_schemas_are_settled_soon(schema: Any) -> None:
    began = time.monotonic()
    with contextlib.suppress(ValueError):
        check_schema(schema, "out")
    assert time.monotonic() - began < 2


def test_a_list_that_contains_itself_is_no_schema() -> None:
    endless: list[Any] = []
    endless.append(endless)
    refused({"enum": endless}, "out: ")


def refused(schema: Any, said: str) -> None:
    with pytest.raises(ValueError, match=".") as error:
        check_schema(schema, "out")
    assert said in str(error.value)
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
