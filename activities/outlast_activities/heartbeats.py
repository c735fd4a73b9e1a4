"""Heartbeats while a step works, so that a dead worker is noticed and a cancellation arrives."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from temporalio import activity


def _nothing() -> tuple[Any, ...]:
    return ()


@asynccontextmanager
async def heartbeats(details: Callable[[], tuple[Any, ...]] = _nothing) -> AsyncIterator[None]:
    """Heartbeat in the background, three times in each heartbeat timeout; short steps send none.

    `details` returns what each of them says. The SDK sends on what it must and no more. Nothing happens
    where the step has no heartbeat timeout.
    """
    timeout = activity.info().heartbeat_timeout
    if timeout is None or not timeout:
        yield
        return
    beating = asyncio.create_task(_beat(timeout.total_seconds() / 3, details))
    try:
        yield
    finally:
        beating.cancel()


async def _beat(interval_s: float, details: Callable[[], tuple[Any, ...]]) -> None:
    while True:  # ends with the step, which cancels it
        await asyncio.sleep(interval_s)
        activity.heartbeat(*details())
