"""Pipelines call an agent through our gateway while worker and gateway are killed: all happens once.

`RUNS=60 KILLS=30 make test-long ARGS="-k a2a_pipelines -s"` starts more pipelines.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bench.scripted_model_server import ScriptedModelServer
from outlast import Client, OutlastError
from outlast.client.runs import Run
from outlast.pipelines.errors import COMMUNICATION
from tests.long.chaos.processes import Supervised
from tests.long.gateway.gateway_site import gateway_site
from tests.long.gateway.test_start_kills import kill_until
from tests.long.kills.ledger import Ledger
from tests.long.kills.test_kills import as_told
from tests.long.site import calling
from tests.workflows.pipelines.staging import document

RUNS = int(os.environ.get("RUNS", "6"))
KILLS = int(os.environ.get("KILLS", "3"))
"""Kills of the worker. The gateway is killed until all pipelines have ended."""

SEED = int(os.environ.get("SEED", "1"))
CANCELLED = range(2, RUNS, 3)
"""The pipelines that are cancelled when they wait for people."""

AGENTS = "tests.long.kills.agents"
AT_ONCE = 10
LOOK_S = 0.3


def payment(url: str, order_id: str, port: int) -> dict[str, Any]:
    """Return a pipeline whose agent makes a transfer, and then asks a person.

    A new attempt sends the same message, so it finds the task that the attempt before began.
    """
    transfer = calling("transfer_verified", order_id=order_id, port=port)
    text = f"{transfer}\n{calling('ask_human', question='Is it right?')}"
    parameters = {"message": {"messageId": "${ $workflow.id }", "parts": [{"text": text}]}}
    card = {"endpoint": f"{url}/a2a/cashier/.well-known/agent-card.json"}
    call = {"method": "message/send", "agentCard": card, "parameters": parameters}
    pay = {"call": "a2a", "with": call, "metadata": {"outlast": {"audience": "support"}}}
    retry = {"delay": "PT2S", "limit": {"attempt": {"count": 20}}}
    catch = {"errors": {"with": {"type": COMMUNICATION}}, "retry": retry}
    return document(
        {"try": {"try": [{"pay": pay}], "catch": catch}},
        {"receipt": {"set": "${ .task.artifacts[0].parts[0].text }"}},
    )


async def answered(run: Run) -> set[str]:
    """Answer each request of a pipeline until it has ended, and return their ids."""
    found: set[str] = set()
    ended = asyncio.ensure_future(run.result())
    while not ended.done():
        with suppress(OutlastError):  # no worker answers now: a repeated answer changes nothing
            for request in await run.pending_requests():
                found.add(request.request_id)
                await run.answer(request.request_id, "yes", by="ann")
        await asyncio.sleep(LOOK_S)
    assert (await ended).output == "done"
    return found


async def cancelled(run: Run) -> set[str]:
    """Cancel a pipeline when it waits for people, and return the ids of its requests."""
    while True:  # bounded by the timeout of the test
        with suppress(OutlastError):  # no worker answers now
            if found := await run.pending_requests():
                break
        await asyncio.sleep(LOOK_S)
    await run.cancel()
    assert (await run.result()).stop_reason == "cancelled"
    return {request.request_id for request in found}


async def kill_worker(served: Supervised, chance: random.Random) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(2, 12))
        served.send(signal.SIGKILL)


@pytest.mark.timeout(240 + 20 * KILLS + 3 * RUNS)
async def test_all_happens_once_although_worker_and_gateway_are_killed(tmp_path: Path) -> None:
    chance, done = random.Random(SEED), asyncio.Event()
    async with (
        ScriptedModelServer(as_told) as model,
        Ledger() as ledger,
        gateway_site(tmp_path, model, AGENTS) as site,
    ):
        url, client, door, served = site.url, site.client, site.door, site.served
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> set[str]:
            async with turn:
                await asyncio.sleep(chance.uniform(0, 5))
                handle = await client.temporal.start_workflow(
                    "PipelineWorkflow",
                    {"pipeline": payment(url, f"order-{number}", ledger.port)},
                    id=f"payment-{number}",
                    task_queue="agents",
                )
                end = cancelled if number in CANCELLED else answered
                return await end(client.get(handle.id))

        door_kills = asyncio.create_task(kill_until(done, door, url, chance))
        worker_kills = asyncio.create_task(kill_worker(served, chance))
        try:
            async with asyncio.TaskGroup() as group:
                ends = [group.create_task(one(number)) for number in range(RUNS)]
            await worker_kills
        finally:
            done.set()
            worker_kills.cancel()
            kills = await door_kills
        assert [len(end.result()) for end in ends] == [1] * RUNS
        assert Counter(name for name, _ in ledger.arrivals) == {
            f"order-{number}": 1 for number in range(RUNS)
        }
        expected = {"answered": RUNS - len(CANCELLED), "cancelled": len(CANCELLED)}
        assert await remote_ends(client) == Counter(expected)
        print(f"\n{RUNS} pipelines, kills: {kills} of the gateway, {KILLS} of the worker")


async def remote_ends(client: Client) -> Counter[str]:
    """Return how the runs of the agent ended: what people decided, or why it stopped.

    The task of a message has ended, and its run waits for the next message.
    """
    found: list[str] = []
    async with asyncio.timeout(60):
        while len(found) < RUNS:  # a new run is in the list after a moment
            listed = client.temporal.list_workflows("WorkflowType = 'AgentWorkflow'")
            found = [each.id async for each in listed]
            await asyncio.sleep(LOOK_S)
    ends: Counter[str] = Counter()
    for run_id in found:
        run = client.get(run_id)
        if (await run.progress()).status == "waiting_for_message":
            await run.finish()
        async with asyncio.timeout(60):
            result = await run.result()
        outcomes = [each.outcome for each in result.decisions]
        ends[" ".join(outcomes) or str(result.stop_reason)] += 1
    return ends
