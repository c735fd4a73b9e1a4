from decimal import Decimal
from typing import Any

import pytest
from outlast_workflows.budget import Spending, StopRun, TakeTurn, plan_turn, tighter

from outlast.contracts.agents import ToolSpec
from outlast.contracts.limits import RunLimits
from outlast.contracts.usage import Usage


def named(name: str, **fields: Any) -> ToolSpec:
    return ToolSpec(name=name, parameters={"type": "object"}, **fields)


FREE, TWICE = named("free"), named("twice", max_calls=2)
MUST = named("must", begins_run=True, max_calls=1)
ALSO = named("also", begins_run=True)


def used(tokens: int = 0, cost: str = "0") -> Usage:
    return Usage(prompt_tokens=tokens, cost_usd=Decimal(cost))


@pytest.mark.parametrize(
    ("tools", "limits", "spending", "plan"),
    [
        # turns
        ([FREE], {}, Spending(), TakeTurn()),
        ([FREE], {}, Spending(turns=18), TakeTurn()),
        ([FREE], {}, Spending(turns=19), TakeTurn(tools=())),
        ([FREE], {}, Spending(turns=20), StopRun("turns")),
        ([FREE], {"max_turns": 1}, Spending(), TakeTurn(tools=())),
        ([], {}, Spending(), TakeTurn()),
        # calls
        ([FREE, TWICE], {}, Spending(calls={"twice": 1, "free": 9}), TakeTurn()),
        ([FREE, TWICE], {}, Spending(calls={"twice": 2}), TakeTurn(tools=("free",))),
        ([TWICE], {}, Spending(), TakeTurn(max_calls=2)),
        ([TWICE], {}, Spending(calls={"twice": 1}), TakeTurn(max_calls=1)),
        ([TWICE], {}, Spending(calls={"twice": 2}), TakeTurn(tools=())),
        # tools that come first
        ([FREE, MUST], {}, Spending(), TakeTurn(tools=("must",), answer=False, max_calls=1)),
        ([FREE, MUST], {}, Spending(calls={"must": 1}), TakeTurn(tools=("free",))),
        ([FREE, MUST], {"max_turns": 1}, Spending(), TakeTurn(tools=())),
        ([MUST, ALSO], {}, Spending(), TakeTurn(tools=("must",), answer=False, max_calls=1)),
        ([MUST, ALSO], {}, Spending(calls={"must": 1}), TakeTurn(tools=("also",), answer=False)),
        # tokens: after a turn like the last, one more must fit
        ([FREE], {"max_tokens": 1000}, Spending(), TakeTurn()),
        (
            [FREE],
            {"max_tokens": 1000},
            Spending(usage=used(400), last_usage=used(300), last_prompt_tokens=200),
            TakeTurn(),
        ),
        (
            [FREE],
            {"max_tokens": 1000},
            Spending(usage=used(500), last_usage=used(300), last_prompt_tokens=200),
            TakeTurn(tools=()),
        ),
        (
            [FREE],
            {"max_tokens": 1000},
            Spending(usage=used(800), last_usage=used(300), last_prompt_tokens=200),
            StopRun("tokens"),
        ),
        # cost
        (
            [FREE],
            {"max_cost_usd": "1"},
            Spending(usage=used(cost="0.5"), last_usage=used(cost="0.3")),
            TakeTurn(tools=()),
        ),
        ([FREE], {"max_cost_usd": "1"}, Spending(usage=used(cost="1")), StopRun("cost")),
    ],
)
def test_a_turn_is_planned_within_its_budgets(
    tools: list[ToolSpec], limits: dict[str, Any], spending: Spending, plan: TakeTurn | StopRun
) -> None:
    assert plan_turn(tools, tighter(RunLimits(**limits), RunLimits()), spending) == plan


def test_of_two_limits_the_tighter_holds_field_by_field() -> None:
    first = RunLimits(max_turns=5, max_tokens=100)
    second = RunLimits(max_turns=3, max_tokens=200, deadline_s=60)
    assert tighter(first, second) == RunLimits(max_turns=3, max_tokens=100, deadline_s=60)


def test_every_run_has_a_bound_on_its_turns() -> None:
    assert tighter(RunLimits(), RunLimits()).max_turns == 20
    assert tighter(RunLimits(max_turns=500), RunLimits()).max_turns == 500
