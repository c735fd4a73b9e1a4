"""Spans of runs whose worker is killed at random, and replays each run at each step: none is made twice."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from bench.scripted_model_server import Request, Step
from tests.fakes.otlp_receiver import ReceivedSpan, receiving
from tests.long.site import ANSWER, calling, site

RUNS = 12
KILLS = 8
SEED = 16
TURNS = 4


def decided(request: Request) -> Step:
    """Look up an order in each turn, in a local call and slowly enough to be killed; then answer."""
    turn = request.assistant_messages
    text = calling("look_up", order=f"A{turn}") if turn < TURNS else ANSWER
    return Step(text, delay_s=0.3)


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
            for _ in range(KILLS):
                await asyncio.sleep(moments.uniform(0.5, 4))
                await on.worker.kill()
                await on.worker.start()
            results = [await run.result() for run in runs]
    assert [result.output for result in results] == ["done"] * RUNS

    spans = receiver.spans
    ours = [span for span in spans if span.name.startswith(("chat", "execute_tool"))]
    assert max(Counter(map(attempt_of, ours)).values()) == 1
    twice = {key for key, count in Counter(span.span_id for span in spans).items() if count > 1}
    assert [span for span in spans if span.span_id in twice] == []
    for run in runs:
        of_run = [span for span in spans if span.attributes["temporalWorkflowID"] == run.id]
        assert len({span.trace_id for span in of_run}) == 1, "one run is one trace"
        assert len({span.parent_id for span in of_run} - {""}) == 1
    attempts = Counter(span.attributes["outlast.attempt"] for span in ours)
    print(f"{len(spans)} spans of {RUNS} runs in {KILLS} kills, by attempt: {dict(attempts)}")
