"""Fuzzing of a real worker on a real server: starts, updates, signals, queries and tools of other workers.

Each input is refused or handled within seconds, no workflow task fails, and an innocent run completes.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import RawValue
from temporalio.service import RPCError
from temporalio.worker import Worker

from bench.scripted_model.minimal import UnsatisfiableError, minimal_instance
from outlast import Agent, Leg, Route, Run, ToolSpec, tool
from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer, call
from tests.long.fuzz import strategies as of
from tests.long.fuzz.alarm import examples
from tests.stage import Stage, on_stage, pending

ENDS_WITHIN_S = 10.0
WAITS_FOR_S = 2.0
BLOCKED_CPU_S = 1.0
FOREIGN_QUEUE = f"foreign-{uuid.uuid4().hex[:8]}"


@tool(effect="read")
def look() -> str:
    """Look."""
    return "seen"


@tool(effect="write", approval="leads")
def write(ref: str) -> str:
    """Write."""
    return "written"


foreign = ToolSpec(
    name="foreign",
    parameters={"type": "object"},
    route=Route(legs=(Leg(task_queue=FOREIGN_QUEUE),)),
)
fuzzed = Agent(name="fuzzed", instructions="Write.", tools=[look, write])
caller = Agent(name="caller", instructions="Call.", tools=[foreign])
innocent = Agent(name="innocent", instructions="Answer.")


def script(prompt: Prompt) -> Any:
    """Call the tool that an agent is about, then give the smallest answer."""
    is_first = not any(message["role"] == "assistant" for message in prompt.messages)
    system = prompt.messages[0]["content"]
    if is_first and system.startswith("Write."):
        return call("write", ref="x")
    if is_first and system.startswith("Call."):
        return call("foreign")
    if system.startswith(("Write.", "Call.", "Answer.")):
        return answer("done")
    try:
        return minimal_instance(prompt.schema, prompt.schema)
    except (UnsatisfiableError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelError(str(error)[:200], kind=ModelFailure.BAD_REQUEST) from None


class Watch:
    """Notices what blocks this process: between two looks it may use no more than so much CPU time."""

    def __init__(self) -> None:
        self.most_cpu_s = 0.0
        self._before_s = time.process_time()
        self._task = asyncio.create_task(self._look())

    def resume(self) -> None:
        """Leave out the CPU time since the last look: hypothesis made the next input."""
        self._before_s = time.process_time()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            now_s = time.process_time()
            self.most_cpu_s = max(self.most_cpu_s, now_s - self._before_s)
            self._before_s = now_s

    def end(self) -> None:
        self._task.cancel()


class Live:
    """A worker under fuzz, and what was started on it."""

    def __init__(self, stage: Stage, watch: Watch, foreign_result: list[Payload]) -> None:
        self.stage = stage
        self.temporal = stage.client.temporal
        self.foreign_result = foreign_result
        self._watch = watch
        self._waiting: Run | None = None
        self.handles: list[WorkflowHandle[Any, Any]] = []

    async def start(self, payloads: Sequence[Payload]) -> WorkflowHandle[Any, Any]:
        self._watch.resume()
        handle = await self.temporal.start_workflow(
            "AgentWorkflow",
            args=[RawValue(payload) for payload in payloads],
            id=f"fuzz-{uuid.uuid4().hex[:8]}",
            task_queue=self.stage.task_queue,
        )
        self.handles.append(handle)
        return handle

    async def waiting(self) -> Run:
        """Return a run that waits for a person."""
        self._watch.resume()
        if self._waiting is not None:
            with suppress(WorkflowQueryFailedError):
                if await asyncio.wait_for(self._waiting.pending_requests(), ENDS_WITHIN_S):
                    return self._waiting
            await self.end(self.temporal.get_workflow_handle(self._waiting.id))
        self._waiting = await self.stage.start("fuzzed")
        await pending(self._waiting)
        return self._waiting

    async def end(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Let a run end by itself, or cancel it where it waits for people; assert that it ends."""
        with suppress(WorkflowFailureError):
            try:
                await asyncio.wait_for(handle.result(), WAITS_FOR_S)
            except TimeoutError:
                with suppress(RPCError):
                    await handle.cancel()
                try:
                    await asyncio.wait_for(handle.result(), ENDS_WITHIN_S)
                except TimeoutError:
                    await handle.terminate()
                    raise

    async def check(self) -> None:
        """Assert that nothing blocked, no workflow task failed, and an innocent run completes."""
        result = await asyncio.wait_for(self.stage.run("innocent"), ENDS_WITHIN_S)
        assert result.output == "done"
        assert self._watch.most_cpu_s < BLOCKED_CPU_S, self._watch.most_cpu_s
        for handle in self.handles:
            failed = [
                event.workflow_task_failed_event_attributes.failure.message
                async for event in handle.fetch_history_events()
                if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
            ]
            assert not failed, (handle.id, failed)
        self.handles.clear()


@pytest_asyncio.fixture(scope="module")
async def live(temporal: Client) -> AsyncIterator[Live]:
    result = [Payload(metadata={"encoding": b"json/plain"}, data=b'"ok"')]

    @activity.defn(name="foreign")
    async def answer_as_told(arguments: dict[str, Any]) -> RawValue:
        return RawValue(result[0])

    model = ScriptedModel([script], repeat_last=True)
    agents = [fuzzed, caller, innocent]
    watch = Watch()
    async with (
        Worker(temporal, task_queue=FOREIGN_QUEUE, activities=[answer_as_told]),
        on_stage(temporal, model, agents, tools=[look, write]) as stage,
    ):
        opened = Live(stage, watch, result)
        yield opened
        watch.end()
        if opened._waiting is not None:
            await opened._waiting.cancel()


PAYLOADS = st.builds(
    lambda encoding, data: Payload(metadata={"encoding": encoding}, data=data),
    of.ENCODINGS,
    st.one_of(of.mangled(of.COMMANDS), st.binary(max_size=30)),
)
COMMANDS = st.sampled_from(["decide", "decide", "decide", "say", "pause", "resume", "finish"])
QUERIES = st.sampled_from(["progress", "pending_requests", "transcript", "agent", "odd"])


@pytest.mark.timeout(240)
@examples(120)
@given(data=of.mangled(of.REQUESTS))
async def test_a_start_ends_by_name(live: Live, data: bytes) -> None:
    payload = Payload(metadata={"encoding": b"json/plain"}, data=data)
    await live.end(await live.start([payload]))


@pytest.mark.timeout(240)
@examples(30)
@given(encoding=of.ENCODINGS, data=st.binary(max_size=30))
async def test_a_start_in_any_encoding_ends_by_name(
    live: Live, encoding: bytes, data: bytes
) -> None:
    await live.end(await live.start([Payload(metadata={"encoding": encoding}, data=data)]))


@pytest.mark.timeout(240)
@examples(200)
@given(name=COMMANDS, payload=PAYLOADS, as_signal=st.booleans())
async def test_an_update_or_signal_is_handled(
    live: Live, name: str, payload: Payload, as_signal: bool
) -> None:
    handle = live.temporal.get_workflow_handle((await live.waiting()).id)
    async with asyncio.timeout(ENDS_WITHIN_S):
        if as_signal:
            await handle.signal(name, RawValue(payload))
        else:
            with suppress(WorkflowUpdateFailedError):
                await handle.execute_update(name, RawValue(payload))


@pytest.mark.timeout(240)
@examples(100)
@given(name=QUERIES, payload=PAYLOADS)
async def test_a_query_is_answered_or_refused(live: Live, name: str, payload: Payload) -> None:
    handle = live.temporal.get_workflow_handle((await live.waiting()).id)
    async with asyncio.timeout(ENDS_WITHIN_S):
        with suppress(WorkflowQueryFailedError):
            await handle.query(name, RawValue(payload))


@pytest.mark.timeout(60)
async def test_afterwards_an_innocent_run_completes_and_no_workflow_task_has_failed(
    live: Live,
) -> None:
    await live.check()
