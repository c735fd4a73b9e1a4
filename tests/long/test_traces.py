"""Traces of runs whose worker is killed at random, without a cache, and of runs that continue as new."""

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from bench.scripted_model_server import Request, ScriptedModelServer, Step
from outlast import Client
from outlast.client.runs import Run
from outlast.contracts.human import PendingRequest
from outlast.errors import Unavailable
from outlast.temporal.plugin import OutlastPlugin
from tests.acceptance.processes import WorkerUnderTest
from tests.conditions import until
from tests.conftest import DEV_SERVER_OPTIONS, binary
from tests.fakes.otlp_receiver import ReceivedSpan, receiving
from tests.long.site import ANSWER, Site, calling, site

RUNS = 6
KILLS = 3
"""Kills before the approvals, and again after them."""
SEED = 16
TURNS = 4


def decided(request: Request) -> Step:
    """Look up an order in each turn, in a local call and slowly enough to be killed; then refund."""
    turn = request.assistant_messages
    texts = [calling("look_up", order=f"A{turn}")] * TURNS + [calling("refund", order="A9"), ANSWER]
    return Step(texts[turn], delay_s=0.3)


def attempt_of(span: ReceivedSpan) -> tuple[object, ...]:
    """Return which prompt or which attempt of a call a span describes."""
    names = (
        "temporalRunID",
        "temporalActivityID",
        "outlast.local",
        "outlast.attempt",
        "outlast.prompt_number",
    )
    return (span.name, *(span.attributes.get(name) for name in names))


async def kill(on: Site, moments: random.Random) -> None:
    """Kill the worker at random moments."""
    for _ in range(KILLS):
        await asyncio.sleep(moments.uniform(0.5, 3))
        await on.worker.kill()
        await on.worker.start()


async def pending(run: Run) -> PendingRequest:
    """Return the request of a run, once it waits for a person."""
    async with asyncio.timeout(60):
        while True:
            # After a kill, the server answers no query until the next workflow task.
            with contextlib.suppress(Unavailable):
                if requests := await run.pending_requests():
                    return requests[0]
            await asyncio.sleep(0.1)


@pytest.mark.timeout(240)
async def test_no_span_of_an_attempt_is_made_twice(tmp_path: Path) -> None:
    moments = random.Random(SEED)
    with receiving() as receiver:
        settings = {
            "OUTLAST_OTLP_ENDPOINT": receiver.endpoint,
            "OUTLAST_CONCURRENCY__CACHED_WORKFLOWS": "0",
        }
        agents = "tests.workers.traced_agents"
        async with site(tmp_path, decided, agents=agents, settings=settings) as on:
            runs = [await on.client.start("clerk", "go") for _ in range(RUNS)]
            await kill(on, moments)
            # Each wait ends in a worker other than the one in which it began.
            for run in runs:
                request = await pending(run)
                await run.approve(request, by="ann")
            await until(lambda: len(receiver.named("wait_for_person")) == RUNS)
            await kill(on, moments)
            results = [await run.result() for run in runs]
    assert [result.output for result in results] == ["done"] * RUNS

    spans = receiver.spans
    waits = receiver.named("wait_for_person")
    ours = [span for span in spans if span.name.startswith(("chat", "execute_tool"))] + waits
    assert max(Counter(map(attempt_of, ours)).values()) == 1
    assert max(Counter(span.span_id for span in ours).values()) == 1
    for run in runs:
        of_run = [span for span in spans if span.attributes["temporalWorkflowID"] == run.id]
        assert len({span.trace_id for span in of_run}) == 1, "one run is one trace"
        # A lookup whose workflow task was lost is repeated, and its span has the same ids again.
        (root,) = {span.parent_id for span in of_run} - {""}
        assert {span.span_id for span in of_run if span.name == "invoke_agent clerk"} <= {root}
    attempts = Counter(span.attributes.get("outlast.attempt") for span in ours)
    print(f"{len(spans)} spans of {RUNS} runs in {2 * KILLS} kills, by attempt: {dict(attempts)}")


@pytest.mark.timeout(120)
async def test_a_run_that_continues_as_new_begins_a_linked_trace(tmp_path: Path) -> None:
    turns = 14

    def paged(request: Request) -> Step:
        turn = request.assistant_messages
        return Step(calling("look_up", order=f"A{turn}") if turn < turns else ANSWER)

    with receiving() as receiver:
        async with (
            await WorkflowEnvironment.start_local(
                plugins=[OutlastPlugin()],
                dev_server_existing_path=binary("temporal"),
                dev_server_log_level="error",
                dev_server_extra_args=[
                    *DEV_SERVER_OPTIONS,
                    "--dynamic-config-value",
                    "limit.historyCount.suggestContinueAsNew=50",
                ],
            ) as temporal,
            ScriptedModelServer(paged) as model,
        ):
            worker = WorkerUnderTest(
                address=temporal.client.service_client.config.target_host,
                model_url=model.url,
                agents="tests.workers.traced_agents",
                log=tmp_path / "worker.log",
                settings={"OUTLAST_OTLP_ENDPOINT": receiver.endpoint},
            )
            await worker.start()
            try:
                result = await (await Client(temporal.client).start("clerk", "go")).result()
            finally:
                await worker.terminate()
    assert result.turns == turns + 1
    runs = sorted(receiver.named("invoke_agent"), key=lambda span: span.started_ns)
    assert len(runs) > 1
    assert len({run.trace_id for run in runs}) == len(runs)
    assert runs[0].links == ()
    for previous, run in itertools.pairwise(runs):
        assert run.links == ((previous.trace_id, previous.span_id),)
        assert run.parent_id == ""
    for span in receiver.named("chat"):
        (run,) = (each for each in runs if each.trace_id == span.trace_id)
        assert span.parent_id == run.span_id
        assert (
            span.attributes["gen_ai.conversation.id"]
            == runs[0].attributes["gen_ai.conversation.id"]
        )
