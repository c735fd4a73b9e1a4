"""Every way in which a model call fails: what is done about it, and how the run ends.

A model server of the bench fails as real ones do; the workflow, the activities, the adapter and Temporal
are the real ones. The last test prints what was seen: `make test-long ARGS=-s`.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from outlast_activities.constraints.engines import Engine
from outlast_activities.generation.activity import DEFAULT_SERVER
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.providers.breaker import FIRST_REST_S
from outlast_activities.providers.chat_completions import ChatCompletions
from outlast_workers.connection import ensure_search_attributes
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.workers import ConcurrencySettings
from outlast_workflows import activity_options
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.testing import WorkflowEnvironment

from bench.scripted_model.chaos import BAD_GATEWAY, BLANK, MAINTENANCE, REPEATED
from bench.scripted_model_server import (
    Request,
    Script,
    ScriptedModelServer,
    Step,
    Steps,
    pieces_of,
    turns,
)
from outlast import Agent, Leg, RunFailed, tool
from outlast.client.runs import Run
from outlast.contracts.agents import Route
from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Prompt, ServerOptions
from outlast.temporal.plugin import OutlastPlugin
from outlast.turns import UserTurn
from tests.conftest import DEV_SERVER_OPTIONS, binary
from tests.stage import Stage, on_stage, staged_settings

TEMPERATURE = 0.2
GAP_S = 0.5
"""The longest wait for a token where one is waited for; elsewhere a busy machine must not matter."""

RUN = "x-run"
SECOND = "second"

RIGHT = '{"answer":"done"}'
ANSWER = pieces_of('{"answer":"' + " ".join(map(str, range(60))) + '"}')
"""Some 50 tokens, without a repetition."""

ENDLESS = pieces_of('{"answer":"' + " ".join(map(str, range(4_000))))
BLANKS = ('{"answer":', *(BLANK,) * 4_000)
REPEATS = ('{"answer":"', *REPEATED * 1_000)


@tool(effect="read")
def look() -> str:
    """Look."""
    return "seen " * 500


PLAIN = Agent(name="plain", instructions="Answer.")
LOOKER = Agent(name="looker", instructions="Look.", tools=[look])


def always(step: Step) -> Script:
    return lambda _request: step


@asynccontextmanager
async def adapter(
    server: ScriptedModelServer, *, api: str = "vllm", **options: Any
) -> AsyncIterator[ChatCompletions]:
    fields = {"timeout_s": 5.0, "gap_s": 5.0, "temperature": TEMPERATURE, **options}
    model = ChatCompletions(ServerOptions(server.url, api=api, session_header=RUN, **fields))
    try:
        yield model
    finally:
        await model.aclose()


@asynccontextmanager
async def staged(
    temporal: Client,
    server: ScriptedModelServer,
    *,
    max_tokens: int = 1024,
    engine: Engine | None = None,
    generate: int = 32,
    **options: Any,
) -> AsyncIterator[Stage]:
    """Serve agents whose only leg is that server."""
    settings = with_slots(staged_settings(cached=1000), generate)
    async with adapter(server, engine=engine, **options) as model:
        endpoints = {DEFAULT_SERVER: Endpoint(model, max_tokens)}
        async with on_stage(
            temporal, endpoints, [PLAIN, LOOKER], tools=[look], settings=settings
        ) as stage:
            yield stage


@asynccontextmanager
async def on_two_legs(
    temporal: Client, first: ScriptedModelServer, second: ScriptedModelServer, **options: Any
) -> AsyncIterator[Stage]:
    """Serve agents that ask one server, and another one after it, on one task queue."""
    settings = staged_settings(cached=1000)
    own = settings.queue("generate")
    legs = (Leg(task_queue=own), Leg(task_queue=own, server=SECOND))
    routes = settings.routes.model_copy(update={"generate": Route(legs=legs)})
    settings = settings.model_copy(update={"routes": routes})
    async with adapter(first, **options) as one, adapter(second) as other:
        endpoints = {DEFAULT_SERVER: Endpoint(one, 1024), SECOND: Endpoint(other, 1024)}
        async with on_stage(
            temporal, endpoints, [PLAIN, LOOKER], tools=[look], settings=settings
        ) as stage:
            yield stage


def with_slots(settings: Settings, generate: int) -> Settings:
    return settings.model_copy(update={"concurrency": ConcurrencySettings(generate=generate)})


async def attempts_of(stage: Stage, run: Run) -> list[int]:
    """Return the attempt that ended each model call of a run."""
    scheduled: dict[int, str] = {}
    attempts = []
    for event in (await stage.chain(run))[-1].events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled_event = event.activity_task_scheduled_event_attributes
            scheduled[event.event_id] = scheduled_event.activity_type.name
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            started = event.activity_task_started_event_attributes
            if scheduled[started.scheduled_event_id] == "generate":
                attempts.append(started.attempt)
    return attempts


async def until(condition: Callable[[], bool], within_s: float = 10) -> float:
    """Wait for a condition; return how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s
        await asyncio.sleep(0.01)
    return time.monotonic() - began


@dataclass(frozen=True)
class Seen:
    """What became of one class of failure: where it passes, and where it stays."""

    provoked_by: str
    action: str
    passes: str
    stays: str
    error_type: str


SEEN: dict[ModelFailure, Seen] = {}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the last leg be asked twice only, where it takes 18 minutes to give up."""
    retry = RetryPolicy(initial_interval=timedelta(seconds=0.1), maximum_attempts=2)
    monkeypatch.setattr(activity_options, "LAST_LEG_RETRY", retry)


@dataclass(frozen=True)
class Case:
    """A class of failure: by what it is provoked, and what then has to be seen.

    `does` tells whether the next request shows the action. `passing` is a script in which the failure
    passes, where one wrong answer before a right one does not tell. `asks` are those of a run in which
    it stays, with the input `stays_with`.
    """

    failure: ModelFailure
    provoked_by: str
    action: str
    wrong: Step
    does: Callable[[Request, Request], bool]
    passing: Script | None = None
    agent: str = "plain"
    stays_with: str = "go"
    max_tokens: int = 1024
    asks: int = 3
    server: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def asked_again(_first: Request, second: Request) -> bool:
    last = second.messages[-1]
    has_reason = last["role"] == "user" and "That was not accepted" in last["content"]
    return has_reason and second.body["temperature"] == 0


def warmer(first: Request, second: Request) -> bool:
    return bool(second.body["temperature"] > first.body["temperature"] == TEMPERATURE)


def compact(_first: Request, second: Request) -> bool:
    return "x-guidance" in second.body["structured_outputs"]["json"]


def trimmed(first: Request, second: Request) -> bool:
    whole, left = ("".join(one["content"] for one in each.messages) for each in (first, second))
    return "seen seen" in whole and "seen seen" not in left and "left_out" in left


def doubled(first: Request, second: Request) -> bool:
    return second.max_tokens == 2 * (first.max_tokens or 0)


def same(first: Request, second: Request) -> bool:
    return first.body == second.body


REMEDIED = [
    Case(
        ModelFailure.TRUNCATED,
        "an answer longer than max_tokens",
        "more tokens",
        Step(pieces=ENDLESS),
        doubled,
        passing=always(Step(pieces=ANSWER)),
        max_tokens=32,
    ),
    Case(
        ModelFailure.WHITESPACE_LOOP,
        "nothing but white space",
        "no white space admitted",
        Step(pieces=BLANKS, gap_s=0.002),
        compact,
    ),
    Case(
        ModelFailure.REPETITION_LOOP,
        "the same phrase for ever",
        "higher temperature",
        Step(pieces=REPEATS, gap_s=0.002),
        warmer,
    ),
    Case(
        ModelFailure.SCHEMA_INVALID,
        "JSON against the schema",
        "with the reason, at 0",
        Step('{"unheard_of":true}'),
        asked_again,
    ),
    Case(
        ModelFailure.UNCONSTRAINED,
        "prose: constraint ignored",
        "with the reason, at 0",
        Step("Sure! The answer is: done."),
        asked_again,
        server={"constrained": False},
    ),
    Case(
        ModelFailure.EMPTY,
        "an answer without text",
        "higher temperature",
        Step(pieces=()),
        warmer,
    ),
    Case(
        ModelFailure.CONTEXT_OVERFLOW,
        "prompt + max_tokens > context",
        "oldest tool results left out",
        Step(RIGHT),
        trimmed,
        passing=turns(2),
        agent="looker",
        stays_with="long " * 1_000,
        max_tokens=64,
        asks=2,
        server={"max_model_len": 700},
    ),
]

RETRIED = [
    Case(
        ModelFailure.THROTTLED,
        "429, Retry-After: 1",
        "retried after the wait",
        Step("slow down", status=429, headers={"retry-after": "1"}),
        same,
    ),
    Case(
        ModelFailure.OVERLOADED,
        "503",
        "retried with backoff",
        Step("The server is overloaded", status=503),
        same,
    ),
    Case(
        ModelFailure.TIMEOUT,
        "a stream that stalls",
        "retried with backoff",
        Step(pieces=ANSWER, stalls_after=3),
        same,
        options={"gap_s": GAP_S},
    ),
    Case(
        ModelFailure.CONNECTION,
        "hung up in mid-answer",
        "retried with backoff",
        Step(pieces=ANSWER, breaks_after=3),
        same,
    ),
    Case(
        ModelFailure.SERVER_ERROR,
        "500",
        "retried with backoff",
        Step("Internal server error", status=500),
        same,
    ),
]

MOVED = [
    Case(
        ModelFailure.AUTHENTICATION,
        "401",
        "next leg at once",
        Step("Incorrect API key provided", status=401, error_code="invalid_api_key"),
        same,
    ),
    Case(
        ModelFailure.UNKNOWN_MODEL,
        "404, no such model",
        "next leg at once",
        Step("never sent"),
        same,
        options={"model": "other"},
    ),
    Case(
        ModelFailure.BAD_REQUEST,
        "400, schema not taken",
        "next leg at once",
        Step("The grammar is not supported by the backend", status=400),
        same,
    ),
]


def named(case: Case) -> str:
    return case.failure.value


async def that_stays(temporal: Client, case: Case) -> tuple[str, str]:
    """Return what came of a run whose only server never does better: asks, and type of the error."""
    async with (
        ScriptedModelServer(always(case.wrong), engine="vllm", **case.server) as server,
        staged(temporal, server, max_tokens=case.max_tokens, **case.options) as stage,
    ):
        run = await stage.start("plain", case.stays_with)
        with pytest.raises(RunFailed, match="turn 1: ") as failed:
            await run.result()
        attempts = await attempts_of(stage, run)
        asks = len(server.requests)
        assert (await run.progress()).status == "failed"
    assert failed.value.cause_type == case.failure
    assert "\n" not in str(failed.value)
    return f"{attempts[-1]}/{asks}", failed.value.cause_type


@pytest.mark.parametrize("case", REMEDIED, ids=named)
async def test_what_another_question_can_mend_is_put_otherwise_in_the_same_attempt(
    temporal: Client, case: Case
) -> None:
    script = case.passing or Steps(case.wrong, RIGHT)
    async with (
        ScriptedModelServer(script, engine="vllm", **case.server) as server,
        staged(temporal, server, max_tokens=case.max_tokens, **case.options) as stage,
    ):
        run = await stage.start(case.agent)
        result = await run.result()
        attempts = await attempts_of(stage, run)
    first, second = list(server.requests)[-2:]
    assert result.status == "completed"
    assert set(attempts) == {1}
    assert case.does(first, second)
    billed = sum(
        one.generation.prompt_tokens + one.generation.completion_tokens for one in server.requests
    )
    assert result.usage.tokens >= billed

    stays, error_type = await that_stays(temporal, case)
    assert stays == f"1/{case.asks}"
    SEEN[case.failure] = Seen(case.provoked_by, case.action, "1/2, completed", stays, error_type)


@pytest.mark.parametrize("case", RETRIED, ids=named)
async def test_what_passes_by_itself_is_tried_again_by_temporal(
    temporal: Client, case: Case, impatient: None
) -> None:
    script = Steps(case.wrong, RIGHT)
    async with (
        ScriptedModelServer(script, engine="vllm") as server,
        staged(temporal, server, **case.options) as stage,
    ):
        run = await stage.start("plain")
        result = await run.result()
        attempts = await attempts_of(stage, run)
    first, second = server.requests
    assert (result.status, result.output) == ("completed", "done")
    assert attempts == [2]
    assert case.does(first, second)
    generated = [one.generation for one in server.requests]
    assert result.usage.completion_tokens >= sum(one.completion_tokens for one in generated)
    assert result.usage.prompt_tokens >= sum(one.prompt_tokens for one in generated)

    stays, error_type = await that_stays(temporal, case)
    assert stays == "2/2"
    SEEN[case.failure] = Seen(case.provoked_by, case.action, "2/2, completed", stays, error_type)


@pytest.mark.parametrize("case", MOVED, ids=named)
async def test_what_no_repetition_can_mend_goes_to_the_next_leg_at_once(
    temporal: Client, case: Case
) -> None:
    first = ScriptedModelServer(always(case.wrong), engine="vllm")
    second = ScriptedModelServer(Steps(RIGHT), engine="vllm")
    async with (
        first,
        second,
        on_two_legs(temporal, first, second, **case.options) as stage,
    ):
        began = time.monotonic()
        run = await stage.start("plain")
        result = await run.result()
        took = time.monotonic() - began
        attempts = await attempts_of(stage, run)
    assert (result.status, attempts) == ("completed", [1, 1])
    assert (len(first.requests), len(second.requests)) == (1, 1)
    assert took < 4, "a leg with a next one is asked for 3 s where it is asked again"

    stays, error_type = await that_stays(temporal, case)
    assert stays == "1/1"
    passes = "1/1 a leg, completed"
    SEEN[case.failure] = Seen(case.provoked_by, case.action, passes, stays, error_type)


async def test_a_refusal_ends_the_run_and_is_not_taken_to_another_leg(temporal: Client) -> None:
    refusal = Step(refusal="I cannot help with that.")
    first = ScriptedModelServer(always(refusal), engine="vllm")
    second = ScriptedModelServer(Steps(RIGHT), engine="vllm")
    async with first, second, on_two_legs(temporal, first, second) as stage:
        run = await stage.start("plain")
        with pytest.raises(RunFailed, match="I cannot help with that") as failed:
            await run.result()
        attempts = await attempts_of(stage, run)
        usage = (await run.progress()).usage
    assert failed.value.cause_type == ModelFailure.REFUSAL
    assert (attempts, len(first.requests), len(second.requests)) == ([1], 1, 0)
    assert usage.prompt_tokens >= first.requests[0].generation.prompt_tokens > 0
    SEEN[ModelFailure.REFUSAL] = Seen(
        "the model's refusal", "none: it is an answer", "-", "1/1", failed.value.cause_type
    )


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


async def test_a_throttled_call_waits_as_long_as_it_was_told_and_holds_no_slot_meanwhile(
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


def test_all_classes_of_failure_were_seen(capsys: pytest.CaptureFixture[str]) -> None:
    if not SEEN:
        pytest.skip("the tests above have to run first")
    heads = ("class", "provoked by", "action", "where it passes", "where it stays", "RunFailed")
    rows = [
        (failure.name, seen.provoked_by, seen.action, seen.passes, seen.stays, seen.error_type)
        for failure in ModelFailure
        if (seen := SEEN.get(failure))
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (heads, *rows)]
    with capsys.disabled():
        print("\n\nAttempts/asks of a run whose model call fails:\n", *lines, sep="\n")
    assert set(SEEN) == set(ModelFailure)
    assert all(seen.error_type == failure for failure, seen in SEEN.items())
