"""Agents and their dependencies fit each other, or the definition is rejected."""

from typing import Any

import pytest

from outlast import (
    Agent,
    DefinitionError,
    RunContext,
    ToolContext,
    dependency,
    tool,
)
from tests.activities.shop_agents import Order, Shop, count, desk, greet, is_known, look, shop
from tests.stage import catalog_of


def test_an_agent_without_the_dependencies_of_its_tools_cannot_be_defined() -> None:
    with pytest.raises(DefinitionError, match="'look' needs dependencies of the type Shop; give"):
        Agent(name="keeper", instructions="Keep.", tools=[look])


def test_dependencies_of_a_companion_are_needed_too() -> None:
    @tool(effect="idempotent")
    def undo(context: ToolContext[Shop]) -> str:
        return context.deps.name

    booking = tool(effect="write", compensate=undo, name="book")(lambda_with_hints)
    with pytest.raises(DefinitionError, match="'undo' needs dependencies of the type Shop"):
        Agent(name="keeper", instructions="Keep.", tools=[booking])
    agent = Agent(name="keeper", instructions="Keep.", tools=[booking], deps=shop)
    assert catalog_of([agent]).dependencies == {"undo": shop}


def lambda_with_hints() -> str:
    """Book."""
    return ""


def test_two_dependencies_of_one_name_are_rejected() -> None:
    def opened() -> Shop:
        return Shop()

    opened.__name__ = "shop"
    twin = dependency(opened)
    one = Agent(name="one", instructions="Keep.", tools=[count], deps=twin)
    two = Agent(name="two", instructions="Keep.", tools=[look], deps=shop)
    with pytest.raises(DefinitionError, match="two dependencies are named 'shop'"):
        catalog_of([one, two])


def _needs(url: str) -> Shop:
    return Shop(url)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (_needs, "it has a parameter 'url', but the worker passes nothing"),
        (Shop, "is not a function"),
        (3, "is not a function"),
    ],
)
def test_a_dependency_that_cannot_be_called_is_rejected(value: Any, why: str) -> None:
    with pytest.raises(DefinitionError, match=why):
        dependency(value)


@pytest.mark.parametrize("value", [Shop(), Shop, shop.function])
def test_deps_that_are_not_a_dependency_are_rejected(value: Any) -> None:
    with pytest.raises(DefinitionError, match="is not a dependency; decorate its function"):
        Agent(name="keeper", instructions="Keep.", deps=value)


def _takes_tool_context(context: ToolContext[Shop], answer: Order) -> None: ...


def _takes_three(context: RunContext[Shop], answer: Order, more: int) -> None: ...


def _takes_nothing() -> None: ...


def _takes_context_last(answer: Order, context: RunContext[Shop]) -> None: ...


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (
            _takes_tool_context,
            "takes a ToolContext, which only tools get: annotate it with RunContext",
        ),
        (_takes_three, "must take an answer, and may take a RunContext as its first parameter"),
        (_takes_nothing, "must take an answer, and may take a RunContext as its first parameter"),
        (_takes_context_last, "must take an answer, and may take a RunContext as its first"),
    ],
)
def test_a_check_that_cannot_be_called_is_rejected(check: Any, reason: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        desk(check, "Help.")
    assert str(refused.value).startswith(f"agent 'desk': its check {check.__name__!r} {reason}")


def test_a_check_or_instructions_without_their_dependencies_are_rejected() -> None:
    agent: Any = Agent("desk", "Help.", output=Order)
    with pytest.raises(
        DefinitionError, match="its check 'is_known' needs dependencies of the type Shop"
    ):
        agent.check(is_known)
    with pytest.raises(
        DefinitionError, match="'greet' of its instructions needs dependencies of the"
    ):
        Agent("desk", greet)
