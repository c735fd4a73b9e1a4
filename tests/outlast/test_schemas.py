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
