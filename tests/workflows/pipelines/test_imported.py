"""State machines that were imported run to the results that the Amazon States Language gives them."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from temporalio.client import Client

from outlast import ToolError, tool
from outlast.testing import ScriptedModel
from tests.outlast.pipelines.asl.machines import imported
from tests.stage import on_stage
from tests.workflows.pipelines.staging import failure_of, output_of

Event = dict[str, Any]
DECLINED = "CardDeclined: the limit is 500"
CUSTOMER = {"name": "Ann"}
ITEMS = [{"sku": "a1"}, {"sku": "b2"}]


@tool(effect="read")
def validate(event: Event) -> Event:
    """Validate an order."""
    return {"ok": event["total"] > 0}


@tool(effect="write")
def charge(amount: float, text: str, skus: list[str]) -> Event:
    """Charge a card."""
    if amount > 500:
        raise ToolError(DECLINED)
    if amount == 13:
        raise ToolError("an unlucky amount")
    return {"receipt": f"{text}: {amount:g} for {'+'.join(skus)}", "internal": 1}


@tool(effect="read")
def submit(event: Event) -> Event:
    """Submit a job."""
    return {"state": "RUNNING", "looks": 0, "fails": event["fails"]}


@tool(effect="read")
def status(event: Event) -> Event:
    """Return the state of a job, which ends at the third look."""
    looks = event["looks"] + 1
    ended = "FAILED" if event["fails"] else "SUCCEEDED"
    return {**event, "looks": looks, "state": ended if looks > 1 else "RUNNING"}


@tool(effect="read")
def inspect(event: Event) -> str:
    """Inspect an order."""
    if event["order"]["total"] > 1_000:
        raise ToolError("the total is too large")
    return f"{event['shop']} {event['number']}: {event['order']['total']}"


@tool(effect="read")
def add_up(event: Event) -> Event:
    """Add numbers."""
    values: Sequence[int] = event["values"]
    return {"total": sum(values), "count": len(values), "name": event["name"]}


TOOLS: list[Any] = [validate, charge, submit, status, inspect, add_up]


def order(total: float, **more: Any) -> Event:
    return {"id": 7, "total": total, "customer": CUSTOMER, "items": ITEMS, **more}


@pytest.mark.timeout(180)
async def test_orders_polls_maps_and_paths(temporal: Client) -> None:
    cases: list[tuple[str, Any, Any]] = [
        # Done: OutputPath selects what ResultSelector and ResultPath of Charge have left.
        ("order", order(42), {"receipt": "Order 7 of Ann: 42 for a1+b2"}),
        # A catcher with a name of its own: Review gets the input of Charge, with the error at $.error.
        ("order", order(600), {"review": 7, "because": "CardDeclined", "cause": DECLINED}),
        # The second rule: too expensive, but there is a note. Review finds no error.
        ("order", order(2_000, note="gift"), {"review": 7, "because": None, "cause": None}),
        # A loop with a wait: two looks.
        ("job-poller", {"pause": 0, "fails": False}, {"state": "SUCCEEDED", "looks": 2, "fails": False}),
        # Each item gets a shape of its own, and the results keep the order of the items.
        (
            "batch",
            {"shop": "north", "orders": [{"total": 150}, {"total": 5}, {"total": 100}]},
            {
                "shop": "north",
                "inspections": ["north 0: 150", "none", "north 2: 100"],
                "numbers": [0, 1, 2],
            },
        ),
        # InputPath null, a nested ResultPath, and a ResultPath into what InputPath selected.
        (
            "paths",
            {"numbers": {"list": [1, 2, 3]}},
            {"list": [1, 2, 3], "sum": {"value": 6, "of": 3}},
        ),
        (
            "greeting",
            {"name": "Ann"},
            {"name": "Ann", "count": 3, "fixed": {"a": [1, {"b": "en"}]}},
        ),
    ]  # fmt: skip
    async with on_stage(temporal, ScriptedModel([]), tools=TOOLS) as stage:

        async def output(name: str, given: Any) -> Any:
            return await output_of(stage, imported(name), given)

        outputs = await asyncio.gather(*(output(name, given) for name, given, _ in cases))
    for (name, given, wanted), found in zip(cases, outputs, strict=True):
        assert found == wanted, (name, given)


@pytest.mark.timeout(180)
async def test_failures_of_machines_end_the_run(temporal: Client) -> None:
    cases: list[tuple[str, Any, str]] = [
        # States.ALL catches what CardDeclined does not.
        ("order", order(13), "Rejected: the order is not valid"),
        ("order", order(2_000), "Rejected: the order is not valid"),
        # Two retries, without success.
        ("batch", {"shop": "x", "orders": [{"total": 5}, {"total": 5_000}]}, "is too large"),
        ("failures", {"known": True}, "Known: costs ${ 5 }"),
        ("failures", {"error": {"name": "Odd", "place": "Rome"}}, "Odd: in Rome"),
        ("odd-names", {"again": False}, "no rule of continue state applies"),
    ]
    async with on_stage(temporal, ScriptedModel([]), tools=TOOLS) as stage:

        async def failure(name: str, given: Any) -> str:
            return str((await failure_of(stage, imported(name), given)).message)

        failures = await asyncio.gather(*(failure(name, given) for name, given, _ in cases))
    for (name, given, reason), found in zip(cases, failures, strict=True):
        assert reason in found, (name, given)


async def test_functions_and_the_context_have_the_values_of_their_documentation(
    temporal: Client,
) -> None:
    given = {
        "name": "Ann", "items": [3, 1, 2], "json": '{"a": 1}', "number": 5,
        "one": {"a": 1, "b": {"x": 1}}, "two": {"b": {"y": 2}},
    }  # fmt: skip
    async with on_stage(temporal, ScriptedModel([])) as stage:
        assert await output_of(stage, imported("functions"), given) == {
            "format": "Ann has '3' items", "array": ["Ann", 1, True, None, "x"], "json": {"a": 1},
            "text": "[3,1,2]", "has": True, "second": 1, "range": [1, 3, 5, 7, 9], "sum": 4,
            "words": ["a", "b"], "unique": [1, 2, 3], "merged": {"a": 1, "b": {"y": 2}},
            "part": [1, 2], "last": 2,
        }  # fmt: skip
