"""Whole runs on one worker: each ends by name, its model reads the reason, and the worker goes on."""

import asyncio
import functools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel, ConfigDict, Field, model_validator
from temporalio.client import Client

from outlast import Agent, ToolError, ask_human, tool
from outlast.errors import ModelFailure, RunFailed
from outlast.testing import answer, call
from tests.faults.lab import DONE, Lab, open_lab, spec

BLOCKED: list[str] = []


@tool(effect="write")
def lint() -> str:
    """Lint, by a command that was written for a terminal."""
    sys.exit(2)


class NotFound(ToolError):
    """A subclass, as people write them."""


@tool(effect="read")
def find() -> str:
    """Find an order."""
    raise NotFound("no such order")


@tool(effect="read")
def search(
    tags: list[str] = Field(default_factory=list),  # noqa: B008 as people write it
    limit: int = Field(default=3, le=9),
) -> str:
    """Search.

    Args:
        tags: what to look for
        limit: how many
    """
    return f"{tags!r} {limit!r}"


class Booking(BaseModel):
    model_config = ConfigDict(strict=True)
    when: datetime


@tool(effect="read")
def book(booking: Booking) -> str:
    """Book."""
    return f"booked {booking.when.year}"


@tool(effect="read")
async def fetch() -> str:
    """Fetch with a library that blocks the event loop."""
    BLOCKED.append("begins")
    time.sleep(2)  # noqa: ASYNC251
    return "page"


@tool(effect="read")
def names() -> list[str]:
    """List names as `os.listdir` does."""
    return [os.fsdecode(b"caf\xe9.txt")]


@tool(effect="write")
def open_file() -> str:
    """Open a file."""
    raise ToolError("no file " + os.fsdecode(b"caf\xe9.txt"))


@tool(effect="write")
def first() -> str:
    """Return the first of nothing."""
    rows: list[str] = []
    return next(row for row in rows)


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function as a decorator that does not know about asyncio."""

    @functools.wraps(function)
    def inner(*arguments: Any, **keywords: Any) -> Any:
        return function(*arguments, **keywords)

    return inner


@tool(effect="read")
@logged
async def wrapped() -> str:
    """Do something."""
    return "real"


@tool(effect="read")
def tick() -> str:
    """Tick."""
    return "tock"


class Range(BaseModel):
    low: int
    high: int

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


TOOLS = [lint, find, search, book, fetch, names, open_file, first, wrapped, tick]
SUB = Agent(name="sub", instructions="x")
AGENTS = [
    Agent(name="ranger", instructions="x", output=Range),
    SUB,
    Agent(name="boss", instructions="x", tools=[SUB]),
    Agent(name="finance", instructions="x", tools=[ask_human(str, audience="finance")]),
    Agent(name="interns", instructions="x", tools=[ask_human(int, audience="interns")]),
]


@pytest_asyncio.fixture(scope="module")
async def lab(temporal: Client) -> AsyncIterator[Lab]:
    async with open_lab(temporal, agents=AGENTS, tools=TOOLS) as opened:
        yield opened


def nested(depth: int) -> Any:
    return json.loads("[" * depth + "]" * depth)


async def test_f1_a_tool_that_exits_fails_its_run_and_nothing_else(lab: Lab) -> None:
    failed = await lab.run(call("lint"), DONE, spec=spec(None, lint))
    assert (failed.failure, "SystemExit: 2" in failed.message) == ("ToolFailed", True)
    assert (await lab.run(DONE, spec=spec())).output == "done"


NOT_CARRIED: dict[str, tuple[Any, dict[str, Any]]] = {
    "200 levels": ({"answer": nested(200)}, {"type": "array"}),
    "220 levels": ({"answer": nested(220)}, {"type": "array"}),
    "252 levels": ({"answer": nested(252)}, {"type": "array"}),
    "300 levels": ({"answer": nested(300)}, {"type": "array"}),
    "400 digits": (
        '{"answer":' + "1" * 400 + ".5}",
        {"type": "integer", "multipleOf": 0.5},
    ),
    "2.5 MB": ({"answer": ["word " * 500_000]}, {"type": "array"}),
}


@pytest.mark.parametrize(("step", "output"), NOT_CARRIED.values(), ids=list(NOT_CARRIED))
async def test_f2_an_answer_that_cannot_be_carried_is_asked_for_again(
    lab: Lab, step: Any, output: dict[str, Any]
) -> None:
    failed = await lab.run(step, spec=spec(output))
    assert failed.failure in set(ModelFailure), failed
    assert failed.completions <= 8
    repaired = await lab.run(
        step, answer([] if output["type"] == "array" else 1), spec=spec(output)
    )
    assert repaired.output in ([], 1)


async def test_f2_an_answer_of_many_digits_is_an_answer(lab: Lab) -> None:
    run = await lab.run(
        '{"answer":' + "1" * 400 + "}", spec=spec({"type": "integer", "multipleOf": 0.5})
    )
    assert run.failure in ("", *ModelFailure)


READ_BY_THE_MODEL = {
    "F5 a subclass of ToolError": (find, {}, "no such order"),
    "F12 a field as a default": (search, {}, "[] 3"),
    "F12 the bounds of a field": (search, {"limit": 99}, "limit"),
    "F14 a strict type": (book, {"booking": {"when": "2026-01-01T00:00:00Z"}}, "booked 2026"),
    "F16 half a character in a result": (names, {}, "caf\ufffd.txt"),
    "F16 half a character in an error": (open_file, {}, "no file caf\ufffd.txt"),
    "F23 an async function in a sync wrapper": (wrapped, {}, "real"),
}


@pytest.mark.parametrize(
    ("used", "arguments", "words"), READ_BY_THE_MODEL.values(), ids=list(READ_BY_THE_MODEL)
)
async def test_the_model_reads_what_a_call_gave(
    lab: Lab, used: Any, arguments: dict[str, Any], words: str
) -> None:
    # A call with wrong arguments is asked for again, and the step after it is the answer.
    run = await lab.run(call(used.name, **arguments), DONE, spec=spec(None, used))
    assert run.output == "done", run
    if words != "limit":
        assert words in run.seen_by_model


async def test_f11_an_answer_that_its_type_rejects_is_not_an_answer(lab: Lab) -> None:
    wrong = answer({"low": 9, "high": 1})
    failed = await lab.run(wrong, agent="ranger")
    assert failed.failure == "ModelSchemaInvalid"
    assert "low is above high" in failed.message
    repaired = await lab.run(wrong, answer({"low": 1, "high": 9}), agent="ranger")
    assert repaired.output == {"low": 1, "high": 9}


async def test_f15_an_async_tool_that_blocks_is_called_once_and_others_go_on(lab: Lab) -> None:
    BLOCKED.clear()
    blocking = asyncio.create_task(lab.run(call("fetch"), DONE, spec=spec(None, fetch)))
    while not BLOCKED:
        await asyncio.sleep(0.05)
    other = await lab.run(call("tick"), DONE, spec=spec(None, tick))
    assert other.output == "done"
    assert "page" in (await blocking).seen_by_model
    assert BLOCKED == ["begins"]


VALUES: list[tuple[dict[str, Any], Any]] = [
    ({"enum": [{"definitions": 1}, {"definitions": 2}]}, {"definitions": 1}),
    ({"const": {"$ref": "#/$defs/x"}}, {"$ref": "#/$defs/x"}),
    (
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/X"}, "b": {"$ref": "#/definitions/X"}},
            "$defs": {"X": {"type": "integer"}},
            "definitions": {"X": {"type": "string"}},
        },
        {"a": 1, "b": "x"},
    ),
]


@pytest.mark.parametrize(("output", "value"), VALUES)
async def test_f21_values_in_a_schema_are_not_schemas(
    lab: Lab, output: dict[str, Any], value: Any
) -> None:
    assert (await lab.run(answer(value), spec=spec(output))).output == value


async def test_f22_a_limit_in_dollars_without_a_price_is_a_warning(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    run = await lab.run(
        call("tick"), DONE, spec=spec(None, tick), limits={"max_cost_usd": "0.000001"}
    )
    assert run.output == "done"
    assert sum("generation.no_price" in record.message for record in caplog.records) == 1


async def test_f24_a_tool_that_stops_an_iteration_fails_at_once(lab: Lab) -> None:
    failed = await lab.run(call("first"), DONE, spec=spec(None, first))
    assert (failed.failure, "StopIteration" in failed.message) == ("ToolFailed", True)


async def test_f27_a_run_with_a_long_id_calls_an_agent(lab: Lab) -> None:
    child = lab.model.script([DONE])
    run = await lab.run(call("sub", input=child), DONE, agent="boss", id="y" * 995)
    assert run.output == "done"


async def test_f28_a_spec_cannot_name_a_question_of_two_teams(lab: Lab) -> None:
    with pytest.raises(RunFailed, match="'ask_human' stands for 2 different tools"):
        await lab.stage.run(None, "x", spec={"instructions": "x", "tools": ["ask_human"]})
