"""Tools as activities: each tool is an activity type of its own name, with one JSON argument."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from outlast.agents.tool_context import CallState, ToolContext
from outlast.agents.tools import Tool
from outlast.contracts.effects import EFFECTFUL, NOT_BEGUN
from outlast.contracts.heartbeats import ToolProgress
from outlast.contracts.names import WAITED_HEADER, WORKFLOWS
from outlast.errors import (
    ConnectionLost,
    ToolError,
    ToolFailed,
    TooSlow,
    WorkerShutdown,
)
from outlast.temporal.call_headers import (
    CALL_HOOKS,
    CALL_INPUT,
    CALL_KEY,
    CALL_TENANT,
    INPUT_METADATA,
    root_call_id,
)
from outlast.temporal.call_proof import CALL_PROOF
from outlast.text.error_text import error_text
from outlast.text.json_text import from_json
from outlast.text.texts import toml_key
from outlast_activities.attempt_protocol import ActivityAttempt, waited_s
from outlast_activities.hook_calls import HookCalls
from outlast_activities.local_calls import check_local
from outlast_activities.policies.attempts import TOOL_ATTEMPTS
from outlast_activities.policies.call_proofs import Keys, needs_proof, refusal_of_call
from outlast_activities.telemetry.spans import ActivitySpans
from outlast_activities.tool_guard import ToolGuard
from outlast_activities.tool_media import ToolMedia
from outlast_activities.tool_runner import ToolRunner

TIMEOUT_MARGIN_S = 0.5
"""How much earlier than Temporal the worker ends a slow attempt, so that its failure still arrives."""


HOOKS_MARGIN_S = 2 * TIMEOUT_MARGIN_S
"""How much earlier the hooks of a call must have ended, so that the failure names them."""


class ResultCache(Protocol):
    """Keeps tool results for the model call that follows."""

    def keep_result(self, workflow_id: str, run_id: str, call_id: str, content: str) -> None:
        """Keep a result. If it is lost, the next model call queries the workflow for it."""
        ...


def tool_activity(
    tool: Tool[Any, ..., Any],
    results: ResultCache,
    runner: ToolRunner,
    keys: Keys,
    spans: ActivitySpans | None = None,
    media: ToolMedia | None = None,
    hooks: HookCalls | None = None,
) -> Callable[..., Any]:
    """Return the activity that runs a tool. `keys` verify calls that people must sign."""
    spans = spans or ActivitySpans()
    media = media or ToolMedia(None)
    guard = ToolGuard(tool, hooks or HookCalls())

    async def run_tool(arguments: RawValue) -> RawValue:
        _check_caller(tool, arguments.payload.data, keys)
        CALL_INPUT.set(arguments.payload.metadata.get(INPUT_METADATA, b"").decode())
        guard.check(CALL_HOOKS.get())
        await check_local()
        spans.metrics.record_queue_wait()
        with spans.tool(tool.name, arguments.payload.data) as span:
            encoded = await _run_attempt(tool, arguments.payload.data, runner, media, guard)
            span.complete(encoded)
        info = activity.info()
        if info.workflow_id is not None:
            run_id = info.workflow_run_id or ""
            results.keep_result(info.workflow_id, run_id, info.activity_id, encoded.decode())
        metadata = {"encoding": b"json/plain"}
        if not info.is_local:
            metadata[WAITED_HEADER] = f"{waited_s():.3f}".encode()
        return RawValue(Payload(metadata=metadata, data=encoded))

    return activity.defn(name=tool.name)(run_tool)


async def _run_attempt(
    tool: Tool[Any, ..., Any],
    arguments: bytes,
    runner: ToolRunner,
    media: ToolMedia,
    guard: ToolGuard,
) -> bytes:
    """Run a tool, from the checkpoint of the attempt before. Return its encoded result."""
    attempt = ActivityAttempt(
        ToolProgress,
        own_attempts=TOOL_ATTEMPTS[tool.spec.effect],
        may_hand_back=tool.spec.effect not in EFFECTFUL,
    )
    async with attempt:
        if attempt.left < 0:
            lost = f"{tool.name}: all attempts timed out, were paused or lost their workers"
            # Of an effect, nobody knows whether it happened: the run finds out before the model reads it.
            raise ConnectionLost(lost) if tool.spec.must_end else ToolError(lost)
        state = CallState(attempt.previous.checkpoint, attempt.lease)
        attempt.progress = lambda: ToolProgress(checkpoint=state.checkpoint)
        context, ends_at = _context(attempt.number, state), _end_of_hooks()
        try:
            async with _attempt_timeout(tool, runner, is_last=attempt.left == 0):
                arguments = await _guarded(tool, guard, arguments, context, ends_at)
                return await media.run(
                    tool,
                    arguments,
                    context.tenant,
                    lambda: guard.result(
                        arguments, context, runner.run(tool, arguments, context), ends_at=ends_at
                    ),
                )
        except ApplicationError as error:
            if attempt.left == 0:
                raise _final(error) from error.__cause__
            raise


async def _guarded(
    tool: Tool[Any, ..., Any],
    guard: ToolGuard,
    arguments: bytes,
    context: ToolContext,
    ends_at: float | None,
) -> bytes:
    """Return the arguments after the hooks. An interruption says that nothing happened yet."""
    try:
        return await guard.arguments(arguments, context, ends_at=ends_at)
    except asyncio.CancelledError:
        if tool.spec.effect not in EFFECTFUL:
            raise
        raise WorkerShutdown(f"{tool.name}: the call had not begun", NOT_BEGUN) from None


def _context(attempt: int, state: CallState) -> ToolContext:
    info = activity.info()
    call_id = info.activity_id
    turn = root_call_id(call_id).partition(".")[0]
    return ToolContext(
        workflow_id=info.workflow_id or "",
        workflow_run_id=info.workflow_run_id or "",
        tenant=CALL_TENANT.get() or "default",
        turn=int(turn) if turn.isdecimal() else 0,
        call_id=call_id,
        attempt=attempt,
        idempotency_key=CALL_KEY.get() or _key_without_header(info),
        state=state,
    )


def _key_without_header(info: activity.Info) -> str:
    """Return the idempotency key of a call by a run of an older build."""
    proof = CALL_PROOF.get()
    run_id = info.workflow_run_id if proof is None or not proof.nonce else proof.nonce
    return f"{info.workflow_id}/{run_id}/{root_call_id(info.activity_id)}"


def _check_caller(tool: Tool[Any, ..., Any], data: bytes, keys: Keys) -> None:
    """Raise `ToolError` unless a run makes the call, with the signed votes that it needs."""
    info = activity.info()
    caller = info.workflow_type
    if caller not in WORKFLOWS:
        raise ToolError(
            f"{tool.name}: only {' or '.join(WORKFLOWS)} may call a tool, "
            f"not {'the workflow ' + repr(caller) if caller else 'a client'}: start a run"
        )
    approval = tool.spec.approval
    if approval is None:
        return
    try:
        arguments = from_json(data)
    except ValueError as error:
        raise ToolError(f"{tool.name}: the arguments are not JSON: {error_text(error)}") from None
    if not isinstance(arguments, dict):
        raise ToolError(f"{tool.name}: the arguments are not a JSON object")
    if not needs_proof(tool.spec, arguments, keys):
        return
    for audience in approval.audiences:
        if not keys.get(audience):
            raise ToolFailed(
                f"{tool.name}: the worker of this tool has no keys of {audience!r}: set "
                f"audiences.{toml_key(audience)}.keys in its settings"
            )
    refusal = refusal_of_call(
        approval,
        arguments,
        CALL_PROOF.get(),
        run_id=info.workflow_id or "",
        call_id=info.activity_id,
        keys=keys,
    )
    if refusal is not None:
        raise ToolError(f"{tool.name}: {refusal}")


def _end_of_hooks() -> float | None:
    """Return when the hooks of an attempt that begins now must have ended, in the time of the event loop.

    A local call has no such end: after its short attempt, it runs again as an ordinary activity.
    """
    info = activity.info()
    if info.is_local or info.start_to_close_timeout is None:
        return None
    timeout_s = info.start_to_close_timeout.total_seconds()
    return asyncio.get_running_loop().time() + timeout_s - min(HOOKS_MARGIN_S, timeout_s / 5)


@asynccontextmanager
async def _attempt_timeout(
    tool: Tool[Any, ..., Any], runner: ToolRunner, *, is_last: bool
) -> AsyncIterator[None]:
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
        blocked = runner.blocked_text()
        reason = f"; {blocked}" if blocked else ""
        message = f"{tool.name}: an attempt took too long (at most {timeout_s:g} s){reason}"
        raise (ToolError(message) if is_last else TooSlow(message, retryable=True)) from None


def _final(error: ApplicationError) -> ApplicationError:
    """Return an error that Temporal does not retry."""
    return ApplicationError(
        error.message,
        *error.details,
        type=error.type,
        non_retryable=True,
        category=error.category,
    ).with_traceback(error.__traceback__)
