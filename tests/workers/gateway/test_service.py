"""`outlast worker gateway` as a process: it is killed, starts again, and stops on SIGTERM."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from outlast_workers.local.ports import free_port
from temporalio.client import Client as TemporalClient

from outlast.testing import ScriptedModel, answer, call
from tests.workers.gateway.desk_agents import desk
from tests.workers.gateway.doors import doors

ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def process_of(
    temporal: TemporalClient, port: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a gateway on a port until the block ends; it has answered once."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "outlast_workers", "gateway"),
        *("--agents", "tests.workers.gateway.desk_agents"),
        env={
            **os.environ,
            "TEMPORAL_ADDRESS": temporal.service_client.config.target_host,
            "OUTLAST_GATEWAY__PORT": str(port),
        },
        cwd=ROOT,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30), httpx2.AsyncClient() as client:
            while True:
                assert process.returncode is None
                try:
                    await client.get(f"http://127.0.0.1:{port}/healthz")
                except httpx2.TransportError:
                    await asyncio.sleep(0.05)
                else:
                    break
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_killed_gateway_loses_no_run(temporal: TemporalClient) -> None:
    port = free_port()
    model = ScriptedModel([call("refund", order_id="7"), answer("Done.")])
    body = {"agent": "desk", "input": "Refund 7", "key": "kill"}
    base_url = f"http://127.0.0.1:{port}"
    async with doors(temporal, model, [desk]), httpx2.AsyncClient(base_url=base_url) as client:
        async with process_of(temporal, port) as first:
            run_id = (await client.post("/runs", json=body)).json()["id"]
            assert run_id == "default/desk/kill"
            first.kill()
            await first.wait()
        async with process_of(temporal, port) as second:
            assert (await client.post("/runs", json=body)).json()["id"] == run_id
            async with client.stream("GET", f"/runs/{run_id}/events") as stream:
                async for line in stream.aiter_lines():
                    if line == "event: request_opened":
                        decision = {"request_id": "1.1", "decision": "approve"}
                        await client.post(f"/runs/{run_id}/decide", json=decision)
            assert (await client.get(f"/runs/{run_id}")).json()["output"] == "Done."
            second.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(second.wait(), 40) == 0


async def test_a_stopped_gateway_ends_its_streams(temporal: TemporalClient) -> None:
    port = free_port()
    model = ScriptedModel([call("refund", order_id="7")], repeat_last=True)
    base_url = f"http://127.0.0.1:{port}"
    async with doors(temporal, model, [desk]), httpx2.AsyncClient(base_url=base_url) as client:
        async with process_of(temporal, port) as process:
            body = {"agent": "desk", "input": "Refund 7"}
            run_id = (await client.post("/runs", json=body)).json()["id"]
            async with client.stream("GET", f"/runs/{run_id}/events") as stream:
                async for line in stream.aiter_lines():
                    if line == "event: request_opened":
                        process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 40) == 0
        await temporal.get_workflow_handle(run_id).cancel()
