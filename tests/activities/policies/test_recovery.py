from datetime import timedelta
from pathlib import Path

import pytest
from outlast_activities.policies.attempts import GENERATE_ATTEMPTS
from outlast_activities.policies.recovery import (
    MAX_COMPLETIONS,
    MAX_SERVER_WAIT,
    RULES,
    AttemptState,
    Remedy,
    RetryDecision,
    is_model_failure,
    remedy_for,
    retry_decision,
    tries_next_leg,
)

from outlast.errors import ModelFailure as Failed

SHORT, LONG = MAX_SERVER_WAIT / 2, MAX_SERVER_WAIT * 2


def test_every_class_of_failure_has_a_rule_and_a_type_of_its_own() -> None:
    assert set(RULES) == set(Failed)
    assert all(is_model_failure(failure) for failure in Failed)
    assert not is_model_failure("ToolFailed")
    assert not is_model_failure(None)


@pytest.mark.parametrize(
    ("failure", "state", "remedy"),
    [
        (Failed.TRUNCATED, AttemptState(), "more_tokens"),
        (Failed.TRUNCATED, AttemptState(can_raise_max_tokens=False), "reask"),
        (Failed.WHITESPACE_LOOP, AttemptState(), "forbid_whitespace"),
        (Failed.WHITESPACE_LOOP, AttemptState(forbids_whitespace=True), "raise_temperature"),
        (Failed.REPETITION_LOOP, AttemptState(), "raise_temperature"),
        (Failed.SCHEMA_INVALID, AttemptState(), "reask"),
        (Failed.UNCONSTRAINED, AttemptState(), "reask"),
        (Failed.EMPTY, AttemptState(), "raise_temperature"),
        (Failed.CONTEXT_OVERFLOW, AttemptState(), "trim_results"),
        (Failed.CONTEXT_OVERFLOW, AttemptState(completions=MAX_COMPLETIONS + 5), "trim_results"),
        (Failed.CONTEXT_OVERFLOW, AttemptState(can_trim_results=False), None),
        *(
            (failure, AttemptState(completions=MAX_COMPLETIONS), None)
            for failure in Failed
            if failure.name != "CONTEXT_OVERFLOW"
        ),
        *(
            (failure, AttemptState(), None)
            for failure in (
                Failed.REFUSAL,
                Failed.THROTTLED,
                Failed.OVERLOADED,
                Failed.TIMEOUT,
                Failed.CONNECTION,
                Failed.AUTHENTICATION,
                Failed.UNKNOWN_MODEL,
                Failed.BAD_REQUEST,
                Failed.SERVER_ERROR,
            )
        ),
    ],
)
def test_the_failure_decides_how_the_next_prompt_differs(
    failure: Failed, state: AttemptState, remedy: Remedy | None
) -> None:
    assert remedy_for(failure, state) == remedy


@pytest.mark.parametrize(
    ("failure", "wait", "is_last", "decision"),
    [
        (Failed.THROTTLED, timedelta(seconds=3), True, RetryDecision(True, timedelta(seconds=3))),
        (Failed.THROTTLED, LONG, True, RetryDecision(True, LONG)),
        (Failed.THROTTLED, SHORT, False, RetryDecision(True, SHORT)),
        (Failed.THROTTLED, LONG, False, RetryDecision(False)),
        (Failed.OVERLOADED, None, False, RetryDecision(True)),
        (Failed.TIMEOUT, None, True, RetryDecision(True)),
        (Failed.CONNECTION, LONG, False, RetryDecision(False)),
        (Failed.SERVER_ERROR, None, True, RetryDecision(True)),
        (Failed.REFUSAL, SHORT, True, RetryDecision(False)),
        (Failed.AUTHENTICATION, None, True, RetryDecision(False)),
        (Failed.UNKNOWN_MODEL, None, False, RetryDecision(False)),
        (Failed.SCHEMA_INVALID, None, True, RetryDecision(False)),
        (Failed.CONTEXT_OVERFLOW, None, True, RetryDecision(False)),
    ],
)
def test_temporal_tries_again_what_may_pass_unless_another_leg_is_sooner(
    failure: Failed, wait: timedelta | None, is_last: bool, decision: RetryDecision
) -> None:
    assert retry_decision(failure, retry_after=wait, is_last_leg=is_last) == decision


def test_only_a_refusal_is_not_taken_to_another_leg() -> None:
    assert [failure for failure in Failed if not tries_next_leg(failure)] == [Failed.REFUSAL]


def table() -> str:
    """Return the rules as the table of docs/generation.md."""
    remedies = {
        "more_tokens": "more tokens",
        "forbid_whitespace": "no white space",
        "reask": "re-ask",
        "raise_temperature": "higher temperature",
        "trim_results": "trim results",
    }
    lines = [
        "| type | what happened | in the same attempt | tried again later | next leg | costs tokens |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for failure, rule in RULES.items():
        tried = ", then ".join(remedies[name] for name in rule.remedies) or "nothing"
        flags = (rule.retryable, rule.tries_next_leg, rule.costs_tokens)
        marks = " | ".join("yes" if flag else "no" for flag in flags)
        lines.append(f"| `{failure}` | {MEANINGS[failure]} | {tried} | {marks} |")
    return "\n".join(lines)


MEANINGS = {
    Failed.TRUNCATED: "cut off at `max_tokens`",
    Failed.WHITESPACE_LOOP: "only white space",
    Failed.REPETITION_LOOP: "the same text again and again",
    Failed.SCHEMA_INVALID: "JSON that breaks a keyword that the engine does not enforce",
    Failed.UNCONSTRAINED: "not JSON: the server ignored the constraint",
    Failed.EMPTY: "no text",
    Failed.CONTEXT_OVERFLOW: "the prompt does not fit in the model's context",
    Failed.REFUSAL: "the model, or a filter, refuses to answer",
    Failed.THROTTLED: "too many requests from this client",
    Failed.OVERLOADED: "too many requests from all clients, or still loading",
    Failed.TIMEOUT: "no token within `timeout_s` or `gap_s`",
    Failed.CONNECTION: "unreachable, or disconnected during the answer",
    Failed.SERVER_ERROR: "an error of the server",
    Failed.AUTHENTICATION: "wrong key, no permission, or no credit",
    Failed.UNKNOWN_MODEL: "no such model, or no model server",
    Failed.BAD_REQUEST: "the server rejects the request",
}


def test_the_table_in_the_docs_is_that_of_the_code() -> None:
    page = (Path(__file__).parents[3] / "docs" / "generation.md").read_text()
    shown = page.partition("<!-- failures:begin -->")[2].partition("<!-- failures:end -->")[0]
    assert shown.strip() == table()


@pytest.mark.parametrize("asked_ms", [0, 1, 200, 999, 1_000, 2_000, 5_000, 29_999, 30_000, 300_000])
@pytest.mark.parametrize(
    "failure", [Failed.THROTTLED, Failed.OVERLOADED, Failed.CONNECTION, Failed.TIMEOUT]
)
def test_a_short_wait_of_a_server_does_not_use_up_the_attempts(
    asked_ms: int, failure: Failed
) -> None:
    asked = timedelta(milliseconds=asked_ms)
    waits = [
        retry_decision(failure, retry_after=asked, is_last_leg=True, attempt=attempt).wait
        for attempt in range(1, GENERATE_ATTEMPTS + 1)
    ]

    assert all(wait is not None and wait >= max(asked, timedelta(seconds=1)) for wait in waits)
    assert sum(filter(None, waits), timedelta(0)) > timedelta(minutes=15)
