"""Updates that a worker lost are sent again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

Result = TypeVar("Result")

MAX_UPDATE_ATTEMPTS = 4
"""How often an update is sent that a worker loses each time."""

UPDATE_RETRY_S = 0.25
"""How long to wait before a lost update is sent again: another task then brings it to the worker."""

_UNPROCESSED = "UnprocessedUpdate"
"""The server rejects an update that a worker received and did not process."""


async def execute_update(send: Callable[[], Awaitable[Result]]) -> Result:
    """Send an update, and send it again if the worker lost it.

    The server rejects a lost update: no handler ran, nothing of it is in the history, and its id is free.
    So it can be sent again under the same id. Raises the errors of `send`.
    """
    for _ in range(MAX_UPDATE_ATTEMPTS - 1):
        try:
            return await send()
        except WorkflowUpdateFailedError as error:
            if not is_lost(error):
                raise
            await asyncio.sleep(UPDATE_RETRY_S)
    return await send()


def is_lost(error: WorkflowUpdateFailedError) -> bool:
    """Return whether a worker lost the update: it was not processed."""
    return isinstance(error.cause, ApplicationError) and error.cause.type == _UNPROCESSED
