import math
from typing import Any

import pytest
from outlast_activities.policies.decision_check import (
    MAX_DECISION_BYTES,
    decision_problem,
    size_problem,
)
from outlast_activities.policies.schema_checker import MAX_ANSWER_DEPTH
from temporalio.contrib.pydantic import pydantic_data_converter

from outlast.contracts.agents import Leg, PinnedAgent, Route, ToolSpec
from outlast.contracts.generation import GenerateInput, Generation
from outlast.contracts.messages import Decision


def tool(name: str) -> ToolSpec:
    return ToolSpec(name=name, description="x", parameters={"type": "object"})


AGENT = PinnedAgent(
    name="a",
    instructions="x",
    tools=(tool("look"), tool("pay")),
    output_schema={},
    route=Route(legs=(Leg(task_queue="q"),)),
)


def wanted(**changes: Any) -> GenerateInput:
    return GenerateInput(turn=1, agent_digest="d", length=1, digest="e", **changes)


def decision(*tools: str, answer: Any = None) -> Decision:
    calls = [{"tool": name, "arguments": {}} for name in tools]
    return Decision.model_validate({"tool_calls": calls, "answer": answer})


def nested(levels: int, leaf: Any = 1) -> Any:
    value = leaf
    for _ in range(levels):
        value = [value]
    return value


ALLOWED = [
    (decision("look"), wanted()),
    (decision(*["look"] * 8), wanted()),
    (decision("look", "pay"), wanted(max_calls=2)),
    (decision("pay"), wanted(tools=("pay",))),
    (decision(answer=1), wanted()),
    (decision(answer=None), wanted()),
    # Without a tool that is left, only the answer is possible.
    (decision(answer="y"), wanted(answer=False, tools=())),
    (decision(answer=nested(MAX_ANSWER_DEPTH - 1)), wanted()),
]

REJECTED = [
    (decision(*["look"] * 300), wanted(), "300 tool calls, and at most 8"),
    (decision(*["look"] * 9), wanted(max_calls=1_000_000), "9 tool calls, and at most 8"),
    (decision("look", "pay"), wanted(max_calls=1), "2 tool calls, and at most 1"),
    (decision("look"), wanted(max_calls=0), "1 tool calls, and at most 0"),
    (decision("look"), wanted(max_calls=-3), "at most -3"),
    (decision("pay"), wanted(tools=("look",)), 'the tool "pay" is not allowed; allowed: look'),
    (decision("look"), wanted(tools=()), "allowed: none"),
    (decision("rm"), wanted(), 'the tool "rm" is not allowed; allowed: look, pay'),
    (decision("rm"), wanted(tools=("rm",)), "allowed: none"),
    (decision("Look"), wanted(), "is not allowed"),
    (decision("look\n"), wanted(), "is not allowed"),
    (decision("x" * 5_000), wanted(), "is not allowed"),
    (decision("\ud83d"), wanted(), "is not allowed"),
    (decision("look", answer="y"), wanted(), "both tool calls and an answer"),
    (decision(answer="y"), wanted(answer=False), "the final answer is not allowed yet"),
    (decision(answer=None), wanted(answer=False), "the final answer is not allowed yet"),
    (decision(answer=nested(MAX_ANSWER_DEPTH)), wanted(), "nested deeper"),
    (decision(answer="x" * (MAX_DECISION_BYTES + 1)), wanted(), "bytes"),
]


@pytest.mark.parametrize(("made", "asked_for"), ALLOWED)
def test_an_allowed_decision_has_no_problem(made: Decision, asked_for: GenerateInput) -> None:
    assert decision_problem(made, AGENT, asked_for) is None


@pytest.mark.parametrize(("made", "asked_for", "reason"), REJECTED)
def test_a_decision_that_the_call_does_not_allow_is_rejected(
    made: Decision, asked_for: GenerateInput, reason: str
) -> None:
    problem = decision_problem(made, AGENT, asked_for)

    assert problem is not None
    assert reason in problem
    assert len(problem.encode()) <= 400
    assert "\n" not in problem


@pytest.mark.parametrize(
    "value",
    [
        nested(MAX_ANSWER_DEPTH + 1),
        nested(5_000),
        nested(MAX_ANSWER_DEPTH, leaf={}),
        {"c": nested(MAX_ANSWER_DEPTH)},
        [1, "x", {"a": nested(200)}],
        "x" * (MAX_DECISION_BYTES + 1),
        "é" * (MAX_DECISION_BYTES // 2 + 1),
        '"' * (MAX_DECISION_BYTES // 2 + 1),
        ["x" * 1_000] * 2_000,
        {"k" * 1_000 + str(key): 0 for key in range(2_000)},
        "half \ud83d",
        {"\udc00": 1},
        math.inf,
        [-math.inf],
        {"n": math.nan},
    ],
    ids=range(15),
)
def test_a_value_that_cannot_be_carried_is_named(value: Any) -> None:
    assert size_problem(value) is not None


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        nested(MAX_ANSWER_DEPTH - 1),
        {"a": nested(MAX_ANSWER_DEPTH - 1)},
        10**400,
        -(10**4_000),
        1e308,
        "\0",
        "😀",
        "x" * (MAX_DECISION_BYTES - 20),
        ["x"] * 100_000,
    ],
    ids=range(11),
)
async def test_a_value_without_a_problem_survives_the_codec(value: Any) -> None:
    assert size_problem(value) is None

    sent = Generation(decision=Decision.model_validate({"answer": value}))
    payloads = await pydantic_data_converter.encode([sent])
    received = await pydantic_data_converter.decode(payloads, [Generation])

    assert received == [sent]
    assert payloads[0].ByteSize() < 2_000_000
