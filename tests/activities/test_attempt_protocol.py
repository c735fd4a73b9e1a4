"""The protocol of an attempt: heartbeats, hand-back, and the count of a step's own attempts."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from outlast_activities.attempt_protocol import ActivityAttempt, waited_s, was_cancelled_by_run
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from outlast.contracts.heartbeats import ToolProgress
from outlast.errors import WorkerShutdown
from tests.conditions import until

OWN = 4


def environment(**changed: Any) -> tuple[ActivityEnvironment, list[ToolProgress]]:
    """Return an environment for one attempt, and the heartbeats that it will send."""
    env = ActivityEnvironment()
    env.info = replace(ActivityEnvironment.default_info(), **changed)
    sent: list[ToolProgress] = []
    env.on_heartbeat = sent.append
    return env, sent


async def run(
    env: ActivityEnvironment,
    body: Callable[[ActivityAttempt[ToolProgress]], Any],
    *,
    may_hand_back: bool = True,
) -> Any:
    async def attempted() -> Any:
        attempt = ActivityAttempt(ToolProgress, own_attempts=OWN, may_hand_back=may_hand_back)
        async with attempt:
            attempt.progress = lambda: ToolProgress(checkpoint="page 7")
            result = body(attempt)
            return await result if asyncio.iscoroutine(result) else result

    return await env.run(attempted)


@pytest.mark.parametrize(
    ("attempt", "handed_back", "left"),
    [
        (1, 0, 3),
        (4, 0, 0),  # the last one
        (5, 0, -1),  # all timed out, without a failure that the worker saw
        (9, 8, 3),  # eight workers shut down
        (54, 50, 0),
    ],
)
async def test_hand_backs_are_not_counted(attempt: int, handed_back: int, left: int) -> None:
    details = [{"handed_back": handed_back}] if handed_back else []
    env, sent = environment(attempt=attempt, heartbeat_details=details)
    assert await run(env, lambda current: current.left) == left
    assert sent == [], "an attempt that succeeds leaves no last heartbeat"


@pytest.mark.parametrize(
    ("details", "previous"),
    [
        ([], ToolProgress()),
        ([{"handed_back": 2, "checkpoint": 5}], ToolProgress(handed_back=2, checkpoint=5)),
        ([{"checkpoint": [1], "unknown": 1}], ToolProgress(checkpoint=[1])),
        (["a tool's own heartbeat"], ToolProgress()),
    ],
)
async def test_the_previous_heartbeat_is_read(details: list[Any], previous: ToolProgress) -> None:
    env, _ = environment(heartbeat_details=details)
    assert await run(env, lambda current: current.previous) == previous


SHUTDOWN = ActivityCancellationDetails(worker_shutdown=True)
CANCELLED = ActivityCancellationDetails(cancel_requested=True)
BOTH = ActivityCancellationDetails(worker_shutdown=True, cancel_requested=True)


@pytest.mark.parametrize(
    ("details", "may_hand_back", "is_handed_back", "by_run"),
    [
        (SHUTDOWN, True, True, False),
        (SHUTDOWN, False, False, False),  # a step with effects
        (CANCELLED, True, False, True),
        (BOTH, True, False, True),  # the cancellation of the run wins
        (ActivityCancellationDetails(timed_out=True), True, False, False),
    ],
)
async def test_only_a_shutdown_hands_a_step_back(
    details: ActivityCancellationDetails,
    may_hand_back: bool,
    is_handed_back: bool,
    by_run: bool,
) -> None:
    env, sent = environment(heartbeat_details=[{"handed_back": 2}])
    seen = []

    async def body(_attempt: ActivityAttempt[ToolProgress]) -> None:
        env.cancel(details)
        try:
            await asyncio.sleep(60)
        finally:
            seen.append(was_cancelled_by_run())

    with pytest.raises((WorkerShutdown, asyncio.CancelledError)) as raised:
        await run(env, body, may_hand_back=may_hand_back)

    if is_handed_back:
        failure = raised.value
        assert isinstance(failure, WorkerShutdown)
        assert (failure.type, failure.non_retryable) == ("WorkerShutdown", False)
        assert failure.next_retry_delay == timedelta(milliseconds=1)
    else:
        assert isinstance(raised.value, asyncio.CancelledError)
    assert sent == [ToolProgress(handed_back=3 if is_handed_back else 2, checkpoint="page 7")]
    assert seen == [by_run]


async def test_a_failure_passes_and_leaves_its_progress_for_the_next_attempt() -> None:
    env, sent = environment(heartbeat_details=[{"handed_back": 1}])

    def body(_attempt: ActivityAttempt[ToolProgress]) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await run(env, body)
    assert sent == [ToolProgress(handed_back=1, checkpoint="page 7")]


async def test_heartbeats_are_sent_in_the_background_until_the_attempt_ends() -> None:
    env, sent = environment(heartbeat_timeout=timedelta(seconds=0.15))

    async def body(_attempt: ActivityAttempt[ToolProgress]) -> None:
        await until(lambda: len(sent) >= 3)

    await run(env, body)
    count = len(sent)
    await asyncio.sleep(0.2)
    assert len(sent) == count
    assert sent[0] == ToolProgress(checkpoint="page 7")


async def test_an_attempt_can_leave_out_its_first_heartbeat() -> None:
    env, sent = environment(heartbeat_timeout=timedelta(seconds=3))

    async def body() -> None:
        async with ActivityAttempt(ToolProgress, own_attempts=3, first_beat=2):
            await asyncio.sleep(1.5)
            assert sent == []
            await until(lambda: len(sent) == 1)

    await env.run(body)


async def test_an_activity_without_a_heartbeat_timeout_sends_none() -> None:
    env, sent = environment()

    async def body(_attempt: ActivityAttempt[ToolProgress]) -> None:
        await asyncio.sleep(0.1)

    await run(env, body)
    assert sent == []


async def test_the_wait_for_a_worker_is_never_negative() -> None:
    later = ActivityEnvironment.default_info().started_time + timedelta(seconds=1)
    env, _ = environment(current_attempt_scheduled_time=later)

    async def waited() -> float:
        return waited_s()

    assert await env.run(waited) == 0
