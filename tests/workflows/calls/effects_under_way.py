"""Effects that are under way as their run ends, and the runs that cause them."""

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from outlast_workers.settings import Settings
from outlast_workflows.time_limits import DEADLINE_SUMMARY
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from outlast import Agent, Approval, tool
from outlast.agents.tools import Tool
from outlast.client.runs import Run
from outlast.contracts.results import AgentResult
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer, call, calls
from outlast.turns import CallsTurn
from tests.stage import Flag, Stage, on_stage, pending, staged_settings

WITHIN_S = 40
"""What a test waits for comes within this time on a busy machine."""


class Effect:
    """What one call does, and where it waits for the test."""

    def __init__(self) -> None:
        self.made = 0
        self.undone = 0
        self.begun, self.verifying, self.may_go_on = Flag(), Flag(), Flag()


EFFECTS: dict[str, Effect] = {}
REFS = itertools.count()


def new_ref() -> str:
    """Return the argument of a call that no other call has."""
    ref = f"r{next(REFS)}"
    EFFECTS[ref] = Effect()
    return ref


@tool(effect="idempotent")
async def cancel(ref: str) -> None:
    """Undo a call."""
    EFFECTS[ref].undone += 1


@tool(effect="read")
async def find(ref: str) -> str | None:
    """Find a call, when the test lets it."""
    EFFECTS[ref].verifying.set()
    await EFFECTS[ref].may_go_on.wait()
    return f"made {ref}" if EFFECTS[ref].made else None


async def make(ref: str) -> str:
    EFFECTS[ref].made += 1
    EFFECTS[ref].begun.set()
    await EFFECTS[ref].may_go_on.wait()
    return f"made {ref}"


def make_in_thread(ref: str) -> str:
    EFFECTS[ref].made += 1
    EFFECTS[ref].begun.set()
    while not EFFECTS[ref].may_go_on.is_set():
        time.sleep(0.05)
    return f"made {ref}"


async def make_late(ref: str) -> str:
    EFFECTS[ref].begun.set()
    await EFFECTS[ref].may_go_on.wait()
    EFFECTS[ref].made += 1
    return f"made {ref}"


@tool(effect="write", compensate=cancel)
async def book(ref: str) -> str:
    """Book."""
    return await make(ref)


@tool(effect="write", compensate=cancel, verify=find)
async def reserve(ref: str) -> str:
    """Reserve."""
    return await make(ref)


@tool(effect="idempotent", compensate=cancel)
async def put(ref: str) -> str:
    """Put."""
    return await make(ref)


@tool(effect="write", compensate=cancel)
def book_in_thread(ref: str) -> str:
    """Book."""
    return make_in_thread(ref)


@tool(effect="write", compensate=cancel, verify=find)
def reserve_in_thread(ref: str) -> str:
    """Reserve."""
    return make_in_thread(ref)


@tool(effect="write", compensate=cancel)
async def book_late(ref: str) -> str:
    """Book at the end."""
    return await make_late(ref)


@tool(effect="write", compensate=cancel, verify=find)
async def reserve_late(ref: str) -> str:
    """Reserve at the end."""
    return await make_late(ref)


@tool(effect="irreversible", approval=Approval(audience="leads"))
async def pay(ref: str) -> str:
    """Pay."""
    return await make(ref)


@tool(effect="write", compensate=cancel, timeout=timedelta(seconds=1))
async def book_lost(ref: str) -> str:
    """Book, and take too long."""
    EFFECTS[ref].made += 1
    EFFECTS[ref].begun.set()
    await asyncio.sleep(30)
    return ref


@tool(effect="write", compensate=cancel, verify=find, timeout=timedelta(seconds=1))
async def reserve_lost(ref: str) -> str:
    """Reserve, and take too long."""
    EFFECTS[ref].made += 1
    EFFECTS[ref].begun.set()
    await asyncio.sleep(30)
    return ref


@tool(effect="write", timeout=timedelta(seconds=1))
async def note_lost(ref: str) -> str:
    """Write what nothing can undo, and take too long."""
    EFFECTS[ref].made += 1
    EFFECTS[ref].begun.set()
    await asyncio.sleep(30)
    return ref


TOOLS: list[Tool[Any, ..., Any]] = [
    *(book, reserve, put, book_in_thread, reserve_in_thread, book_late, reserve_late, pay),
    *(book_lost, reserve_lost, note_lost),
]
doer = Agent(name="doer", instructions="Do.", tools=TOOLS)
UNDER_WAY: list[Tool[Any, ..., Any]] = [
    *(book, reserve, put, book_in_thread, reserve_in_thread, book_late, reserve_late)
]


def decide(prompt: Prompt) -> Any:
    """Make the calls that the input of the run names, and then answer."""
    if any(isinstance(turn, CallsTurn) for turn in prompt.turns):
        return answer("never")
    named = re.findall(r"(\w+)@(\w+)", str(prompt.messages[-1]["content"]))
    return calls(*(call(name, ref=ref) for name, ref in named))


class House:
    """A stage whose worker of workflows can be away while others work."""

    def __init__(self, temporal: Client, *, cached: int = 0) -> None:
        self._temporal = temporal
        self._settings = staged_settings(cached=cached)

    @asynccontextmanager
    async def serve(self, *roles: str) -> AsyncIterator[Stage]:
        settings: Settings = self._settings.model_copy(update={"roles": roles})
        model = ScriptedModel([decide], repeat_last=True)
        async with on_stage(self._temporal, model, [doer], settings=settings) as stage:
            yield stage


class Case(NamedTuple):
    """A run with one call that ends by a cancellation or at its deadline."""

    tool: Tool[Any, ..., Any]
    end: str
    run: Run
    effect: Effect

    async def ended(self, temporal: Client, *, cancelled_for_s: float = 1) -> None:
        """Let the run end. Its call goes on."""
        if self.end == "deadline":
            await deadline_fired(temporal, self.run)
        else:
            await self.run.cancel()
            await asyncio.sleep(cancelled_for_s)

    def outcomes(self, result: AgentResult) -> list[tuple[str, str]]:
        assert result.stop_reason == ("deadline" if self.end == "deadline" else "cancelled")
        return [(each.call_id, each.outcome) for each in result.compensations]


async def begin(
    stage: Stage,
    used: Tool[Any, ..., Any],
    end: str,
    until_begun: Callable[[Run, Effect], Awaitable[object]],
    *,
    deadline_s: float,
) -> Case:
    """Start a run and wait until it has begun its call. It gets more time if its deadline came first."""
    while True:
        ref = new_ref()
        limits = {"deadline_s": deadline_s} if end == "deadline" else {}
        run = await stage.start("doer", f"{used.name}@{ref}", limits=limits)
        begun = asyncio.ensure_future(until_begun(run, EFFECTS[ref]))
        ended = asyncio.ensure_future(run.result())
        await asyncio.wait([begun, ended], return_when="FIRST_COMPLETED", timeout=WITHIN_S)
        is_begun = begun.done()
        for each in (begun, ended):
            each.cancel()
        await asyncio.gather(begun, ended, return_exceptions=True)
        if is_begun:
            return Case(used, end, run, EFFECTS[ref])
        assert end == "deadline", "the call has not begun"
        deadline_s *= 2


async def deadline_fired(temporal: Client, run: Run) -> None:
    async def look() -> bool:
        events = (await temporal.get_workflow_handle(run.id).fetch_history()).events
        deadlines = {
            event.timer_started_event_attributes.timer_id
            for event in events
            if DEADLINE_SUMMARY in event.user_metadata.summary.data.decode()
        }
        return any(event.timer_fired_event_attributes.timer_id in deadlines for event in events)

    await until(look)


async def has_begun(run: Run, effect: Effect) -> None:
    await effect.begun.wait()


async def is_verifying(run: Run, effect: Effect) -> None:
    await effect.begun.wait()
    await effect.verifying.wait()


async def waits_for_a_person(run: Run, effect: Effect) -> None:
    await pending(run)


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await look():
            await asyncio.sleep(0.05)


async def has_event(temporal: Client, run: Run, kind: EventType.ValueType, count: int = 1) -> None:
    async def look() -> bool:
        history = await temporal.get_workflow_handle(run.id).fetch_history()
        return sum(event.event_type == kind for event in history.events) >= count

    await until(look)
