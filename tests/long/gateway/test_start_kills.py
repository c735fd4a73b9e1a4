"""A gateway is killed during every kind of call: clients repeat it, and nothing happens twice or never.

`RUNS=1000 make test-long ARGS="-k start_kills -s"` starts more runs.
"""

import asyncio
import json
import os
import random
import signal
from collections import Counter
from pathlib import Path

import httpx2
import pytest
from outlast_workers.gateway.response_ids import read_response_id
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from temporalio.client import Client as TemporalClient

from bench.scripted_model_server import Request, ScriptedModelServer, Step
from outlast import Client
from tests.long.chaos.processes import Supervised, worker
from tests.long.gateway.protocol_callers import (
    RETRY_S,
    A2aCaller,
    AguiCaller,
    AiSdkCaller,
    Caller,
    McpCaller,
)
from tests.long.gateway.test_text_kills import gateway, is_up
from tests.long.site import ANSWER, calling

STARTS = int(os.environ.get("RUNS", "30"))
SEED = int(os.environ.get("SEED", "1"))

AT_ONCE = 20

Started = tuple[type[Caller], str, str]
"""A client, the kind of its call, and the id of its run."""

AGENTS = "tests.long.gateway.chat_agents,tests.workers.gateway.desk_agents"


def refund_or_answer(request: Request) -> Step:
    """Call the tool of the agent that has one, then answer."""
    asks = "refund" in json.dumps(request.body) and request.assistant_messages == 0
    return Step(calling("refund", order_id="7") if asks else ANSWER)


class PlainCaller(Caller):
    """The gateway's own interface, and the Responses API."""

    async def task(self, key: str, agent: str = "greeter", mode: str = "task") -> str:
        body = {"agent": agent, "key": key, "mode": mode}
        if mode == "task":
            body["input"] = "Say something."
        return str((await self.call("POST", "/runs", json=body)).json()["id"])

    async def response(self, key: str) -> str:
        body = {"model": "greeter", "input": "Say something.", "background": True}
        headers = {"idempotency-key": key}
        created = (await self.call("POST", "/v1/responses", json=body, headers=headers)).json()
        again = (await self.call("GET", f"/v1/responses/{created['id']}")).json()
        assert again["id"] == created["id"]
        return read_response_id(created["id"])[0]

    async def say(self, key: str) -> str:
        run_id = await self.task(key, mode="conversation")
        message = {"text": "Say something.", "key": "first"}
        said = await self.call("POST", f"/runs/{run_id}/say", json=message)
        assert said.status_code == 200, said.text
        return run_id

    async def decide(self, key: str) -> str:
        run_id = await self.task(key, agent="desk")
        while not (await self.call("GET", f"/runs/{run_id}")).json().get("pending"):
            await asyncio.sleep(RETRY_S)
        decision = {"request_id": "1.1", "decision": "approve"}
        while True:
            decided = await self.call("POST", f"/runs/{run_id}/decide", json=decision)
            state = (await self.call("GET", f"/runs/{run_id}")).json()
            if decided.status_code == 200 or not state.get("pending"):
                return run_id

    async def cancel(self, key: str) -> str:
        run_id = await self.task(key, mode="conversation")
        await self.call("POST", f"/runs/{run_id}/cancel")
        return run_id


CALLERS: dict[type[Caller], tuple[str, ...]] = {
    PlainCaller: ("task", "response", "say", "decide", "cancel"),
    AguiCaller: ("message", "decision"),
    AiSdkCaller: ("message", "decision"),
    A2aCaller: ("message", "stream_message", "decision"),
    McpCaller: ("call_agent", "decision", "cancel_task"),
}
"""The kinds of calls of each client."""

ONLY = os.environ.get("CALLER", "")
"""The name of a client, to start only its runs."""

KINDS = [
    (caller, kind) for caller, kinds in CALLERS.items() for kind in kinds if ONLY in caller.__name__
]
DECISIONS = frozenset({"decide", "decision"})
TASKS = frozenset(
    {
        (PlainCaller, "task"),
        (PlainCaller, "decide"),
        (McpCaller, "call_agent"),
        (McpCaller, "decision"),
    }
)
"""Kinds whose runs end with their answer. Other runs are conversations."""

CANCELS = frozenset({"cancel", "cancel_task"})


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
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    temporal = TemporalServer(log_dir=tmp_path, port=free_port(), log_level="error")
    chance, done = random.Random(SEED), asyncio.Event()
    async with temporal, ScriptedModelServer(refund_or_answer) as model:
        door = gateway(port, temporal.address, tmp_path, agents=AGENTS)
        served = worker(
            "worker",
            temporal=temporal.port,
            model=model.port,
            log_dir=tmp_path,
            agents=AGENTS,
            environment={},
        )
        async with door, served, httpx2.AsyncClient(base_url=url, timeout=30) as http:
            await is_up(url)
            callers = {kind: kind(http) for kind in CALLERS}
            turn = asyncio.Semaphore(AT_ONCE)

            async def one(number: int) -> Started:
                caller, name = KINDS[number % len(KINDS)]
                async with turn:
                    key = f"{caller.__name__}-{name}-{number}"
                    return caller, name, await getattr(callers[caller], name)(key)

            killing = asyncio.create_task(kill_until(done, door, url, chance))
            started = await asyncio.gather(*map(one, range(STARTS)))
            done.set()
            kills = await killing
            await is_up(url)
            client = await Client.connect(target_host=temporal.address)
            await _check_results(client, started)
            executions = await _executions(client.temporal)
            assert executions == Counter(run_id for _, _, run_id in started)
            assert set(executions.values()) == {1}
            assert len(executions) == STARTS
            assert model.answered == sum(map(_prompts, started))
            lost = {kind.__name__: caller.lost for kind, caller in callers.items()}
            print(f"\n{STARTS} runs, {kills} kills, calls without an answer: {lost}")


def _prompts(started: Started) -> int:
    """Return how often a run calls the model."""
    _, name, _ = started
    return {"cancel": 0, "cancel_task": 1, "decide": 2, "decision": 2}.get(name, 1)


async def _check_results(client: Client, started: list[Started]) -> None:
    for caller, name, run_id in started:
        run = client.get(run_id)
        place = (caller.__name__, name, run_id)
        is_task = (caller, name) in TASKS
        if not is_task and name not in CANCELS:
            await run.reply()
            roles = [entry.role for entry in await run.transcript()]
            call = ["assistant", "tool"] if name in DECISIONS else []
            assert roles == ["user", *call, "assistant"], place
            await run.cancel()
        result = await run.result()
        if name in DECISIONS:
            assert [each.outcome for each in result.decisions] == ["approved"], place
        if is_task:
            assert (result.status, result.output_json) == ("completed", "done"), place
        else:
            assert result.stop_reason == "cancelled", place


async def _executions(temporal: TemporalClient) -> Counter[str]:
    """Return how often each workflow id was started, once the list has all of them."""
    found: Counter[str] = Counter()
    async with asyncio.timeout(60):
        while sum(found.values()) < STARTS:
            found = Counter([each.id async for each in temporal.list_workflows("")])
            await asyncio.sleep(0.5)
    return found
