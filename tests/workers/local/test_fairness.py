"""Tenants share a task queue fairly: a real server, one slot, a large backlog before a small one."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from outlast_workers.local import servers
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import DYNAMIC_CONFIG, FAIRNESS, TemporalServer
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from outlast.start_requests import tenant_priority

LARGE, SMALL = 100, 5
QUEUED_WITHIN_S = 30.0
DONE_WITHIN_S = 60.0

ROOT = Path(__file__).parents[3]

done: list[str] = []


@activity.defn
async def step(tenant: str) -> None:
    done.append(tenant)


@workflow.defn(sandboxed=False)
class Steps:
    """Schedules all steps of a tenant at once, with the priority that its runs have."""

    @workflow.run
    async def run(self, tenant: str, count: int, task_queue: str) -> None:
        await asyncio.gather(
            *(
                workflow.execute_activity(
                    step,
                    tenant,
                    task_queue=task_queue,
                    start_to_close_timeout=timedelta(seconds=10),
                    priority=tenant_priority(tenant),
                )
                for _ in range(count)
            )
        )


async def order_of_steps(tmp_path: Path, *config: str) -> Sequence[str]:
    """Return the tenants of the steps in the order in which one slot did them."""
    done.clear()
    queue = f"steps-{uuid.uuid4()}"
    async with TemporalServer(
        log_dir=tmp_path, port=free_port(), dynamic_config=config, log_level="error"
    ) as server:
        client = await Client.connect(server.address)
        async with Worker(client, task_queue="workflows", workflows=[Steps]):
            large = await _queued(client, "large", LARGE, queue)
            small = await _queued(client, "small", SMALL, queue)
            one_slot = Worker(
                client, task_queue=queue, activities=[step], max_concurrent_activities=1
            )
            async with one_slot, asyncio.timeout(DONE_WITHIN_S):
                await asyncio.gather(large.result(), small.result())
    return tuple(done)


async def _queued(
    client: Client, tenant: str, count: int, queue: str
) -> WorkflowHandle[Steps, None]:
    """Start the steps of a tenant and wait until all of them are in the queue."""
    handle = await client.start_workflow(
        Steps.run, args=[tenant, count, queue], id=f"{tenant}-{queue}", task_queue="workflows"
    )
    async with asyncio.timeout(QUEUED_WITHIN_S):
        while True:
            pending = (await handle.describe()).raw_description.pending_activities
            if len(pending) == count:
                return handle
            await asyncio.sleep(0.1)


def place_of_last(tenant: str, order: Sequence[str]) -> int:
    """Return how many steps of the other tenant were done before the last one of this tenant."""
    last = max(at for at, each in enumerate(order) if each == tenant)
    return sum(each != tenant for each in order[:last])


def test_compose_has_the_setting_too() -> None:
    file = ROOT / "deploy" / "compose" / "dynamicconfig" / "outlast.yaml"
    config = yaml.safe_load(file.read_text())
    for one in FAIRNESS:
        name, _, value = one.partition("=")
        assert config[name] == [{"value": yaml.safe_load(value)}]


async def test_a_small_tenant_does_not_wait_for_a_large_one(tmp_path: Path) -> None:
    order = await order_of_steps(tmp_path)
    assert len(order) == LARGE + SMALL
    assert place_of_last("small", order) < 20, order[:60]


async def test_without_the_setting_the_key_has_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = tuple(one for one in DYNAMIC_CONFIG if one not in FAIRNESS)
    monkeypatch.setattr(servers, "DYNAMIC_CONFIG", rest)
    order = await order_of_steps(tmp_path)
    assert place_of_last("small", order) > LARGE / 2
