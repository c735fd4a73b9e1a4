"""Local tools: short calls in the process that has the run, and what follows if they fail."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.workers import ToolsSettings
from outlast_workflows import activity_options
from outlast_workflows.calls.local_calls import Fallback, fallback_after
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    TimeoutError,  # noqa: A004 Temporal's word
    TimeoutType,
)

from outlast import Agent, AgentResult, ToolContext, ToolError, tool
from outlast.errors import NotLocal, TooSlow
from outlast.testing import ScriptedModel, answer, call, calls
from tests.stage import Flag, Stage, local_settings, on_stage

SHORT = timedelta(seconds=5)


@tool(effect="read", timeout=SHORT)
async def look(place: str) -> str:
    """Look."""
    if place == "Pluto":
        raise ToolError("Pluto is too far")
    return f"{place} is quiet"


looker = Agent(name="looker", instructions="Look.", tools=[look])


async def ran(
    temporal: Client, made: Any, *steps: Any, settings: Settings | None = None
) -> tuple[AgentResult, list[str], list[str], str]:
    """Run an agent with one tool; return its result, local and other calls, and what the model read."""
    agent = Agent(name="caller", instructions="Call.", tools=[made])
    model = ScriptedModel([*(steps or [call(made.name)]), answer("done")])
    async with on_stage(temporal, model, [agent], settings=settings or local_settings()) as stage:
        result = await stage.run("caller")
        local = [name for name in await stage.local() if name != "resolve_agent"]
        ordinary = [name for name in await stage.activities() if name != "generate"]
    return result, local, ordinary, model.prompts[-1].messages[-1]["content"]


async def test_a_short_read_is_a_local_activity(temporal: Client, cached: int) -> None:
    model = ScriptedModel([call("look", place="Mars"), answer("done")])
    async with on_stage(temporal, model, [looker], settings=local_settings(cached=cached)) as stage:
        result = await stage.run("looker")
        assert await stage.local() == ["resolve_agent", "look"]
        assert await stage.activities() == ["generate", "generate"]
        summaries = await summaries_of_markers(stage)
    assert result.output == "done"
    assert sum(leg.steps for leg in result.legs) == 3
    assert "Mars is quiet" in model.prompts[1].messages[-1]["content"]
    assert summaries == ["resolve looker · local", "look(place=Mars) · local"]


async def summaries_of_markers(stage: Stage) -> list[str]:
    return [
        event.user_metadata.summary.data.decode().strip('"')
        for event in (await stage.last()).events
        if event.marker_recorded_event_attributes.marker_name == "core_local_activity"
    ]


async def test_a_turn_with_a_local_call_has_at_most_7_events(temporal: Client) -> None:
    model = ScriptedModel([*[call("look", place="Mars")] * 10, answer("done")])
    async with on_stage(temporal, model, [looker], settings=local_settings()) as stage:
        await stage.run("looker")
        events = (await stage.last()).events
    # The start, the lookup with its patch, the attributes and the last turn have 16 events.
    assert len(events) == 7 * 10 + 16


async def test_a_tool_error_of_a_local_call_is_final(temporal: Client) -> None:
    _, local, ordinary, read = await ran(temporal, look, call("look", place="Pluto"))
    assert (local, ordinary) == (["look"], [])
    assert "Pluto is too far" in read


async def test_local_calls_of_one_decision_run_side_by_side(temporal: Client) -> None:
    together = asyncio.Barrier(2)

    @tool(effect="read", timeout=SHORT)
    async def meet(who: str) -> str:
        """Wait for the other."""
        async with asyncio.timeout(4):
            await together.wait()
        return who

    both = calls(call("meet", who="a"), call("meet", who="b"))
    _, local, ordinary, _ = await ran(temporal, meet, both)
    assert (local, ordinary) == (["meet", "meet"], [])


async def test_a_local_call_does_not_delay_other_calls_of_its_decision(temporal: Client) -> None:
    begun = Flag()

    @tool(effect="read", timeout=SHORT)
    async def short() -> str:
        """Wait for the other call."""
        async with asyncio.timeout(4):
            await begun.wait()
        return "short"

    @tool(effect="write")
    async def change() -> str:
        """Change."""
        begun.set()
        return "changed"

    agent = Agent(name="caller", instructions="Call.", tools=[short, change])
    steps = [calls(call("short"), call("change")), call("short"), answer("done")]
    async with on_stage(
        temporal, ScriptedModel(steps), [agent], settings=local_settings()
    ) as stage:
        assert (await stage.run("caller")).output == "done"
        assert await stage.local() == ["resolve_agent", "short"]
        assert (await stage.activities()).count("short") == 1


async def test_a_local_call_that_fails_is_retried_as_an_ordinary_activity(
    temporal: Client, cached: int
) -> None:
    seen: list[tuple[bool, str]] = []

    @tool(effect="idempotent", timeout=SHORT)
    def flaky(context: ToolContext[None]) -> str:
        """Fail at first."""
        seen.append((activity.info().is_local, context.idempotency_key))
        if len(seen) == 1:
            raise RuntimeError("503")
        return "fine"

    began = time.monotonic()
    _, local, ordinary, read = await ran(
        temporal, flaky, call("flaky"), call("flaky"), settings=local_settings(cached=cached)
    )
    assert (local, ordinary) == (["flaky", "flaky"], ["flaky"])
    assert "fine" in read
    assert [is_local for is_local, _ in seen] == [True, False, True]
    assert seen[0][1] == seen[1][1] != seen[2][1], "a retry has the key of its call"
    assert time.monotonic() - began > 1, "a retry waits as before"


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_call_that_outlives_its_bound_is_ordinary_from_then_on(
    temporal: Client, kind: str
) -> None:
    seen: list[bool] = []

    @tool(effect="read", timeout=timedelta(seconds=1), name="slow")
    async def slow_async() -> str:
        """Hang at first."""
        seen.append(activity.info().is_local)
        await asyncio.sleep(3 if len(seen) == 1 else 0)
        return "fine"

    @tool(effect="read", timeout=timedelta(seconds=1), name="slow")
    def slow_plain() -> str:
        """Hang at first."""
        seen.append(activity.info().is_local)
        time.sleep(3 if len(seen) == 1 else 0)
        return "fine"

    made = slow_async if kind == "async" else slow_plain
    _, local, ordinary, read = await ran(temporal, made, call("slow"), call("slow"))
    assert (local, ordinary) == (["slow"], ["slow", "slow"])
    assert seen == [True, False, False]
    assert "fine" in read


async def test_a_local_result_has_the_same_size_limit(temporal: Client) -> None:
    @tool(effect="read", timeout=SHORT)
    def dump(size: int) -> str:
        """Return much."""
        return "x" * size

    too_much, enough = call("dump", size=300_000), call("dump", size=200_000)
    _, local, ordinary, _ = await ran(temporal, dump, too_much, enough)
    assert (local, ordinary) == (["dump", "dump"], [])


async def test_heartbeats_and_checkpoints_of_a_local_call_do_nothing(temporal: Client) -> None:
    @tool(effect="read", timeout=SHORT)
    async def beat(context: ToolContext[None]) -> str:
        """Send heartbeats."""
        activity.heartbeat("half")
        context.save_checkpoint({"page": 1})
        return "fine"

    _, local, ordinary, read = await ran(temporal, beat)
    assert (local, ordinary) == (["beat"], [])
    assert "fine" in read


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_run_is_cancelled_during_a_local_call(temporal: Client, kind: str) -> None:
    begun = Flag()

    @tool(effect="read", timeout=SHORT, name="wait")
    async def wait_async() -> None:
        """Wait."""
        begun.set()
        await asyncio.sleep(2)

    @tool(effect="read", timeout=SHORT, name="wait")
    def wait_plain() -> None:
        """Wait."""
        begun.set()
        time.sleep(2)

    made = wait_async if kind == "async" else wait_plain
    agent = Agent(name="caller", instructions="Call.", tools=[made])
    model = ScriptedModel([call("wait"), answer("too late")], repeat_last=True)
    async with on_stage(temporal, model, [agent], settings=local_settings()) as stage:
        run = await stage.start("caller")
        await begun.wait()
        await run.cancel()
        result = await run.result()
    assert (result.status, result.stop_reason) == ("stopped", "cancelled")


async def test_a_run_is_steered_during_a_local_call(temporal: Client, cached: int) -> None:
    begun = Flag()

    @tool(effect="read", timeout=SHORT)
    async def wait() -> str:
        """Wait."""
        begun.set()
        await asyncio.sleep(1)
        return "waited"

    agent = Agent(name="caller", instructions="Call.", tools=[wait])
    model = ScriptedModel([call("wait"), answer("done")], repeat_last=True)
    async with on_stage(temporal, model, [agent], settings=local_settings(cached=cached)) as stage:
        run = await stage.start("caller")
        await begun.wait()
        await run.say("hurry")
        result = await run.result()
        assert await stage.local() == ["resolve_agent", "wait"]
    assert result.output == "done"
    assert "hurry" in str(model.prompts[-1].messages)


def off(settings: Settings) -> Settings:
    return settings.with_options({"tools": ToolsSettings(local=False)})


async def test_settings_switch_local_tools_off(temporal: Client) -> None:
    _, local, ordinary, _ = await ran(
        temporal, look, call("look", place="Mars"), settings=off(local_settings())
    )
    assert (local, ordinary) == ([], ["look"])


async def test_a_tool_switches_it_off(temporal: Client) -> None:
    @tool(effect="read", timeout=SHORT, local=False)
    def far() -> str:
        """Look far."""
        return "far"

    _, local, ordinary, _ = await ran(temporal, far)
    assert (local, ordinary) == ([], ["far"])


async def test_calls_wait_for_a_slot_and_then_become_ordinary(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity_options, "LOCAL_WAIT_S", 1.0)

    @tool(effect="read", timeout=SHORT)
    async def wait() -> str:
        """Wait."""
        await asyncio.sleep(1.2)
        return "waited"

    settings = local_settings()
    one = settings.concurrency.model_copy(update={"tools": 1})
    settings = settings.model_copy(update={"concurrency": one})
    both = calls(call("wait"), call("wait"))
    _, local, ordinary, read = await ran(temporal, wait, both, call("wait"), settings=settings)
    assert (local, ordinary) == (["wait", "wait", "wait"], ["wait"])
    assert "waited" in read


async def test_a_run_moves_to_a_worker_without_the_tool_and_back(
    temporal: Client, cached: int
) -> None:
    settings = local_settings(cached=cached)
    steps = [call("look", place="Mars"), answer("one"), call("look", place="Venus"), answer("two")]
    model = ScriptedModel(steps)
    async with on_stage(temporal, model, [looker], settings=settings) as stage:
        run = await stage.start("looker", mode="conversation")
        assert await run.reply() == "one"
    async with on_stage(temporal, model, [], settings=settings) as lacking:
        moved = lacking.started(run.id)
        await moved.say("and Venus?")
        async with asyncio.timeout(30):
            while "look" not in await lacking.activities():
                await asyncio.sleep(0.1)
    async with on_stage(temporal, model, [looker], settings=settings) as stage:
        moved = stage.started(run.id)
        async with asyncio.timeout(40):
            assert await moved.reply() == "two"
            await moved.finish()
            assert (await moved.result()).output == "two"
        assert await stage.local() == ["resolve_agent", "look", "look"]
        assert (await stage.activities()).count("look") == 1


def failed(cause: BaseException) -> ActivityError:
    error = ActivityError(
        "failed",
        scheduled_event_id=0,
        started_event_id=0,
        identity="",
        activity_type="look",
        activity_id="1.1",
        retry_state=None,
    )
    error.__cause__ = cause
    return error


def timed_out(kind: TimeoutType) -> TimeoutError:
    return TimeoutError("late", type=kind, last_heartbeat_details=[])


LASTING = Fallback(is_lasting=True)
FALLBACKS: dict[str, tuple[Callable[[], BaseException], Fallback | None]] = {
    "the model reads it": (lambda: ToolError("no"), None),
    "cancelled": (lambda: CancelledError("cancelled"), None),
    "a bug that is final": (lambda: ApplicationError("x", non_retryable=True), None),
    "a bug": (lambda: ApplicationError("x"), Fallback(wait=timedelta(seconds=1))),
    "a server that is busy": (
        lambda: ApplicationError("x", next_retry_delay=timedelta(seconds=9)),
        Fallback(wait=timedelta(seconds=9)),
    ),
    "too slow": (lambda: TooSlow("slow", retryable=True), LASTING),
    "too slow for the SDK": (lambda: timed_out(TimeoutType.START_TO_CLOSE), LASTING),
    "no slot": (lambda: timed_out(TimeoutType.SCHEDULE_TO_START), Fallback()),
    "draining": (lambda: NotLocal("the worker shuts down", retryable=True), Fallback()),
    "repeated": (lambda: NotLocal("an earlier attempt"), LASTING),
    "not registered": (
        lambda: ApplicationError(
            "Activity function look is not registered on this worker", type="NotFoundError"
        ),
        LASTING,
    ),
}


@pytest.mark.parametrize(("cause", "expected"), FALLBACKS.values(), ids=FALLBACKS)
def test_what_follows_a_local_call(
    cause: Callable[[], BaseException], expected: Fallback | None
) -> None:
    assert fallback_after(failed(cause())) == expected
