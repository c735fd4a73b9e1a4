"""The stream of a run: the entries of its transcript as they appear, and what it waits for."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from outlast.client.pending_steps import QUIET_BEFORE_STEPS_S
from outlast.client.waiting import Waiting
from outlast.contracts.messages import Message
from outlast.errors import BadRequest, RunFailed, Unavailable
from outlast.temporal.server_errors import QueryRejected

if TYPE_CHECKING:
    from outlast.client.run_connection import RunConnection

POLL_INTERVAL = timedelta(milliseconds=300)
"""The shortest time between two queries of `stream`. Temporal Cloud bills each query."""

QUIET_SHARE = 0.1
"""The share of the time without news that `stream` waits before the next query: news is late by no more."""

MAX_POLL_INTERVAL_S = 3.0
"""The longest time between two queries of `stream`, of a run that is quiet for half a minute or more."""

MAX_STREAM_FAILURES = 20
"""Failed queries after a run has ended, before `stream` raises the error: its worker may be away."""

MAX_SERVER_AWAY_S = 300.0
"""How long `stream` waits for a server that does not answer: a restart or a failover takes less."""

AWAY_AFTER_S = 3.0
"""How long queries fail before `stream` says so: a run needs less to start."""

IDLE_POLLS = 3
"""Polls of `stream` without a new entry, from one look at what the run waits for to the next. The first
poll looks, and so do all polls of a quiet run, which are rare."""

RESULT_RETRY_S = 1.0
"""The time until `stream` asks again for the result, if the server did not answer."""


def no_pause() -> float:
    """Return 0: nobody else sees the news of the run."""
    return 0.0


async def stream_entries(
    run: "RunConnection",
    interval: timedelta,
    wake: asyncio.Event,
    pause_s: Callable[[], float] = no_pause,
) -> AsyncGenerator[Message | Waiting, None]:
    """Yield the entries of the transcript as they appear, until the run ends. See `Run.stream`.

    `pause_s` returns for how many more seconds the run is not queried, and is called again after that time.
    A caller that gets the text of an answer knows that no entry follows before its end.
    """
    seen, idle_polls, failures = 0, 1, 0
    failing_since: float | None = None
    news_at, quiet_s, is_slow = time.monotonic(), 0.0, False
    shown: list[Waiting] = []
    ended = asyncio.create_task(_ended(run))
    try:
        while True:  # ends with the run, or after `MAX_STREAM_FAILURES`
            has_ended = ended.done()
            try:
                # What the run waits for is read first: its call is then in the transcript.
                is_due = not has_ended and (idle_polls % IDLE_POLLS == 1 or is_slow)
                waiting = await _waiting(run, quiet_s) if is_due else shown
                messages = await run.new_entries(seen)
                failing_since = None
            except Unavailable as error:
                # The run has not started yet, or its worker is away: query again.
                if has_ended and isinstance(error, QueryRejected):
                    return  # it ended before it was open, and has no transcript
                failures += has_ended
                if failures >= MAX_STREAM_FAILURES:
                    raise
                failing_since = failing_since or time.monotonic()
                is_long = time.monotonic() - failing_since >= AWAY_AFTER_S
                waiting, messages = [Waiting(content=str(error))] if is_long else shown, []
                has_ended = False
            for message in messages:
                seen += 1
                yield message
            for entry in waiting if not has_ended else ():
                if entry not in shown:
                    yield entry
            # A pause, or a wait for a message, is over when a message arrives.
            shown = [entry for entry in waiting if entry.request or not messages]
            if has_ended:
                ended.result()
                return
            idle_polls = 0 if messages else idle_polls + 1
            quiet_s = 0.0 if messages or ended.done() else time.monotonic() - news_at
            wait_s = _wait_s(interval, quiet_s)
            is_slow = wait_s > interval.total_seconds()
            if await _pause(ended, wait_s, wake, pause_s) or messages:
                news_at = time.monotonic()
    finally:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)


async def _ended(run: "RunConnection") -> None:
    """Wait for the end of the run; raises `Unavailable` if the server stays away."""
    loop = asyncio.get_running_loop()
    away_since = 0.0
    while True:  # ends with the run, or after `MAX_SERVER_AWAY_S`
        started = loop.time()
        try:
            await run.result()
        except (RunFailed, BadRequest):
            return
        except Unavailable:
            is_first = not away_since or started - away_since > 2 * MAX_SERVER_AWAY_S
            away_since = started if is_first else away_since
            if loop.time() - away_since > MAX_SERVER_AWAY_S:
                raise
            await asyncio.sleep(RESULT_RETRY_S)
        else:
            return


async def _waiting(run: "RunConnection", quiet_s: float) -> list[Waiting]:
    return await run.waiting(with_steps=quiet_s >= QUIET_BEFORE_STEPS_S)


def _wait_s(interval: timedelta, quiet_s: float) -> float:
    """Return the time until the next query of a run that has been quiet for some seconds."""
    return max(interval.total_seconds(), min(QUIET_SHARE * quiet_s, MAX_POLL_INTERVAL_S))


async def _pause(
    ended: "asyncio.Task[None]", wait_s: float, wake: asyncio.Event, pause_s: Callable[[], float]
) -> bool:
    """Wait for some seconds, for `wake`, or until the run ends; return whether `wake` was set.

    The wait lasts until `pause_s` returns 0. A run that has ended is queried again after the first wait.
    """
    is_woken = await _wait(ended, wait_s, wake)
    while not (is_woken or ended.done()) and (more_s := pause_s()) > 0:
        is_woken = await _wait(ended, more_s, wake)
    return is_woken


async def _wait(ended: "asyncio.Task[None]", wait_s: float, wake: asyncio.Event) -> bool:
    woken = asyncio.create_task(wake.wait())
    awaited = [woken] if ended.done() else [ended, woken]
    try:
        await asyncio.wait(awaited, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        return wake.is_set()
    finally:
        woken.cancel()
        await asyncio.gather(woken, return_exceptions=True)
        wake.clear()
