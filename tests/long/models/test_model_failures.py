"""Every way in which a model call fails: what is done about it, and how the run ends.

A model server of the bench fails as real ones do; the workflow, the activities, the adapter and Temporal
are the real ones. The last test prints what was seen: `make test-long ARGS=-s`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from outlast_workflows import activity_options
from temporalio.client import Client
from temporalio.common import RetryPolicy

from bench.scripted_model_server import (
    Request,
    Script,
    ScriptedModelServer,
    Step,
    Steps,
    turns,
)
from outlast import RunFailed
from outlast.errors import ModelFailure
from tests.long.models.failing_servers import (
    ANSWER,
    BLANKS,
    ENDLESS,
    GAP_S,
    REPEATS,
    RIGHT,
    TEMPERATURE,
    always,
    attempts_of,
    on_two_legs,
    staged,
)


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
async def test_a_failure_that_another_prompt_can_fix_is_prompted_again_in_the_same_attempt(
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
