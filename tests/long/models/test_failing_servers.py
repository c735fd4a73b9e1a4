"""Model servers that write without end, stall, break off or are down, and runs that ask them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import pytest
import pytest_asyncio
from outlast_activities.constraints.engines import Engine
from outlast_activities.providers.breaker import FIRST_REST_S
from outlast_workers.connection import ensure_search_attributes
from outlast_workflows import activity_options
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from bench.scripted_model.chaos import BAD_GATEWAY, MAINTENANCE
from bench.scripted_model_server import Request, ScriptedModelServer, Step, Steps
from outlast import RunFailed
from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Prompt
from outlast.temporal.plugin import OutlastPlugin
from outlast.turns import UserTurn
from tests.conftest import DEV_SERVER_OPTIONS, binary
from tests.long.models.failing_servers import (
    ANSWER,
    BLANKS,
    ENDLESS,
    GAP_S,
    REPEATS,
    RIGHT,
    RUN,
    adapter,
    always,
    attempts_of,
    on_two_legs,
    staged,
)


async def until(condition: Callable[[], bool], within_s: float = 10) -> float:
    """Wait for a condition; return how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s
        await asyncio.sleep(0.01)
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("engine", "text"),
    [
        ("auto", '"whitespace_flexible": false'),
        ("guidance", '"whitespace_flexible": false'),
        ("xgrammar", "max_whitespace_cnt"),
    ],
)
async def test_white_space_is_forbidden_in_the_words_of_each_of_vllms_engines(
    temporal: Client, engine: Engine, text: str
) -> None:
    async with (
        ScriptedModelServer(Steps(Step(pieces=BLANKS), RIGHT), engine="vllm") as server,
        staged(temporal, server, engine=engine) as stage,
    ):
        assert (await stage.run("plain")).output == "done"
    first, second = (json.dumps(one.body["structured_outputs"]) for one in server.requests)
    assert text in second
    assert text not in first


async def test_white_space_is_forbidden_to_llama_cpp_by_a_grammar(temporal: Client) -> None:
    async with (
        ScriptedModelServer(Steps(Step(pieces=BLANKS), RIGHT), engine="llama.cpp") as server,
        staged(temporal, server, engine="llama.cpp", api="openai-chat") as stage,
    ):
        assert (await stage.run("plain")).output == "done"
    first, second = server.requests
    assert "response_format" in first.body
    assert "grammar" not in first.body
    assert "whitespace_flexible" in second.body["grammar"]
    assert "response_format" not in second.body


async def test_a_throttled_call_waits_as_the_server_asks_and_holds_no_slot(
    temporal: Client,
) -> None:
    throttled = Step("slow down", status=429, headers={"retry-after": "3"})
    request_times: dict[str, list[float]] = {}

    def script(request: Request) -> Step:
        times = request_times.setdefault(request.headers[RUN], [])
        times.append(time.monotonic())
        is_first = request.headers[RUN] == "retry-later" and len(times) == 1
        return throttled if is_first else Step(RIGHT)

    async with (
        ScriptedModelServer(script, engine="vllm") as server,
        staged(temporal, server, generate=1) as stage,
    ):
        waiting = await stage.start("plain", id="retry-later")
        await until(lambda: bool(request_times))
        other = await stage.start("plain", id="another-run")
        assert (await other.result()).output == "done"
        assert len(request_times["retry-later"]) == 1
        assert (await waiting.result()).output == "done"
    first, second = request_times["retry-later"]
    assert 3 <= second - first < 5
    assert first < request_times["another-run"][0] < second - 1.5


@pytest.mark.parametrize(
    ("pieces", "begun", "most"), [(BLANKS, 1, 64), (REPEATS, 1, 100)], ids=["blank", "repeated"]
)
async def test_a_loop_is_cut_soon_and_ends_at_the_server_too(
    temporal: Client, pieces: Sequence[str], begun: int, most: int
) -> None:
    looping = Step(pieces=tuple(pieces), gap_s=0.002)
    async with (
        ScriptedModelServer(Steps(looping, RIGHT), engine="vllm") as server,
        staged(temporal, server) as stage,
    ):
        result = await stage.run("plain")
        wasted = server.requests[0].generation
    assert result.output == "done"
    assert wasted.sent_pieces - begun <= most
    assert wasted.state == "abandoned"
    assert result.usage.completion_tokens >= wasted.completion_tokens


async def test_a_stream_that_stalls_is_left_after_its_gap_and_not_its_timeout(
    temporal: Client,
) -> None:
    left: list[float] = []
    stalled = Step(pieces=ANSWER, stalls_after=5)
    async with (
        ScriptedModelServer(Steps(stalled, RIGHT), engine="vllm") as server,
        staged(temporal, server, timeout_s=60, gap_s=GAP_S) as stage,
    ):
        run = await stage.start("plain")
        await until(lambda: server.sent_pieces == 5)
        left.append(await until(lambda: server.running == 0))
        assert (await run.result()).output == "done"
    assert GAP_S - 0.1 <= left[0] < 1.5


async def test_a_server_that_never_begins_is_left_after_its_timeout(temporal: Client) -> None:
    silent = Step(pieces=ANSWER, stalls_after=0)
    async with (
        ScriptedModelServer(Steps(silent, RIGHT), engine="vllm") as server,
        staged(temporal, server, timeout_s=0.7) as stage,
    ):
        run = await stage.start("plain")
        await until(lambda: server.running == 1)
        assert await until(lambda: server.running == 0) < 1.7
        assert (await run.result()).output == "done"


@pytest_asyncio.fixture
async def pushing() -> AsyncIterator[Client]:
    """A client of a server that tells workers of a cancellation, and waits for no heartbeat."""
    values = (
        "system.enableCancelActivityWorkerCommand=true",
        "frontend.WorkerCommandsEnabled=true",
    )
    pushes = [word for value in values for word in ("--dynamic-config-value", value)]
    async with await WorkflowEnvironment.start_local(
        plugins=[OutlastPlugin()],
        dev_server_existing_path=binary("temporal"),
        dev_server_log_level="error",
        dev_server_extra_args=[*DEV_SERVER_OPTIONS, *pushes],
    ) as environment:
        assert await ensure_search_attributes(environment.client)
        yield environment.client


async def cancelled_in(temporal: Client) -> float:
    """Return how long after a run's cancellation its model server is left."""
    slow = Step(pieces=ENDLESS, gap_s=0.05)
    async with (
        ScriptedModelServer(always(slow), engine="vllm") as server,
        staged(temporal, server) as stage,
    ):
        run = await stage.start("plain")
        await until(lambda: server.sent_pieces > 3)
        await run.cancel()
        took = await until(lambda: server.running == 0)
        assert (await run.result()).stop_reason == "cancelled"
        assert server.abandoned == 1
    return took


async def test_a_cancelled_run_leaves_its_model_server_at_once_where_temporal_pushes(
    pushing: Client,
) -> None:
    assert await cancelled_in(pushing) < 2


async def test_a_cancelled_run_leaves_its_model_server_with_the_next_heartbeat_elsewhere(
    temporal: Client,
) -> None:
    assert (
        await cancelled_in(temporal) < activity_options.GENERATE_HEARTBEAT_TIMEOUT.total_seconds()
    )


ERROR = {"message": "Internal server error", "type": "InternalServerError", "code": 500}


@pytest.mark.parametrize(
    "broken",
    [
        Step(pieces=ANSWER, breaks_after=7),
        Step(pieces=ANSWER[:7], error_in_stream=ERROR),
        Step(status=502, raw=BAD_GATEWAY),
    ],
    ids=["half-closed", "error in the stream", "a page with 502"],
)
async def test_an_answer_that_breaks_off_is_asked_for_again(temporal: Client, broken: Step) -> None:
    async with (
        ScriptedModelServer(Steps(broken, RIGHT), engine="vllm") as server,
        staged(temporal, server) as stage,
    ):
        run = await stage.start("plain")
        result = await run.result()
        assert await attempts_of(stage, run) == [2]
    assert result.output == "done"
    generated = [one.generation for one in server.requests]
    assert result.usage.completion_tokens >= sum(one.completion_tokens for one in generated)


async def test_a_page_with_200_is_no_model_server_and_ends_the_run_by_name(
    temporal: Client,
) -> None:
    async with (
        ScriptedModelServer(always(Step(raw=MAINTENANCE)), engine="vllm") as server,
        staged(temporal, server) as stage,
    ):
        with pytest.raises(RunFailed, match="is not a model server's API; check its url") as failed:
            await stage.run("plain")
    assert failed.value.cause_type == ModelFailure.UNKNOWN_MODEL
    assert len(server.requests) == 1


async def test_a_server_that_is_down_is_asked_by_a_few_runs_and_passed_by_the_others(
    temporal: Client,
) -> None:
    first = ScriptedModelServer(always(Step(breaks_after=0, pieces=ANSWER)), engine="vllm")
    second = ScriptedModelServer(always(Step(RIGHT)), engine="vllm")
    async with first, second, on_two_legs(temporal, first, second) as stage:
        assert (await stage.run("plain")).output == "done"
        assert (first.answered, second.answered) == (3, 1)

        began = time.monotonic()
        runs = [await stage.start("plain") for _ in range(8)]
        results = await asyncio.gather(*(run.result() for run in runs))
        took = time.monotonic() - began
        attempts = [await attempts_of(stage, run) for run in runs]
    assert [result.output for result in results] == ["done"] * 8
    # The failures of one run do not count as those of the server: a second run has to fail too.
    assert 4 <= first.answered <= 8
    assert second.answered == 9
    assert [on_second for _, on_second in attempts] == [1] * 8
    assert took < FIRST_REST_S


async def test_calls_in_flight_when_a_server_went_down_do_not_prolong_its_rest() -> None:
    prompt = Prompt((UserTurn("go"),), {"type": "object"}, "key", 50)
    broken = Step(pieces=ANSWER, breaks_after=3, gap_s=0.01)
    async with ScriptedModelServer(always(broken)) as server, adapter(server) as model:
        calls = (model.complete(replace(prompt, session=f"run-{n}")) for n in range(10))
        failed = await asyncio.gather(*calls, return_exceptions=True)
        with pytest.raises(ModelError, match="the server failed 10 times in a row") as refused:
            await model.complete(prompt)
    assert [type(error) for error in failed] == [ModelError] * 10
    assert server.answered == 10
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after.total_seconds() <= FIRST_REST_S
