"""Tools as activities: each is an activity type of its own name, with one JSON argument."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from pydantic import JsonValue, ValidationError
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from outlast.checkpoints import RUNNING, Checkpoint
from outlast.contracts.base import WireModel
from outlast.contracts.effects import EFFECTFUL
from outlast.contracts.names import WAITED_HEADER
from outlast.errors import ToolError, TooSlow
from outlast.tools import Tool
from outlast_activities.heartbeats import heartbeats
from outlast_activities.policies.attempts import (
    TOOL_ATTEMPTS,
    handed_back,
    is_handed_back,
    own_attempt,
    waited_s,
)

MARGIN_S = 0.5
"""How much sooner an attempt is ended than Temporal would: a failure has to arrive in that time."""


class ToolProgress(WireModel):
    """The heartbeat of a tool call: how far it has come, and how often workers handed it back."""

    handed_back: int = 0
    checkpoint: JsonValue = None


class ResultMemory(Protocol):
    """Keeps tool results near, for the model call that follows."""

    def keep_result(self, workflow_id: str, call_id: str, content: str) -> None:
        """Keep a result; losing it costs a query."""
        ...


def tool_activity(tool: Tool[..., Any], memory: ResultMemory) -> Callable[..., Any]:
    """Return the activity that runs a tool."""

    async def run(arguments: dict[str, Any]) -> RawValue:
        encoded = await _attempted(tool, arguments)
        info = activity.info()
        if info.workflow_id is not None:
            memory.keep_result(info.workflow_id, info.activity_id, encoded.decode())
        metadata = {"encoding": b"json/plain", WAITED_HEADER: f"{waited_s():.3f}".encode()}
        return RawValue(Payload(metadata=metadata, data=encoded))

    return activity.defn(name=tool.name)(run)


async def _attempted(tool: Tool[..., Any], arguments: dict[str, Any]) -> bytes:
    """Run a tool from where the attempt before came to; Temporal counts hand-backs, the tool does not."""
    before = _progress_before()
    checkpoint = Checkpoint(before.checkpoint)
    left = TOOL_ATTEMPTS[tool.spec.effect] - own_attempt(before.handed_back)
    if left < 0:
        raise ToolError(f"{tool.name}: its attempts took too long, or lost their workers")

    def progress(more: int = 0) -> tuple[ToolProgress]:
        handed = before.handed_back + more
        return (ToolProgress(handed_back=handed, checkpoint=checkpoint.value),)

    token = RUNNING.set(checkpoint)
    try:
        async with heartbeats(progress), _in_time(tool, left):
            return await tool.invoke(arguments)
    except BaseException as error:
        if is_handed_back(error) and tool.spec.effect not in EFFECTFUL:
            activity.heartbeat(*progress(1))
            raise handed_back() from None
        activity.heartbeat(*progress())
        if left == 0 and isinstance(error, Exception):
            raise _final(error) from error
        raise
    finally:
        RUNNING.reset(token)


@asynccontextmanager
async def _in_time(tool: Tool[..., Any], left: int) -> AsyncIterator[None]:
    """End an attempt that takes too long before Temporal does, who would not know the last of them."""
    given = activity.info().start_to_close_timeout
    if given is None or tool.spec.effect in EFFECTFUL:
        yield
        return
    given_s = given.total_seconds()
    clock = asyncio.timeout(given_s - min(MARGIN_S, given_s / 10))
    try:
        async with clock:
            yield
    except TimeoutError:
        if not clock.expired():
            raise
        said = f"{tool.name}: an attempt took too long (at most {given_s:g} s)"
        raise (TooSlow(said, retryable=True) if left else ToolError(said)) from None


def _final(error: Exception) -> ApplicationError:
    """Return an error as one that Temporal does not retry."""
    if isinstance(error, ApplicationError):
        said = (error.message, *error.details)
        return ApplicationError(*said, type=error.type, non_retryable=True, category=error.category)
    return ApplicationError(str(error), type=type(error).__name__, non_retryable=True)


def _progress_before() -> ToolProgress:
    details = activity.info().heartbeat_details
    try:
        return ToolProgress.model_validate(details[0]) if details else ToolProgress()
    except ValidationError:
        return ToolProgress()  # a tool that heartbeats by itself
