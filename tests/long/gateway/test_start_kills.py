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
from typing import Any

import httpx2
import pytest
from outlast_workers.gateway.response_ids import read_response_id
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from temporalio.client import Client as TemporalClient

from bench.scripted_model_server import Request, ScriptedModelServer, Step
from outlast import Client
from tests.long.chaos.processes import Supervised, worker
from tests.long.gateway.test_text_kills import gateway, is_up
from tests.long.site import ANSWER, calling

STARTS = int(os.environ.get("RUNS", "25"))
SEED = int(os.environ.get("SEED", "1"))

AT_ONCE = 20
RETRY_S = 0.3
AGENTS = "tests.long.gateway.chat_agents,tests.workers.gateway.desk_agents"
KINDS = ("task", "response", "say", "decide", "cancel")


def refund_or_answer(request: Request) -> Step:
    """Call the tool of the agent that has one, then answer."""
    asks = "refund" in json.dumps(request.body) and request.assistant_messages == 0
    return Step(calling("refund", order_id="7") if asks else ANSWER)


class Caller:
    """A client that repeats each call until it has an answer."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self.lost = 0

    async def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        while True:  # bounded by the timeout of the test
            try:
                response = await self._http.request(method, path, **options)
            except httpx2.TransportError:
                self.lost += 1
                await asyncio.sleep(RETRY_S)
                continue
            if response.status_code < 500:
                return response
            await asyncio.sleep(RETRY_S)

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
            caller, turn = Caller(http), asyncio.Semaphore(AT_ONCE)

            async def one(number: int) -> tuple[str, str]:
                kind = KINDS[number % len(KINDS)]
                async with turn:
                    return kind, await getattr(caller, kind)(f"{kind}-{number}")

            killing = asyncio.create_task(kill_until(done, door, url, chance))
            started = await asyncio.gather(*map(one, range(STARTS)))
            done.set()
            kills = await killing
            await is_up(url)
            client = await Client.connect(target_host=temporal.address)
            await _check_results(client, started)
            executions = await _executions(client.temporal)
            expected = {f"default/{'desk' if kind == 'decide' else 'greeter'}/" for kind in KINDS}
            assert {run_id.rpartition("/")[0] + "/" for run_id in executions} == expected
            assert executions == Counter(run_id for _, run_id in started)
            assert set(executions.values()) == {1}
            assert len(executions) == STARTS
            calls = Counter(kind for kind, _ in started)
            prompts = sum(calls[kind] for kind in ("task", "response", "say")) + 2 * calls["decide"]
            assert model.answered == prompts
            print(f"\n{STARTS} runs, {kills} kills, {caller.lost} calls without an answer")


async def _check_results(client: Client, started: list[tuple[str, str]]) -> None:
    for kind, run_id in started:
        run = client.get(run_id)
        if kind in ("response", "say"):
            await run.reply()
            roles = [entry.role for entry in await run.transcript()]
            assert roles == ["user", "assistant"], (kind, run_id)
            await run.cancel()
        result = await run.result()
        if kind == "decide":
            assert [each.outcome for each in result.decisions] == ["approved"]
        if kind in ("task", "decide"):
            assert (result.status, result.output_json) == ("completed", "done")
        else:
            assert result.stop_reason == "cancelled"


async def _executions(temporal: TemporalClient) -> Counter[str]:
    """Return how often each workflow id was started, once the list has all of them."""
    found: Counter[str] = Counter()
    async with asyncio.timeout(60):
        while sum(found.values()) < STARTS:
            found = Counter([each.id async for each in temporal.list_workflows("")])
            await asyncio.sleep(0.5)
    return found
