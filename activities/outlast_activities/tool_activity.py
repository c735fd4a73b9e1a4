"""Tools as activities: each tool is an activity type of its own name, with one JSON argument."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from outlast.checkpoints import RUNNING, Checkpoint
from outlast.contracts.effects import EFFECTFUL
from outlast.contracts.heartbeats import ToolProgress
from outlast.contracts.names import WAITED_HEADER
from outlast.errors import ToolError, TooSlow
from outlast.tools import Tool
from outlast_activities.attempt_protocol import ActivityAttempt, waited_s
from outlast_activities.policies.attempts import TOOL_ATTEMPTS

TIMEOUT_MARGIN_S = 0.5
"""How much earlier than Temporal the worker ends a slow attempt, so that its failure still arrives."""


class ResultCache(Protocol):
    """Keeps tool results for the model call that follows."""

    def keep_result(self, workflow_id: str, run_id: str, call_id: str, content: str) -> None:
        """Keep a result. If it is lost, the next model call queries the workflow for it."""
        ...


def tool_activity(tool: Tool[..., Any], results: ResultCache) -> Callable[..., Any]:
    """Return the activity that runs a tool."""

    async def run_tool(arguments: dict[str, Any]) -> RawValue:
        encoded = await _run_attempt(tool, arguments)
        info = activity.info()
        if info.workflow_id is not None:
            run_id = info.workflow_run_id or ""
            results.keep_result(info.workflow_id, run_id, info.activity_id, encoded.decode())
        metadata = {"encoding": b"json/plain", WAITED_HEADER: f"{waited_s():.3f}".encode()}
        return RawValue(Payload(metadata=metadata, data=encoded))

    return activity.defn(name=tool.name)(run_tool)


async def _run_attempt(tool: Tool[..., Any], arguments: dict[str, Any]) -> bytes:
    """Run a tool, from the checkpoint of the attempt before. Return its encoded result."""
    attempt = ActivityAttempt(
        ToolProgress,
        own_attempts=TOOL_ATTEMPTS[tool.spec.effect],
        may_hand_back=tool.spec.effect not in EFFECTFUL,
    )
    async with attempt:
        if attempt.left < 0:
            raise ToolError(f"{tool.name}: all attempts timed out or lost their workers")
        checkpoint = Checkpoint(attempt.previous.checkpoint)
        attempt.progress = lambda: ToolProgress(checkpoint=checkpoint.value)
        token = RUNNING.set(checkpoint)
        try:
            async with _attempt_timeout(tool, is_last=attempt.left == 0):
                return await tool.invoke(arguments)
        except Exception as error:
            if attempt.left == 0:
                raise _final(error) from error
            raise
        finally:
            RUNNING.reset(token)


@asynccontextmanager
async def _attempt_timeout(tool: Tool[..., Any], *, is_last: bool) -> AsyncIterator[None]:
    """End a slow attempt before Temporal does, because Temporal does not know which one is the last."""
    timeout = activity.info().start_to_close_timeout
    if timeout is None or tool.spec.effect in EFFECTFUL:
        yield
        return
    timeout_s = timeout.total_seconds()
    timer = asyncio.timeout(timeout_s - min(TIMEOUT_MARGIN_S, timeout_s / 10))
    try:
        async with timer:
            yield
    except TimeoutError:
        if not timer.expired():
            raise  # the tool's own
        message = f"{tool.name}: an attempt took too long (at most {timeout_s:g} s)"
        raise (ToolError(message) if is_last else TooSlow(message, retryable=True)) from None


def _final(error: Exception) -> ApplicationError:
    """Return an error that Temporal does not retry."""
    if isinstance(error, ApplicationError):
        return ApplicationError(
            error.message,
            *error.details,
            type=error.type,
            non_retryable=True,
            category=error.category,
        )
    return ApplicationError(str(error), type=type(error).__name__, non_retryable=True)
