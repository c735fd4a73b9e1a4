from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from outlast import Agent, tool
from outlast.contracts.agents import Leg, PinnedAgent, Route
from outlast.jsonschema.decision_schema import MAX_CALLS_PER_TURN, decision_schema
from outlast.jsonschema.schemas import Schema


class Tree(BaseModel):
    value: int
    children: list["Tree"] = []


class Leaf(BaseModel):
    colour: str


@tool(effect="read")
def plant(tree: Tree) -> str:
    """Plant."""
    return ""


@tool(effect="read")
def rake(leaf: Leaf, times: int = 1) -> str:
    """Rake."""
    return ""


def pinned(**fields: Any) -> PinnedAgent:
    agent = Agent(name="a", instructions="Do.", **fields)
    return PinnedAgent(
        name=agent.name,
        instructions=agent.instructions,
        tools=agent.tool_specs,
        output_schema=agent.output_schema,
        route=Route(legs=(Leg(task_queue="q"),)),
    )


GARDENER = pinned(tools=[plant, rake], output=Tree)


def admits(schema: Schema, value: Any) -> bool:
    return Draft202012Validator(schema).is_valid(value)


PLANT = {"tool": "plant", "arguments": {"tree": {"value": 1, "children": [{"value": 2}]}}}
RAKE = {"tool": "rake", "arguments": {"leaf": {"colour": "red"}}}
ANSWER = {"answer": {"value": 3, "children": []}}


def test_a_decision_is_some_calls_or_the_answer() -> None:
    schema = decision_schema(GARDENER)
    Draft202012Validator.check_schema(schema)
    assert admits(schema, {"tool_calls": [PLANT, RAKE]})
    assert admits(schema, ANSWER)
    assert not admits(schema, {"tool_calls": []})
    assert not admits(schema, {"tool_calls": [PLANT] * (MAX_CALLS_PER_TURN + 1)})
    assert not admits(schema, {"tool_calls": [{"tool": "dig", "arguments": {}}]})
    assert not admits(schema, {"tool_calls": [{**RAKE, "tool": "plant"}]})
    assert not admits(schema, {"tool_calls": [PLANT], **ANSWER})
    assert not admits(schema, {"answer": {"value": "three"}})
    assert not admits(schema, {})


@pytest.mark.parametrize(
    ("narrowing", "calls", "answer"),
    [
        ({}, {"plant", "rake"}, True),
        ({"tools": ("rake",)}, {"rake"}, True),
        ({"tools": ()}, set(), True),
        ({"max_calls": 0}, set(), True),
        ({"answer": False}, {"plant", "rake"}, False),
        ({"answer": False, "tools": ("plant",)}, {"plant"}, False),
        ({"answer": False, "tools": ()}, set(), True),
    ],
)
def test_the_schema_narrows(narrowing: dict[str, Any], calls: set[str], answer: bool) -> None:
    schema = decision_schema(GARDENER, **narrowing)
    admitted = {call["tool"] for call in (PLANT, RAKE) if admits(schema, {"tool_calls": [call]})}
    assert admitted == calls
    assert admits(schema, ANSWER) is answer


def test_the_calls_left_bound_the_calls_of_a_decision() -> None:
    schema = decision_schema(GARDENER, max_calls=1)
    assert admits(schema, {"tool_calls": [PLANT]})
    assert not admits(schema, {"tool_calls": [PLANT, RAKE]})


def test_definitions_of_tools_and_answer_do_not_mix() -> None:
    class Tree(BaseModel):  # of the same name as the one above
        height: float

    @tool(effect="read")
    def fell(tree: Tree) -> str:
        """Fell."""
        return ""

    schema = decision_schema(pinned(tools=[plant, fell], output=Leaf))
    assert admits(schema, {"tool_calls": [{"tool": "fell", "arguments": {"tree": {"height": 2}}}]})
    assert not admits(
        schema, {"tool_calls": [{"tool": "fell", "arguments": {"tree": {"value": 1}}}]}
    )
    assert admits(schema, {"tool_calls": [PLANT]})


def test_a_schema_that_refers_to_its_root_still_does() -> None:
    output: Schema = {
        "type": "object",
        "properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}},
        "required": ["n"],
    }
    schema = decision_schema(pinned(output=output))
    assert admits(schema, {"answer": {"n": 1, "next": {"n": 2}}})
    assert not admits(schema, {"answer": {"n": 1, "next": {"n": "two"}}})


def answer_schema(schema: Schema) -> Schema:
    agent = PinnedAgent(
        name="a",
        instructions="Do.",
        output_schema=schema,
        route=Route(legs=(Leg(task_queue="q"),)),
    )
    return decision_schema(agent)


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


TEXT = {"type": "string"}
WHOLE = {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"enum": [{"definitions": 1}, {"definitions": 2}]}, {"definitions": 1}, {}),
        ({"const": {"$ref": "#/$defs/x"}}, {"$ref": "#/$defs/x"}, {"$ref": "#/$defs/.answer.x"}),
        ({"enum": [{"$ref": "#/definitions/x"}]}, {"$ref": "#/definitions/x"}, {}),
        ({"enum": [{"$ref": 2}]}, {"$ref": 2}, {"$ref": "2"}),
        (
            {"const": {"$id": "x", "properties": {"$ref": "#"}}},
            {"$id": "x", "properties": {"$ref": "#"}},
            {},
        ),
        ({"const": {"$defs": {"a": {"$ref": "#"}}}}, {"$defs": {"a": {"$ref": "#"}}}, {}),
        (
            {
                "type": "object",
                "patternProperties": {"definitions": WHOLE},
                "additionalProperties": False,
            },
            {"definitions": 1},
            {"definitions": "x"},
        ),
        ({"type": "object", "patternProperties": {"$defs": WHOLE}}, {"$defs": 1}, 1),
        (
            {**of(a={}), "dependentSchemas": {"definitions": of(b=TEXT)}},
            {"a": 1, "definitions": 1, "b": ""},
            {"a": 1, "definitions": 1},
        ),
        (
            {
                "type": "object",
                "properties": {"$ref": {}, "a": {}},
                "dependentRequired": {"$ref": ["a"]},
            },
            {"$ref": 1, "a": 1},
            {"$ref": 1},
        ),
        (
            {"type": "object", "dependentRequired": {"$defs": ["a"], "definitions": ["a"]}},
            {"$defs": 1, "a": 1},
            {"definitions": 1},
        ),
        (
            {
                **of(x={"$ref": "#/$defs/A"}, y={"$ref": "#/definitions/A"}),
                "$defs": {"A": TEXT},
                "definitions": {"A": WHOLE},
            },
            {"x": "a", "y": 1},
            {"x": 1, "y": 1},
        ),
        (of(**{"$ref": TEXT, "$defs": TEXT}), {"$ref": "", "$defs": ""}, {"$ref": 1, "$defs": ""}),
        ({**of(a=TEXT), "default": {"$ref": "#/x"}, "examples": [{"$defs": {}}]}, {"a": ""}, {}),
        ({"type": "object", "properties": {"c": {"$ref": "#"}}}, {"c": {"c": {}}}, {"c": 1}),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", **of(a={"const": 1})},
            {"a": 1},
            {"a": 2},
        ),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "array",
                "items": [TEXT],
            },
            ["a", 1],
            [1],
        ),
        ({"$id": "http://x.org/y", "$ref": "#/$defs/A", "$defs": {"A": TEXT}}, "a", 1),
    ],
)
def test_what_is_data_in_a_schema_stays_as_it_is(schema: Any, good: Any, bad: Any) -> None:
    whole = answer_schema(schema)
    assert admits(whole, {"answer": good})
    assert not admits(whole, {"answer": bad})
    assert "$schema" not in str(whole)
    assert "$id" not in str(whole) or "$id" in str(good)
