import types
from decimal import Decimal
from enum import Enum
from threading import Thread
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from outlast import Agent, Approval, DefinitionError, ToolError, ToolSpec, tool
from outlast.agents.catalog import Catalog
from tests.stage import catalog_of


class Receipt(BaseModel):
    order_id: str
    amount_usd: Decimal


@tool(effect="irreversible", approval="support-leads")
async def refund(order_id: str, amount_usd: Decimal, *, notes: list[str] | None = None) -> Receipt:
    """Refund an order.

    It cannot be undone.

    Args:
        order_id: The order's id,
            as printed.
        amount_usd (Decimal): Dollars.

    Returns:
        A receipt.
    """
    return Receipt(order_id=order_id, amount_usd=amount_usd)


def test_a_tool_takes_its_name_description_and_schema_from_the_function() -> None:
    spec = refund.spec
    assert spec.name == "refund"
    assert spec.description == "Refund an order.\n\nIt cannot be undone."
    properties: Any = spec.parameters["properties"]
    assert properties["order_id"] == {
        "type": "string",
        "description": "The order's id, as printed.",
    }
    assert properties["amount_usd"]["description"] == "Dollars."
    assert spec.parameters["required"] == ["order_id", "amount_usd"]
    assert spec.parameters["additionalProperties"] is False


async def test_a_tool_is_still_its_function() -> None:
    assert (await refund("7", Decimal(3))).order_id == "7"


async def test_a_call_turns_json_into_types_and_the_result_into_json() -> None:
    encoded = await refund.invoke({"order_id": "7", "amount_usd": "3.50"})
    assert encoded == b'{"order_id":"7","amount_usd":"3.50"}'


async def test_arguments_of_nested_models_arrive_as_models() -> None:
    class Address(BaseModel):
        city: str

    class Level(Enum):
        LOW = "low"

    @tool(effect="read")
    def ship(to: Address, level: Level, mode: Literal["air", "sea"] = "sea") -> str:
        """Ship."""
        assert isinstance(to, Address)
        assert isinstance(level, Level)
        return f"{to.city} {level.value} {mode}"

    assert await ship.invoke({"to": {"city": "Rome"}, "level": "low"}) == b'"Rome low sea"'


@pytest.mark.parametrize(
    ("effect", "approval", "audience"),
    [
        ("read", None, None),
        ("write", None, None),
        ("irreversible", None, "operators"),
        ("irreversible", False, None),
        ("read", "lawyers", "lawyers"),
        ("write", Approval(audience="lawyers", expires_s=60), "lawyers"),
    ],
)
def test_the_effect_decides_who_approves_unless_the_tool_does(
    effect: Any, approval: Any, audience: str | None
) -> None:
    @tool(effect=effect, approval=approval)
    def act() -> None:
        """Act."""

    assert (act.spec.approval.audience if act.spec.approval else None) == audience


def _no_hint(x) -> int:  # type: ignore[no-untyped-def]
    return 1


def _no_result(x: int):  # type: ignore[no-untyped-def]
    return x


def _unknown_hint(x: "Missing") -> int:  # type: ignore[name-defined]  # noqa: F821
    return 1


def _no_schema(x: Thread) -> int:
    return 1


def _result_without_schema() -> Thread:
    return Thread()


def _any_number(*x: int) -> int:
    return 1


def _any_names(**x: int) -> int:
    return 1


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_no_hint, "parameter 'x' has no type hint"),
        (_no_result, "its result has no type hint"),
        (_unknown_hint, "a type hint is not defined: name 'Missing'"),
        (_no_schema, "parameter 'x' of tool '_no_schema'.*has no JSON Schema"),
        (_result_without_schema, "the result of tool.*has no JSON Schema"),
        (_any_number, r"\*x cannot have a schema"),
        (_any_names, r"\*x cannot have a schema"),
    ],
)
def test_what_cannot_have_a_schema_is_refused_when_it_is_defined(
    function: Any, reason: str
) -> None:
    with pytest.raises(DefinitionError, match=reason):
        tool(effect="read")(function)


def test_a_name_that_no_activity_should_have_is_refused() -> None:
    with pytest.raises(DefinitionError, match="a name is a letter, then"):
        tool(effect="read", name="read metadata")(refund.function)


async def test_a_tool_error_passes_through() -> None:
    @tool(effect="read")
    def refuse() -> str:
        """Refuse."""
        raise ToolError("closed")

    with pytest.raises(ToolError, match="closed"):
        await refuse.invoke({})


async def test_a_default_out_of_its_bounds_is_the_authors_business() -> None:
    @tool(effect="read")
    def count(n: Annotated[int, Field(ge=1)] = 1) -> int:
        """Count."""
        return n

    with pytest.raises(ToolError, match="n: 0: input should be greater than or equal to 1"):
        await count.invoke({"n": 0})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "a b"}, "a name is a letter"),
        ({"instructions": " "}, "its instructions are empty"),
        ({"instructions": "x" * 200_001}, "its instructions have more than 200,000 characters"),
        ({"output": Thread}, "the output of agent 'a'.*has no JSON Schema"),
        ({"output": {"foo": 1}}, "the output of agent 'a': not a JSON Schema"),
        ({"prompt": "Review it."}, "its prompt lacks '{input}'"),
        ({"tools": [len]}, "is not a tool; decorate the function"),
        ({"tools": [refund, refund]}, "two of its tools are named 'refund'"),
        ({"tools": [refund], "begin_with": ["refnd"]}, "begin_with names 'refnd'"),
    ],
)
def test_an_agent_that_could_not_run_is_refused_when_it_is_defined(
    fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DefinitionError, match=reason):
        Agent(**{"name": "a", "instructions": "Do.", **fields})


def test_a_catalog_holds_what_modules_define_and_their_agents_use() -> None:
    inner = Agent(name="inner", instructions="Do.", tools=[refund])
    outer = Agent(name="outer", instructions="Do.", tools=[inner])
    catalog = catalog_of([outer])
    assert set(catalog.agents) == {"outer", "inner"}
    assert set(catalog.tools) == {"refund"}


def test_a_catalog_refuses_two_agents_of_one_name() -> None:
    first = Agent(name="same", instructions="Do.")
    second = Agent(name="same", instructions="Do otherwise.")
    with pytest.raises(DefinitionError, match="two agents are named 'same'"):
        Catalog.of([_module(a=first, b=second)])


def test_a_catalog_refuses_an_agent_with_the_name_of_a_tool() -> None:
    agent = Agent(name="refund", instructions="Do.")
    with pytest.raises(DefinitionError, match="'refund' is the name of both"):
        Catalog.of([_module(agent=agent, made=refund)])


def _module(**entries: Any) -> Any:
    module = types.ModuleType("made")
    vars(module).update(entries)
    return module


def test_a_tool_of_another_worker_is_named_with_its_schema() -> None:
    named = ToolSpec(name="elsewhere", parameters={"type": "object"}, effect="write")
    agent = Agent(name="a", instructions="Do.", tools=[named])
    assert agent.tool_specs == (named,)
