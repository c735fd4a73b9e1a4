"""Replies: how a program waits for the next answer of a conversation."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import JsonValue
from temporalio.client import WorkflowUpdateFailedError

from outlast.client.waiting import WAITING_STATUSES, Waiting, waiting_entries
from outlast.errors import (
    BadRequest,
    ContinuedAsNew,
    NoAnswer,
    OutlastError,
    RunFailed,
    RunNotFound,
    TooManyWait,
    Unavailable,
)
from outlast.temporal.server_errors import QueryRejected, outlast_errors, type_of

if TYPE_CHECKING:
    from outlast.client.run_connection import RunConnection

REPLY_TIMEOUT = timedelta(minutes=5)
"""The default time that `reply` and `chat` wait for an answer."""

REPLY_RETRY_S = 1.0
"""The time until `reply` tries again if too many callers wait."""

WAITING_INTERVAL_S = 1.0
"""How often `reply` looks at what the run waits for, if it has `on_waiting`."""

LAST_LOOK_S = 3.0
"""How long a `reply` that timed out may take to find out what the run waits for."""


async def wait_for_answer(
    run: "RunConnection",
    *,
    within: timedelta,
    update_id: str | None,
    on_waiting: Callable[[Waiting], None] | None,
) -> JsonValue:
    """Wait until the agent has answered all messages, and return the answer. See `Run.reply`."""
    answering = asyncio.create_task(_answer(run, update_id))
    try:
        async with asyncio.timeout(within.total_seconds()):
            if on_waiting is not None:
                await _notify_until(run, answering, on_waiting)
            return await answering
    except NoAnswer:
        raise
    except TimeoutError:
        raise await _no_answer(run, within) from None
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)


async def _answer(run: "RunConnection", update_id: str | None) -> JsonValue:
    while True:  # repeated if the run continues as new, or too many callers wait
        try:
            with outlast_errors("reply", run.id):
                try:
                    return await run.next_answer(update_id)
                except WorkflowUpdateFailedError as error:
                    if type_of(error) == TooManyWait.__name__:
                        await asyncio.sleep(REPLY_RETRY_S)
                    elif type_of(error) != ContinuedAsNew.__name__:
                        raise
        except RunNotFound:
            return await _last_answer(run)


async def _notify_until(
    run: "RunConnection",
    answering: "asyncio.Task[JsonValue]",
    on_waiting: Callable[[Waiting], None],
) -> None:
    shown: list[Waiting] = []
    while not answering.done():  # bounded by the timeout of the caller
        await asyncio.wait([answering], timeout=WAITING_INTERVAL_S)
        if answering.done():
            return
        try:
            progress = await run.progress()
        except QueryRejected:
            continue
        except Unavailable as error:
            waiting = [Waiting(content=str(error))]
        else:
            # Without a request, it waits for the next message: the answer is on its way.
            has_answered = progress.status in WAITING_STATUSES and not progress.pending
            waiting = [] if has_answered else waiting_entries(progress, run.id)
        for entry in waiting:
            if entry not in shown:
                on_waiting(entry)
        shown = waiting


async def _no_answer(run: "RunConnection", within: timedelta) -> NoAnswer:
    waiting: list[Waiting] = []
    with contextlib.suppress(TimeoutError, OutlastError):
        async with asyncio.timeout(LAST_LOOK_S):
            waiting = await run.waiting(with_steps=True)
    reason = "; ".join(entry.content for entry in waiting) or "the agent is still at work"
    return NoAnswer(
        f"reply: no answer within {within.total_seconds():g} s: {reason}; call reply() again to"
        " continue waiting",
        waiting=waiting,
    )


async def _last_answer(run: "RunConnection") -> JsonValue:
    """Return the output of an ended run; raises `BadRequest` if it has none."""
    try:
        result = await run.result()
    except RunFailed as error:
        raise BadRequest(f"the run has failed: {error.message}") from error
    if result.status != "completed":
        raise BadRequest(f"the run has ended without an answer: {result.stop_reason}")
    return result.output_json
