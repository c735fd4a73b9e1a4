from datetime import timedelta
from pathlib import Path

import pytest
from outlast_activities.policies.recovery import (
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


def table() -> str:
    """Return the rules as the table of docs/generation.md."""
    remedies = {
        "more_tokens": "more tokens",
        "compact": "compact",
        "reask": "re-ask",
        "warmer": "warmer",
        "trim": "trim",
    }
    lines = [
        "| type | what happened | in the same attempt | tried again later | next leg | costs tokens |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for failure, rule in RULES.items():
        asked = ", then ".join(remedies[one] for one in rule.remedies) or "nothing"
        flags = (rule.retryable, rule.moves_on, rule.paid)
        marks = " | ".join("yes" if flag else "no" for flag in flags)
        lines.append(f"| `{failure}` | {MEANINGS[failure]} | {asked} | {marks} |")
    return "\n".join(lines)


MEANINGS = {
    Failed.TRUNCATED: "cut off at `max_tokens`",
    Failed.WHITESPACE_LOOP: "nothing but white space",
    Failed.REPETITION_LOOP: "the same over and over",
    Failed.SCHEMA_INVALID: "JSON that breaks a keyword which the engine does not enforce",
    Failed.UNCONSTRAINED: "no JSON: the server ignored the constraint",
    Failed.EMPTY: "no text",
    Failed.CONTEXT_OVERFLOW: "the prompt does not fit in the model's context",
    Failed.REFUSAL: "the model, or a filter, will not answer",
    Failed.THROTTLED: "too many requests of this client",
    Failed.OVERLOADED: "too many requests of everybody, or still loading",
    Failed.TIMEOUT: "no token within `timeout_s` or `gap_s`",
    Failed.CONNECTION: "not reached, or hung up in mid-answer",
    Failed.SERVER_ERROR: "failed for a reason of its own",
    Failed.AUTHENTICATION: "wrong key, missing right, no credit",
    Failed.UNKNOWN_MODEL: "no such model, or no model server",
    Failed.BAD_REQUEST: "does not take the request as it is",
}


def test_the_table_in_the_docs_is_that_of_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "generation.md").read_text()
    shown = page.partition("<!-- failures:begin -->")[2].partition("<!-- failures:end -->")[0]
    assert shown.strip() == table()
