"""Runs: steered, and watched, over any Temporal client.

Everything crosses as plain JSON, so that the client may have any data converter.
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
"""How often `stream` looks for new entries: each look is a query, which the server bills."""

ANSWERED_WITHIN = timedelta(minutes=5)
"""How long `reply` and `chat` wait for an answer, if nothing is said."""

MAX_UPDATE_BYTES = 1_000_000
"""An update as JSON: workflow tasks fail for one over the server's 2 MB, and are tried again and again."""

ASKED_AGAIN_AFTER_S = 1.0
"""How soon `reply` asks again where too many wait already."""

STREAM_TRIES = 20
"""Looks at a run that has ended and whose worker is away, before `stream` gives up."""

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
        """The first Temporal run of the chain; None on a run that was found by its id."""
        return self._handle.first_execution_run_id

    async def result(self) -> AgentResult:
        """Wait for the end and return the outcome; raises `RunFailed` with the cause in one line."""
        try:
            return AgentResult.model_validate(await self._handle.result())
        except WorkflowFailureError as error:
            raise _run_failed(error, self.id) from error

    async def progress(self) -> Progress:
        """Return what the run does now and what it has used."""
        return Progress.model_validate(await self._handle.query("progress"))

    async def pending_requests(self) -> list[PendingRequest]:
        """Return the questions to people that are not settled."""
        return _PENDING.validate_python(await self._handle.query("pending_requests"))

    async def transcript(self, since: int = 0) -> list[Message]:
        """Return the transcript's entries from `since`."""
        messages: list[Message] = []
        start: int | None = since
        while start is not None:  # each page has an entry more, or is the last
            answer = await self._handle.query("transcript", {"since": start})
            page = TranscriptPage.model_validate(answer)
            messages.extend(page.messages)
            start = page.next
        return messages

    async def stream(self, interval: timedelta = POLL_INTERVAL) -> AsyncIterator[Message]:
        """Yield the transcript's entries as they come, until the run ends.

        Raises `BadRequest` for a run that does not exist, and the server's error if a run has ended and
        no worker answers for its last entries.
        """
        seen = tries = 0
        ended = asyncio.create_task(self._ended())
        try:
            while True:  # ends with the run, and `STREAM_TRIES` later at the most
                over = ended.done()
                try:
                    for message in await self.transcript(seen):
                        seen += 1
                        yield message
                    if over:
                        return
                except (RPCError, WorkflowQueryFailedError) as error:
                    # The run has not begun, or its worker is away: look again.
                    tries += over
                    if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
                        raise BadRequest(f"id: there is no run {self.id!r}") from error
                    if tries >= STREAM_TRIES:
                        raise
                if over:
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
        """Approve a pending call; raises `BadRequest` if it is not pending.

        Given a request rather than its id, no other arguments than its own are approved. A `signer`
        (`outlast.signing.SigningKey`) signs the decision, for an audience that decides by signature, and
        needs the request itself.
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
        """Approve a pending call with other arguments; raises `BadRequest` if its tool takes them not."""
        said: dict[str, JsonValue] = {"by": by, "comment": comment, "arguments": arguments}
        return await self._decide("edit", request, signer=signer, **said)

    async def deny(
        self,
        request: str | PendingRequest,
        *,
        by: str = "",
        comment: str = "",
        signer: Signer | None = None,
    ) -> str:
        """Deny a pending request; the model reads the comment."""
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
        """Answer a question; raises `BadRequest` if the answer is not of the type that is asked for."""
        said: dict[str, JsonValue] = {"by": by, "comment": comment, "answer": answer}
        return await self._decide("answer", request, signer=signer, **said)

    async def decide(self, decision: HumanDecision) -> str:
        """Send a decision as it is; raises `BadRequest` if the run refuses it."""
        return await self._update("decide", **decision.model_dump(mode="json", exclude_unset=True))

    async def _decide(
        self,
        verb: str,
        request: str | PendingRequest,
        *,
        signer: Signer | None,
        **said: JsonValue,
    ) -> str:
        seen = request if isinstance(request, PendingRequest) else None
        hashed: dict[str, JsonValue] = {"arguments_hash": seen.arguments_hash} if seen else {}
        request_id = seen.request_id if seen else str(request)
        decision = validated(
            HumanDecision, {"request_id": request_id, "decision": verb, **hashed, **said}
        )
        if signer is not None:
            if seen is None:
                raise BadRequest(
                    "request: what is signed is the request as it was seen, not its id"
                )
            decision = signer.sign(decision, seen, run_id=self.id)
        return await self.decide(decision)

    async def say(
        self, text: str, *, by: str = "", when: Literal["next_turn", "now"] = "next_turn"
    ) -> str:
        """Add a user message for the next turn; `now` interrupts the model call in flight."""
        return await self._update("say", text=text, by=by, when=when)

    async def reply(self, *, within: timedelta = ANSWERED_WITHIN) -> JsonValue:
        """Wait until the agent has answered all that was said to it, and return the answer.

        Of a run that has ended it is the last one. Raises `TimeoutError` if it takes longer, and it may be
        waited for again; `BadRequest` if the run ends without an answer.
        """
        async with asyncio.timeout(within.total_seconds()):
            while True:  # once more where the run goes on as the next one of its chain
                try:
                    answer: JsonValue = await self._handle.execute_update("reply")
                except WorkflowUpdateFailedError as error:
                    if type_of(error) == TooManyWait.__name__:
                        await asyncio.sleep(ASKED_AGAIN_AFTER_S)
                    elif type_of(error) != ContinuedAsNew.__name__:
                        raise BadRequest(message_of(error)) from error
                except WorkflowUpdateRPCTimeoutOrCancelledError as error:
                    raise cancelled_or_late("reply") from error
                except RPCError as error:
                    if error.status is not RPCStatusCode.NOT_FOUND:
                        raise
                    return await self._last_answer()
                else:
                    return answer

    async def _last_answer(self) -> JsonValue:
        """Return the answer with which a run has ended; raises `BadRequest` for one without."""
        try:
            result = await self.result()
        except RunFailed as error:
            raise BadRequest(f"the run has failed: {error.message}") from error
        except RPCError as error:
            raise self._gone(error) from error
        if result.status != "completed":
            raise BadRequest(f"the run has ended without an answer: {result.stop_reason}")
        return result.output

    async def pause(self, *, by: str = "", reason: str = "") -> str:
        """Stop before the next turn."""
        return await self._update("pause", by=by, reason=reason)

    async def resume(self, *, by: str = "", reason: str = "") -> str:
        """Go on after a pause."""
        return await self._update("resume", by=by, reason=reason)

    async def finish(self, *, by: str = "") -> str:
        """End a conversation after the turn it is in."""
        return await self._update("finish", by=by)

    async def cancel(self) -> None:
        """Ask the run to stop: its result will say `cancelled`."""
        await self._handle.cancel()

    async def _update(self, name: str, **payload: JsonValue) -> str:
        check_size(name, payload)
        try:
            return str(await self._handle.execute_update(name, payload))
        except WorkflowUpdateFailedError as error:
            raise BadRequest(message_of(error)) from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise cancelled_or_late(name) from error
        except RPCError as error:
            raise self._gone(error) from error

    def _gone(self, error: RPCError) -> Exception:
        """Return what to raise for an error of the server: one that says so if there is no such run."""
        if error.status is RPCStatusCode.NOT_FOUND:
            return BadRequest(f"the run {self.id!r} has ended, or does not exist")
        return error


def cancelled_or_late(name: str) -> BaseException:
    """Return what the SDK makes one error of: the cancellation of this task, or else a late server."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return asyncio.CancelledError()
    return TimeoutError(f"{name}: the server did not answer in time")


def type_of(error: WorkflowUpdateFailedError) -> str | None:
    """Return the type of the error that an update failed with."""
    return error.cause.type if isinstance(error.cause, ApplicationError) else None


def check_size(name: str, payload: dict[str, JsonValue]) -> None:
    """Raise `BadRequest` for an update that the server would not take: it would hold the run up."""
    size = len(to_json(payload).encode(errors="replace"))
    if size > MAX_UPDATE_BYTES:
        raise BadRequest(
            f"{name}: {size:,} bytes are too many; {MAX_UPDATE_BYTES:,} are allowed: pass a reference, such"
            " as a path or a URL, that a tool can read"
        )


def message_of(error: WorkflowUpdateFailedError) -> str:
    """Return what an update was refused with, in one line."""
    return error.cause.message if isinstance(error.cause, ApplicationError) else str(error.cause)


def _run_failed(error: WorkflowFailureError, run_id: str) -> RunFailed:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return RunFailed(cause.message, run_id=run_id, cause_type=cause.type or "")
    return RunFailed(str(cause or error), run_id=run_id)
