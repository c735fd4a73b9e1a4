"""Waits for conditions, so that a test does not depend on the speed of a machine."""

import asyncio
from collections.abc import Callable

WITHIN_S = 60
"""What a test waits for comes within this time, also on a busy machine."""


async def until(condition: Callable[[], object], *, within_s: float = WITHIN_S) -> None:
    """Return once the condition holds. Raises `TimeoutError`."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)
