"""Runs: their results, progress and transcripts, and the commands that steer them.

All payloads are plain JSON, so the Temporal client can have any data converter.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Literal

from pydantic import JsonValue, TypeAdapter
from temporalio.client import (
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.contracts.messages import Message, TranscriptPage
from outlast.contracts.proofs import Signer
from outlast.contracts.results import AgentResult, Progress
from outlast.errors import BadRequest, ContinuedAsNew, RunFailed, TooManyWait
from outlast.json_text import to_json
from outlast.validation import validated

POLL_INTERVAL = timedelta(milliseconds=300)
"""The time between two queries of `stream`. Temporal Cloud bills each query."""

REPLY_TIMEOUT = timedelta(minutes=5)
"""The default time that `reply` and `chat` wait for an answer."""

MAX_UPDATE_BYTES = 1_000_000
"""An update as JSON. Above the server's limit of 2 MB, the workflow task would fail and be retried."""

REPLY_RETRY_S = 1.0
"""The time until `reply` tries again if too many callers wait."""

MAX_STREAM_FAILURES = 20
"""Failed queries after a run has ended, before `stream` raises the error: its worker may be away."""

_PENDING = TypeAdapter(list[PendingRequest])


class Run:
    """One run of an agent."""

    def __init__(self, handle: WorkflowHandle[Any, Any]) -> None:
        self._handle = handle

    @property
    def id(self) -> str:
        """The workflow id."""
        return self._handle.id

    @property
    def first_execution_run_id(self) -> str | None:
        """The id of the first Temporal run of the chain; None for a run from `Client.get`."""
        return self._handle.first_execution_run_id

    async def result(self) -> AgentResult:
        """Wait for the end of the run, and return its result. Raises `RunFailed` with the cause."""
        try:
            return AgentResult.model_validate(await self._handle.result())
        except WorkflowFailureError as error:
            raise _run_failed(error, self.id) from error

    async def progress(self) -> Progress:
        """Return what the run does now, and what it has used."""
        return Progress.model_validate(await self._handle.query("progress"))

    async def pending_requests(self) -> list[PendingRequest]:
        """Return the human requests without an outcome."""
        return _PENDING.validate_python(await self._handle.query("pending_requests"))

    async def transcript(self, since: int = 0) -> list[Message]:
        """Return the transcript from the entry `since`, counted from 0."""
        messages: list[Message] = []
        start: int | None = since
        while start is not None:  # each page has at least one entry, or is the last
            answer = await self._handle.query("transcript", {"since": start})
            page = TranscriptPage.model_validate(answer)
            messages.extend(page.messages)
            start = page.next
        return messages

    async def stream(self, interval: timedelta = POLL_INTERVAL) -> AsyncIterator[Message]:
        """Yield the entries of the transcript as they appear, until the run ends.

        Raises `BadRequest` if the run does not exist. Raises the error of the server if the run has ended
        and no worker answers the query for its last entries.
        """
        seen = failures = 0
        ended = asyncio.create_task(self._ended())
        try:
            while True:  # ends with the run, or after `MAX_STREAM_FAILURES`
                has_ended = ended.done()
                try:
                    for message in await self.transcript(seen):
                        seen += 1
                        yield message
                    if has_ended:
                        return
                except (RPCError, WorkflowQueryFailedError) as error:
                    # The run has not started yet, or its worker is away: query again.
                    failures += has_ended
                    if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
                        raise BadRequest(f"id: there is no run {self.id!r}") from error
                    if failures >= MAX_STREAM_FAILURES:
                        raise
                if has_ended:
                    await asyncio.sleep(interval.total_seconds())
                else:
                    await asyncio.wait([ended], timeout=interval.total_seconds())
        finally:
            ended.cancel()

    async def _ended(self) -> None:
        await asyncio.gather(self._handle.result(), return_exceptions=True)

    async def approve(
        self,
        request: str | PendingRequest,
        *,
        by: str = "",
        comment: str = "",
        signer: Signer | None = None,
    ) -> str:
        """Approve a pending call. Raises `BadRequest` if the run rejects the decision.

        With a `PendingRequest` instead of its id, the approval is valid only for its arguments. A `signer`
        (`outlast.signing.SigningKey`) signs the decision, and needs the `PendingRequest`.
        """
        return await self._decide("approve", request, signer=signer, by=by, comment=comment)

    async def edit(
        self,
        request: str | PendingRequest,
        arguments: dict[str, JsonValue],
        *,
        by: str = "",
        comment: str = "",
        signer: Signer | None = None,
    ) -> str:
        """Approve a pending call with other arguments, which must be valid for the tool."""
        fields: dict[str, JsonValue] = {"by": by, "comment": comment, "arguments": arguments}
        return await self._decide("edit", request, signer=signer, **fields)

    async def deny(
        self,
        request: str | PendingRequest,
        *,
        by: str = "",
        comment: str = "",
        signer: Signer | None = None,
    ) -> str:
        """Deny a pending call, or decline a question. The model reads the comment."""
        return await self._decide("deny", request, signer=signer, by=by, comment=comment)

    async def answer(
        self,
        request: str | PendingRequest,
        answer: JsonValue,
        *,
        by: str = "",
        comment: str = "",
        signer: Signer | None = None,
    ) -> str:
        """Answer a question. Raises `BadRequest` if the answer does not match the type of the question."""
        fields: dict[str, JsonValue] = {"by": by, "comment": comment, "answer": answer}
        return await self._decide("answer", request, signer=signer, **fields)

    async def decide(self, decision: HumanDecision) -> str:
        """Send a decision. Raises `BadRequest` if the run rejects it."""
        return await self._update("decide", **decision.model_dump(mode="json", exclude_unset=True))

    async def _decide(
        self,
        verb: str,
        request: str | PendingRequest,
        *,
        signer: Signer | None,
        **fields: JsonValue,
    ) -> str:
        seen = request if isinstance(request, PendingRequest) else None
        hashed: dict[str, JsonValue] = {"arguments_hash": seen.arguments_hash} if seen else {}
        request_id = seen.request_id if seen else str(request)
        decision = validated(
            HumanDecision, {"request_id": request_id, "decision": verb, **hashed, **fields}
        )
        if signer is not None:
            if seen is None:
                raise BadRequest("request: a signature needs the PendingRequest, not only its id")
            decision = signer.sign(decision, seen, run_id=self.id)
        return await self.decide(decision)

    async def say(
        self, text: str, *, by: str = "", when: Literal["next_turn", "now"] = "next_turn"
    ) -> str:
        """Add a user message for the next turn. With `now` it interrupts the model call in flight."""
        return await self._update("say", text=text, by=by, when=when)

    async def reply(self, *, within: timedelta = REPLY_TIMEOUT) -> JsonValue:
        """Wait until the agent has answered all messages, and return the answer.

        If the run has ended, the answer is its output. Raises `TimeoutError` after `within`; call it again
        to continue waiting. Raises `BadRequest` if the run ends without an answer.
        """
        async with asyncio.timeout(within.total_seconds()):
            while True:  # repeated if the run continues as new, or too many callers wait
                try:
                    answer: JsonValue = await self._handle.execute_update("reply")
                except WorkflowUpdateFailedError as error:
                    if type_of(error) == TooManyWait.__name__:
                        await asyncio.sleep(REPLY_RETRY_S)
                    elif type_of(error) != ContinuedAsNew.__name__:
                        raise BadRequest(message_of(error)) from error
                except WorkflowUpdateRPCTimeoutOrCancelledError as error:
                    raise cancellation_or_timeout("reply") from error
                except RPCError as error:
                    if error.status is not RPCStatusCode.NOT_FOUND:
                        raise
                    return await self._last_answer()
                else:
                    return answer

    async def _last_answer(self) -> JsonValue:
        """Return the output of an ended run; raises `BadRequest` if it has none."""
        try:
            result = await self.result()
        except RunFailed as error:
            raise BadRequest(f"the run has failed: {error.message}") from error
        except RPCError as error:
            raise self._not_running(error) from error
        if result.status != "completed":
            raise BadRequest(f"the run has ended without an answer: {result.stop_reason}")
        return result.output

    async def pause(self, *, by: str = "", reason: str = "") -> str:
        """Pause the run before its next turn."""
        return await self._update("pause", by=by, reason=reason)

    async def resume(self, *, by: str = "", reason: str = "") -> str:
        """Continue a paused run."""
        return await self._update("resume", by=by, reason=reason)

    async def finish(self, *, by: str = "") -> str:
        """End a conversation after its current turn."""
        return await self._update("finish", by=by)

    async def cancel(self) -> None:
        """Cancel the run. Its result has the status `stopped` and the stop reason `cancelled`."""
        await self._handle.cancel()

    async def _update(self, name: str, **payload: JsonValue) -> str:
        check_size(name, payload)
        try:
            return str(await self._handle.execute_update(name, payload))
        except WorkflowUpdateFailedError as error:
            raise BadRequest(message_of(error)) from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise cancellation_or_timeout(name) from error
        except RPCError as error:
            raise self._not_running(error) from error

    def _not_running(self, error: RPCError) -> Exception:
        """Return the error to raise: `BadRequest` if the server does not find a running run."""
        if error.status is RPCStatusCode.NOT_FOUND:
            return BadRequest(f"the run {self.id!r} has ended, or does not exist")
        return error


def cancellation_or_timeout(name: str) -> BaseException:
    """Tell two causes of one SDK error apart: this task was cancelled, or the server timed out."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return asyncio.CancelledError()
    return TimeoutError(f"{name}: the server did not answer in time")


def type_of(error: WorkflowUpdateFailedError) -> str | None:
    """Return the failure type of a rejected update."""
    return error.cause.type if isinstance(error.cause, ApplicationError) else None


def check_size(name: str, payload: dict[str, JsonValue]) -> None:
    """Raise `BadRequest` for an update that is too large: it would block the run."""
    size = len(to_json(payload).encode(errors="replace"))
    if size > MAX_UPDATE_BYTES:
        raise BadRequest(
            f"{name}: {size:,} bytes are too many; {MAX_UPDATE_BYTES:,} are allowed: pass a reference, such"
            " as a path or a URL, that a tool can read"
        )


def message_of(error: WorkflowUpdateFailedError) -> str:
    """Return the reason of a rejected update."""
    return error.cause.message if isinstance(error.cause, ApplicationError) else str(error.cause)


def _run_failed(error: WorkflowFailureError, run_id: str) -> RunFailed:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return RunFailed(cause.message, run_id=run_id, cause_type=cause.type or "")
    return RunFailed(str(cause or error), run_id=run_id)
