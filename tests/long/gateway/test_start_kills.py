"""A gateway is killed during every kind of call: clients repeat it, and nothing happens twice or never.

`RUNS=1000 make test-long ARGS="-k start_kills -s"` starts more runs.
"""

import asyncio
import json
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from temporalio.client import Client as TemporalClient

from bench.scripted_model_server import Request, ScriptedModelServer, Step
from outlast import Client
from tests.long.attempts import ModelCalls
from tests.long.chaos.processes import Supervised
from tests.long.gateway.gateway_site import gateway_site
from tests.long.gateway.openai_callers import CompletionsCaller, PlainCaller, ResponsesCaller
from tests.long.gateway.protocol_callers import (
    A2aCaller,
    AguiCaller,
    AiSdkCaller,
    Caller,
    McpCaller,
)
from tests.long.gateway.test_text_kills import is_up
from tests.long.site import ANSWER, calling

STARTS = int(os.environ.get("RUNS", "30"))
SEED = int(os.environ.get("SEED", "1"))

AT_ONCE = 20

AGENTS = "tests.long.gateway.chat_agents,tests.workers.gateway.desk_agents"


def call_or_answer(request: Request) -> Step:
    """Call the tool of an agent that has one, then answer."""
    body = json.dumps(request.body)
    if request.assistant_messages == 0 and "refund" in body:
        return Step(calling("refund", order_id="7"))
    if request.assistant_messages == 0 and "ask_human" in body:
        return Step(calling("ask_human", question="Which colour?"))
    return Step(ANSWER)


TURN = ["user", "assistant"]
CALL = ["user", "assistant", "tool", "assistant"]


@dataclass(frozen=True)
class Kind:
    """A kind of calls: the transcript after it, what a person decided, and how its run ends.

    A run is a conversation, unless it ends with its answer. `is_cancelled`: the calls cancel the run.
    """

    caller: type[Caller]
    name: str
    roles: list[str] = field(default_factory=lambda: TURN)
    outcome: str = ""
    is_task: bool = False
    is_cancelled: bool = False


KINDS = [
    Kind(PlainCaller, "task", is_task=True),
    Kind(PlainCaller, "list", is_task=True),
    Kind(PlainCaller, "events", is_task=True),
    Kind(PlainCaller, "say"),
    Kind(PlainCaller, "decide", CALL, "approved", is_task=True),
    Kind(PlainCaller, "cancel", [], is_cancelled=True),
    Kind(ResponsesCaller, "response"),
    Kind(ResponsesCaller, "stream"),
    Kind(ResponsesCaller, "continue_response", TURN * 2),
    Kind(ResponsesCaller, "decision", CALL, "approved"),
    Kind(ResponsesCaller, "cancel_response", CALL[:2], is_cancelled=True),
    Kind(CompletionsCaller, "complete", TURN * 2),
    Kind(CompletionsCaller, "stream"),
    Kind(AguiCaller, "message"),
    Kind(AguiCaller, "come_back"),
    Kind(AguiCaller, "decision", CALL, "approved"),
    Kind(AiSdkCaller, "message"),
    Kind(AiSdkCaller, "come_back"),
    Kind(AiSdkCaller, "decision", CALL, "approved"),
    Kind(A2aCaller, "message"),
    Kind(A2aCaller, "stream_message"),
    Kind(A2aCaller, "subscribe"),
    Kind(A2aCaller, "decision", CALL, "approved"),
    Kind(A2aCaller, "answer", CALL, "answered"),
    Kind(A2aCaller, "cancel_task", CALL[:2], is_cancelled=True),
    Kind(McpCaller, "call_agent", is_task=True),
    Kind(McpCaller, "status", is_task=True),
    Kind(McpCaller, "decision", CALL, "approved", is_task=True),
    Kind(McpCaller, "elicit", CALL, "approved", is_task=True),
    Kind(McpCaller, "cancel_task", CALL[:2], is_cancelled=True),
]
"""Starts, reads and lists, streams and their resumption, decisions, and cancellations of each interface."""

ONLY = os.environ.get("CALLER", "")
"""The beginning of the name of a client, to start only its runs."""

CHOSEN = [kind for kind in KINDS if kind.caller.__name__.startswith(ONLY)]

Started = tuple[Kind, str]
"""The kind of a call, and the id of its run."""


async def kill_until(done: asyncio.Event, door: Supervised, url: str, chance: random.Random) -> int:
    kills = 0
    while not done.is_set():
        await is_up(url)
        await asyncio.sleep(chance.uniform(0.05, 3))  # how far the calls get
        door.send(signal.SIGKILL)
        kills += 1
    return kills


@pytest.mark.timeout(300 + 3 * STARTS)
async def test_no_run_is_lost_or_started_twice(tmp_path: Path) -> None:
    chance, done = random.Random(SEED), asyncio.Event()
    async with (
        ScriptedModelServer(call_or_answer) as model,
        gateway_site(tmp_path, model, AGENTS) as site,
    ):
        url, client, door = site.url, site.client, site.door
        async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
            callers = {kind.caller: kind.caller(http) for kind in CHOSEN}
            turn = asyncio.Semaphore(AT_ONCE)

            async def one(number: int) -> Started:
                kind = CHOSEN[number % len(CHOSEN)]
                async with turn:
                    key = f"{kind.caller.__name__}-{kind.name}-{number}"
                    return kind, await getattr(callers[kind.caller], kind.name)(key)

            killing = asyncio.create_task(kill_until(done, door, url, chance))
            try:
                started = await asyncio.gather(*map(one, range(STARTS)))
            finally:
                done.set()
                kills = await killing
            await is_up(url)
            calls = ModelCalls()
            for kind, run_id in started:
                await _check(client, kind, run_id, calls)
            executions = await _executions(client.temporal)
            assert executions == Counter(run_id for _, run_id in started)
            assert set(executions.values()) == {1}
            assert len(executions) == STARTS
            cut = {kind.__name__: caller.cut for kind, caller in callers.items()}
            print(f"\n{STARTS} runs, {kills} kills, calls that a kill interrupted: {cut}")
            print(
                f"{calls.recorded} recorded answers, {model.answered} of the model,"
                f" {sum(calls.attempts)} attempts, {calls.unknown} calls without one;"
                f" repeated after {dict(calls.causes)}"
            )
            # A busy machine may repeat an attempt. Nothing else may ask the model again.
            assert calls.recorded <= model.answered <= sum(calls.attempts) + calls.unknown


async def _check(client: Client, kind: Kind, run_id: str, calls: ModelCalls) -> None:
    """Check a run that has ended, and that each answer in its transcript is one recorded model call."""
    run = client.get(run_id)
    place = (kind.caller.__name__, kind.name, run_id)
    if not kind.is_task and not kind.is_cancelled:
        await run.reply()
        await run.cancel()
    result = await run.result()
    roles = [entry.role for entry in await run.transcript()] if kind.roles else []
    assert roles[: len(kind.roles)] == kind.roles, place
    assert kind.is_cancelled or len(roles) == len(kind.roles), place
    if kind.outcome:
        assert [each.outcome for each in result.decisions] == [kind.outcome], place
    if kind.is_task:
        assert (result.status, result.output_json) == ("completed", "done"), place
    else:
        assert result.stop_reason == "cancelled", place
    before = calls.recorded
    calls.add((await client.temporal.get_workflow_handle(run_id).fetch_history()).events)
    recorded, answers = calls.recorded - before, roles.count("assistant")
    # An answer that comes with the cancellation is recorded, and the run does not take it.
    assert recorded == answers or (kind.is_cancelled and recorded > answers), place


async def _executions(temporal: TemporalClient) -> Counter[str]:
    """Return how often each workflow id was started, once the list has all of them."""
    found: Counter[str] = Counter()
    async with asyncio.timeout(60):
        while sum(found.values()) < STARTS:
            found = Counter([each.id async for each in temporal.list_workflows("")])
            await asyncio.sleep(0.5)
    return found
