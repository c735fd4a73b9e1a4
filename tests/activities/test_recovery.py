from datetime import timedelta

import pytest

from activities.recovery import (
    MAX_ASKS,
    PATIENCE,
    RULES,
    Remedy,
    Tried,
    Verdict,
    is_model_failure,
    moves_on,
    remedy_for,
    verdict_on,
)
from outlast.errors import ModelFailure as Failed

SHORT, LONG = PATIENCE / 2, PATIENCE * 2


def test_every_class_of_failure_has_a_rule_and_a_type_of_its_own() -> None:
    assert set(RULES) == set(Failed)
    assert all(is_model_failure(failure) for failure in Failed)
    assert not is_model_failure("ToolFailed")
    assert not is_model_failure(None)


@pytest.mark.parametrize(
    ("failure", "tried", "remedy"),
    [
        (Failed.TRUNCATED, Tried(), "more_tokens"),
        (Failed.TRUNCATED, Tried(more_tokens_left=False), "reask"),
        (Failed.WHITESPACE_LOOP, Tried(), "compact"),
        (Failed.WHITESPACE_LOOP, Tried(compact=True), "warmer"),
        (Failed.REPETITION_LOOP, Tried(), "warmer"),
        (Failed.SCHEMA_INVALID, Tried(), "reask"),
        (Failed.UNCONSTRAINED, Tried(), "reask"),
        (Failed.EMPTY, Tried(), "warmer"),
        (Failed.CONTEXT_OVERFLOW, Tried(), "trim"),
        (Failed.CONTEXT_OVERFLOW, Tried(asks=MAX_ASKS + 5), "trim"),
        (Failed.CONTEXT_OVERFLOW, Tried(trim_left=False), None),
        *(
            (failure, Tried(asks=MAX_ASKS), None)
            for failure in Failed
            if failure.name != "CONTEXT_OVERFLOW"
        ),
        *(
            (failure, Tried(), None)
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
def test_the_next_question_is_put_as_the_failure_asks_for(
    failure: Failed, tried: Tried, remedy: Remedy | None
) -> None:
    assert remedy_for(failure, tried) == remedy


@pytest.mark.parametrize(
    ("failure", "wait", "is_last", "verdict"),
    [
        (Failed.THROTTLED, timedelta(seconds=3), True, Verdict(True, timedelta(seconds=3))),
        (Failed.THROTTLED, LONG, True, Verdict(True, LONG)),
        (Failed.THROTTLED, SHORT, False, Verdict(True, SHORT)),
        (Failed.THROTTLED, LONG, False, Verdict(False)),
        (Failed.OVERLOADED, None, False, Verdict(True)),
        (Failed.TIMEOUT, None, True, Verdict(True)),
        (Failed.CONNECTION, LONG, False, Verdict(False)),
        (Failed.SERVER_ERROR, None, True, Verdict(True)),
        (Failed.REFUSAL, SHORT, True, Verdict(False)),
        (Failed.AUTHENTICATION, None, True, Verdict(False)),
        (Failed.UNKNOWN_MODEL, None, False, Verdict(False)),
        (Failed.SCHEMA_INVALID, None, True, Verdict(False)),
        (Failed.CONTEXT_OVERFLOW, None, True, Verdict(False)),
    ],
)
def test_temporal_tries_again_what_may_pass_unless_another_leg_is_sooner(
    failure: Failed, wait: timedelta | None, is_last: bool, verdict: Verdict
) -> None:
    assert verdict_on(failure, told_wait=wait, is_last_leg=is_last) == verdict


def test_only_a_refusal_is_not_taken_to_another_leg() -> None:
    assert [failure for failure in Failed if not moves_on(failure)] == [Failed.REFUSAL]
