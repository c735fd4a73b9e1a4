from decimal import Decimal
from typing import Any

import pytest
from outlast_workflows.budget import Ask, Spent, Stop, plan_turn, tighter

from outlast.contracts.agents import ToolSpec
from outlast.contracts.limits import RunLimits
from outlast.contracts.results import Usage


def named(name: str, **fields: Any) -> ToolSpec:
    return ToolSpec(name=name, parameters={"type": "object"}, **fields)


FREE, TWICE = named("free"), named("twice", max_calls=2)
MUST = named("must", begins_run=True, max_calls=1)
ALSO = named("also", begins_run=True)


def used(tokens: int = 0, cost: str = "0") -> Usage:
    return Usage(prompt_tokens=tokens, cost_usd=Decimal(cost))


@pytest.mark.parametrize(
    ("tools", "limits", "spent", "plan"),
    [
        # turns
        ([FREE], {}, Spent(), Ask()),
        ([FREE], {}, Spent(turns=18), Ask()),
        ([FREE], {}, Spent(turns=19), Ask(tools=())),
        ([FREE], {}, Spent(turns=20), Stop("turns")),
        ([FREE], {"max_turns": 1}, Spent(), Ask(tools=())),
        ([], {}, Spent(), Ask()),
        # calls
        ([FREE, TWICE], {}, Spent(calls={"twice": 1, "free": 9}), Ask()),
        ([FREE, TWICE], {}, Spent(calls={"twice": 2}), Ask(tools=("free",))),
        ([TWICE], {}, Spent(), Ask(max_calls=2)),
        ([TWICE], {}, Spent(calls={"twice": 1}), Ask(max_calls=1)),
        ([TWICE], {}, Spent(calls={"twice": 2}), Ask(tools=())),
        # tools that come first
        ([FREE, MUST], {}, Spent(), Ask(tools=("must",), answer=False, max_calls=1)),
        ([FREE, MUST], {}, Spent(calls={"must": 1}), Ask(tools=("free",))),
        ([FREE, MUST], {"max_turns": 1}, Spent(), Ask(tools=())),
        ([MUST, ALSO], {}, Spent(), Ask(tools=("must",), answer=False, max_calls=1)),
        ([MUST, ALSO], {}, Spent(calls={"must": 1}), Ask(tools=("also",), answer=False)),
        # tokens: after a turn like the last, one more must fit
        ([FREE], {"max_tokens": 1000}, Spent(), Ask()),
        (
            [FREE],
            {"max_tokens": 1000},
            Spent(usage=used(400), last_usage=used(300), last_prompt_tokens=200),
            Ask(),
        ),
        (
            [FREE],
            {"max_tokens": 1000},
            Spent(usage=used(500), last_usage=used(300), last_prompt_tokens=200),
            Ask(tools=()),
        ),
        (
            [FREE],
            {"max_tokens": 1000},
            Spent(usage=used(800), last_usage=used(300), last_prompt_tokens=200),
            Stop("tokens"),
        ),
        # cost
        (
            [FREE],
            {"max_cost_usd": "1"},
            Spent(usage=used(cost="0.5"), last_usage=used(cost="0.3")),
            Ask(tools=()),
        ),
        ([FREE], {"max_cost_usd": "1"}, Spent(usage=used(cost="1")), Stop("cost")),
    ],
)
def test_a_turn_is_planned_within_its_budgets(
    tools: list[ToolSpec], limits: dict[str, Any], spent: Spent, plan: Ask | Stop
) -> None:
    assert plan_turn(tools, tighter(RunLimits(**limits), RunLimits()), spent) == plan


def test_of_two_limits_the_tighter_holds_field_by_field() -> None:
    first = RunLimits(max_turns=5, max_tokens=100)
    second = RunLimits(max_turns=3, max_tokens=200, deadline_s=60)
    assert tighter(first, second) == RunLimits(max_turns=3, max_tokens=100, deadline_s=60)


def test_every_run_has_a_bound_on_its_turns() -> None:
    assert tighter(RunLimits(), RunLimits()).max_turns == 20
    assert tighter(RunLimits(max_turns=500), RunLimits()).max_turns == 500
