"""Spilling over, on a real server: from a leg without workers, and from one with too few."""

import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client as TemporalClient

from bench.scripted_model_server import ScriptedModelServer, Step, Steps
from outlast import Agent, Client, Leg, RunFailed
from outlast.testing import ScriptedModel, answer
from tests.acceptance.processes import WorkerUnderTest
from tests.stage import Stage, on_stage, staged_settings

START_WITHIN_S = 2.0
LATE_S = 1.0
"""How much later than `start_within_s` the next leg may be tried, or the run may end."""

ABSENT = Leg(task_queue="nobody-{own}", start_within_s=START_WITHIN_S)
AGENT = Agent(name="plain", instructions="Answer.")


async def times_of(stage: Stage, kind: EventType.ValueType) -> list[timedelta]:
    """Return when events of a kind happened, from the first model call on, by the server's clock."""
    events = (await stage.last()).events
    began = next(
        event.event_time.ToDatetime()
        for event in events
        if event.activity_task_scheduled_event_attributes.activity_type.name == "generate"
    )
    return [event.event_time.ToDatetime() - began for event in events if event.event_type == kind]


async def test_a_leg_without_workers_gives_way_within_its_bound(temporal: TemporalClient) -> None:
    settings = staged_settings(cached=1000, generate=[ABSENT, Leg(task_queue="generate-{own}")])
    model = ScriptedModel([answer("served")])
    async with on_stage(temporal, model, [AGENT], settings=settings) as stage:
        assert (await stage.run("plain")).output == "served"
        began = await times_of(stage, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    spilled_after = began[-1].total_seconds()
    print(f"spilled after {spilled_after:.2f} s, where start_within_s is {START_WITHIN_S:g}")
    assert START_WITHIN_S <= spilled_after <= START_WITHIN_S + LATE_S


async def test_a_run_without_workers_on_any_leg_ends_by_name_at_the_bound(
    temporal: TemporalClient,
) -> None:
    also_absent = ABSENT.model_copy(update={"task_queue": "nobody-else-{own}"})
    settings = staged_settings(cached=1000, generate=[ABSENT, also_absent])
    async with on_stage(temporal, ScriptedModel([]), [AGENT], settings=settings) as stage:
        with pytest.raises(
            RunFailed, match="no worker took it on 'nobody-.*' within 2 s"
        ) as failed:
            await stage.run("plain")
        (ended,) = await times_of(stage, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED)
    assert failed.value.cause_type == "NoWorker"
    bound = 2 * START_WITHIN_S
    assert bound <= ended.total_seconds() <= bound + 2 * LATE_S


RUNS = 100
SLOW_SLOTS = 4
SLOW_ANSWER_S = 0.5
ROUTES = """
[[routes.generate.legs]]
task_queue = "slow"
start_within_s = 1

[[routes.generate.legs]]
task_queue = "fast"
"""


@asynccontextmanager
async def workers_of(
    tmp_path: Path, address: str, processes: Mapping[str, Mapping[str, str]]
) -> AsyncIterator[None]:
    """Start worker processes by name, each with settings of its own."""
    config = tmp_path / "outlast.toml"
    config.write_text(ROUTES)
    async with AsyncExitStack() as running:
        for name, settings in processes.items():
            worker = WorkerUnderTest(
                address=address,
                model_url=settings.get("OUTLAST_MODEL__URL", ""),
                agents="tests.acceptance.agents",
                log=tmp_path / f"{name}.log",
                settings={"OUTLAST_CONFIG": str(config), **settings},
            )
            await worker.start()
            running.push_async_callback(worker.terminate)
        yield


def requests_by_input(model: ScriptedModelServer) -> Counter[str]:
    """Return the number of requests for each run's input."""
    return Counter(str(request.messages[-1]["content"]) for request in model.requests)


@pytest.mark.timeout(120)
async def test_of_a_hundred_runs_over_two_legs_none_is_lost_and_none_is_served_twice(
    tmp_path: Path,
) -> None:
    completion = json.dumps(answer("done"))
    slow_script = Steps(*[Step(completion, delay_s=SLOW_ANSWER_S)] * RUNS)
    async with (
        TemporalServer(log_dir=tmp_path, port=free_port()) as temporal,
        ScriptedModelServer(slow_script) as slow,
        ScriptedModelServer(Steps(*[completion] * RUNS)) as fast,
    ):
        processes = {
            "workflows": {"OUTLAST_ROLES": "workflows"},
            "slow": {
                "OUTLAST_ROLES": "generate",
                "OUTLAST_QUEUES__GENERATE": "slow",
                "OUTLAST_CONCURRENCY__GENERATE": str(SLOW_SLOTS),
                "OUTLAST_MODEL__URL": slow.url,
            },
            "fast": {
                "OUTLAST_ROLES": "generate",
                "OUTLAST_QUEUES__GENERATE": "fast",
                "OUTLAST_MODEL__URL": fast.url,
            },
        }
        async with workers_of(tmp_path, temporal.address, processes):
            client = await Client.connect(target_host=temporal.address)
            runs = [await client.start("reader", f"run {number}") for number in range(RUNS)]
            results = [await run.result() for run in runs]
    print(
        f"of {RUNS} runs {slow.answered} were served by the slow leg, {fast.answered} by the fast"
    )
    assert [result.output for result in results] == ["done"] * RUNS
    served = requests_by_input(slow) + requests_by_input(fast)
    assert len(served) == RUNS
    assert set(served.values()) == {1}
    assert slow.answered + fast.answered == RUNS
    assert fast.answered > 0
    assert slow.answered >= math.floor(SLOW_SLOTS / SLOW_ANSWER_S)
