"""Runs: their results, progress and transcripts, and the commands that steer them.

All payloads are plain JSON, so the Temporal client can have any data converter.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from typing import Any, Generic, Literal

from pydantic import JsonValue, TypeAdapter
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from outlast.client.waiting import WAITING_STATUSES, Waiting, waiting_entries
from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.contracts.messages import Message, TranscriptPage
from outlast.contracts.proofs import Signer
from outlast.contracts.results import AgentResult, Answer, Progress
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
from outlast.output_types import parsed_output
from outlast.temporal.queries import query
from outlast.temporal.server_errors import QueryRejected, outlast_errors, type_of
from outlast.temporal.updates import execute_update
from outlast.validation import check_size, validated

POLL_INTERVAL = timedelta(milliseconds=300)
"""The time between two queries of `stream`. Temporal Cloud bills each query."""

REPLY_TIMEOUT = timedelta(minutes=5)
"""The default time that `reply` and `chat` wait for an answer."""

REPLY_RETRY_S = 1.0
"""The time until `reply` tries again if too many callers wait."""

MAX_STREAM_FAILURES = 20
"""Failed queries after a run has ended, before `stream` raises the error: its worker may be away."""

MAX_SERVER_AWAY_S = 300.0
"""How long `stream` waits for a server that does not answer: a restart or a failover takes less."""

QUERY_TIMEOUT = timedelta(seconds=10)
"""A worker answers a query in milliseconds. It replays a long run in seconds."""

AWAY_AFTER_S = 3.0
"""How long queries fail before `stream` says so: a run needs less to start."""

IDLE_POLLS = 3
"""Polls of `stream` without a new entry, from one look at what the run waits for to the next."""

WAITING_INTERVAL_S = 1.0
"""How often `reply` looks at what the run waits for, if it has `on_waiting`."""

LAST_LOOK_S = 3.0
"""How long a `reply` that timed out may take to find out what the run waits for."""

_PENDING = TypeAdapter(list[PendingRequest])


class Run(Generic[Answer]):
    """One run of an agent. `Answer` is the type of its output, or JSON if it is not known."""

    def __init__(
        self, handle: WorkflowHandle[Any, Any], output_type: TypeAdapter[Any] | None = None
    ) -> None:
        self._handle = handle
        self._output_type = output_type

    @property
    def id(self) -> str:
        """The workflow id."""
        return self._handle.id

    @property
    def first_execution_run_id(self) -> str | None:
        """The id of the first Temporal run of the chain; None for a run from `Client.get`."""
        return self._handle.first_execution_run_id

    def __repr__(self) -> str:
        return f"<outlast.Run {self.id!r}>"

    async def result(self) -> AgentResult[Answer]:
        """Wait for the end of the run, and return its result.

        Raises `RunFailed` with the cause, and `OutputMismatch` if the answer is not a value of the output
        type.
        """
        return (await self._untyped_result()).typed(self._output_type)

    async def _untyped_result(self) -> AgentResult:
        try:
            with outlast_errors("result", self.id):
                return AgentResult.model_validate(await self._handle.result())
        except WorkflowFailureError as error:
            raise _run_failed(error, self.id) from None

    async def progress(self) -> Progress:
        """Return what the run does now, and what it has used."""
        return Progress.model_validate(await self._query("progress"))

    async def pending_requests(self) -> list[PendingRequest]:
        """Return the human requests without an outcome."""
        return _PENDING.validate_python(await self._query("pending_requests"))

    async def transcript(self, since: int = 0) -> list[Message]:
        """Return the transcript from the entry `since`, counted from 0."""
        messages: list[Message] = []
        start: int | None = since
        while start is not None:  # each page has at least one entry, or is the last
            page = TranscriptPage.model_validate(await self._query("transcript", {"since": start}))
            messages.extend(page.messages)
            start = page.next
        return messages

    async def _query(self, name: str, payload: dict[str, JsonValue] | None = None) -> Any:
        arguments = [] if payload is None else [payload]
        with outlast_errors(name, self.id):
            return await query(self._handle, name, arguments, rpc_timeout=QUERY_TIMEOUT)

    async def stream(
        self, interval: timedelta = POLL_INTERVAL
    ) -> AsyncGenerator[Message | Waiting, None]:
        """Yield the entries of the transcript as they appear, until the run ends.

        An entry of the role `waiting` says what the run waits for, such as the approval of a person. It is
        yielded once, and again when it changes. Raises `RunNotFound` if the run does not exist, and
        `Unavailable` if the server stays away, or if no worker answers after the end of the run.
        """
        seen, idle_polls, failures = 0, 0, 0
        failing_since: float | None = None
        shown: list[Waiting] = []
        ended = asyncio.create_task(self._ended())
        try:
            while True:  # ends with the run, or after `MAX_STREAM_FAILURES`
                has_ended = ended.done()
                try:
                    # What the run waits for is read first: its call is then in the transcript.
                    is_due = not has_ended and idle_polls % IDLE_POLLS == 1
                    waiting = await self._waiting() if is_due else shown
                    messages = await self.transcript(seen)
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
                await _pause(ended, interval)
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)

    async def _waiting(self) -> list[Waiting]:
        return waiting_entries(await self.progress(), self.id)

    async def _ended(self) -> None:
        """Wait for the end of the run; raises `Unavailable` if the server stays away."""
        loop = asyncio.get_running_loop()
        away_since = 0.0
        while True:  # ends with the run, or after `MAX_SERVER_AWAY_S`
            started = loop.time()
            try:
                await self._untyped_result()
            except (RunFailed, BadRequest):
                return
            except Unavailable:
                is_first = not away_since or started - away_since > 2 * MAX_SERVER_AWAY_S
                away_since = started if is_first else away_since
                if loop.time() - away_since > MAX_SERVER_AWAY_S:
                    raise
                await asyncio.sleep(REPLY_RETRY_S)
            else:
                return

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

    async def decide(self, decision: HumanDecision, *, update_id: str | None = None) -> str:
        """Send a decision. Raises `BadRequest` if the run rejects it.

        The server answers a repeated `update_id` with the first result, and does not count it again.
        """
        fields = decision.model_dump(mode="json", exclude_unset=True)
        return await self._update("decide", update_id=update_id, **fields)

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
        self,
        text: str,
        *,
        by: str = "",
        when: Literal["next_turn", "now"] = "next_turn",
        update_id: str | None = None,
    ) -> str:
        """Add a user message for the next turn. With `now` it interrupts the model call in flight.

        A repeated `update_id` adds the message once.
        """
        return await self._update("say", update_id=update_id, text=text, by=by, when=when)

    async def reply(
        self,
        *,
        within: timedelta = REPLY_TIMEOUT,
        update_id: str | None = None,
        on_waiting: Callable[[Waiting], None] | None = None,
    ) -> Answer:
        """Wait until the agent has answered all messages, and return the answer.

        If the run has ended, the answer is its output. Raises `NoAnswer` after `within`, with what the run
        waits for; call it again to continue waiting. A repeated `update_id` continues the same wait.
        `on_waiting` is called when the run waits for something, such as the approval of a person, and may
        raise an error to stop waiting. Raises `BadRequest` if the run ends without an answer.
        """
        answering = asyncio.create_task(self._reply(update_id))
        try:
            async with asyncio.timeout(within.total_seconds()):
                if on_waiting is not None:
                    await self._notify_until(answering, on_waiting)
                return self._typed(await answering)
        except NoAnswer:
            raise
        except TimeoutError:
            raise await self._no_answer(within) from None
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    async def _reply(self, update_id: str | None) -> JsonValue:
        while True:  # repeated if the run continues as new, or too many callers wait
            try:
                with outlast_errors("reply", self.id):
                    try:
                        return await execute_update(
                            lambda: self._handle.execute_update("reply", id=update_id)
                        )
                    except WorkflowUpdateFailedError as error:
                        if type_of(error) == TooManyWait.__name__:
                            await asyncio.sleep(REPLY_RETRY_S)
                        elif type_of(error) != ContinuedAsNew.__name__:
                            raise
            except RunNotFound:
                return await self._last_answer()

    async def _notify_until(
        self, answering: "asyncio.Task[JsonValue]", on_waiting: Callable[[Waiting], None]
    ) -> None:
        shown: list[Waiting] = []
        while not answering.done():  # bounded by the timeout of the caller
            await asyncio.wait([answering], timeout=WAITING_INTERVAL_S)
            if answering.done():
                return
            try:
                progress = await self.progress()
            except QueryRejected:
                continue
            except Unavailable as error:
                waiting = [Waiting(content=str(error))]
            else:
                # Without a request, it waits for the next message: the answer is on its way.
                has_answered = progress.status in WAITING_STATUSES and not progress.pending
                waiting = [] if has_answered else waiting_entries(progress, self.id)
            for entry in waiting:
                if entry not in shown:
                    on_waiting(entry)
            shown = waiting

    async def _no_answer(self, within: timedelta) -> NoAnswer:
        waiting: list[Waiting] = []
        with contextlib.suppress(TimeoutError, OutlastError):
            async with asyncio.timeout(LAST_LOOK_S):
                waiting = await self._waiting()
        reason = "; ".join(entry.content for entry in waiting) or "the agent is still at work"
        return NoAnswer(
            f"reply: no answer within {within.total_seconds():g} s: {reason}; call reply() again to"
            " continue waiting",
            waiting=waiting,
        )

    async def _last_answer(self) -> JsonValue:
        """Return the output of an ended run; raises `BadRequest` if it has none."""
        try:
            result = await self._untyped_result()
        except RunFailed as error:
            raise BadRequest(f"the run has failed: {error.message}") from error
        if result.status != "completed":
            raise BadRequest(f"the run has ended without an answer: {result.stop_reason}")
        return result.output_json

    def _typed(self, answer: JsonValue) -> Answer:
        output_type = self._output_type
        typed: Any = answer if output_type is None else parsed_output(output_type, answer)
        return typed  # type: ignore[no-any-return]

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
        with outlast_errors("cancel", self.id):
            await self._handle.cancel()

    async def _update(
        self, name: str, *, update_id: str | None = None, **payload: JsonValue
    ) -> str:
        check_size(name, payload)
        with outlast_errors(name, self.id):
            return str(
                await execute_update(
                    lambda: self._handle.execute_update(name, payload, id=update_id)
                )
            )


async def _pause(ended: "asyncio.Task[None]", interval: timedelta) -> None:
    """Wait for the interval, or until the run ends; an ended run is queried at the interval, too."""
    if ended.done():
        await asyncio.sleep(interval.total_seconds())
    else:
        await asyncio.wait([ended], timeout=interval.total_seconds())


def _run_failed(error: WorkflowFailureError, run_id: str) -> RunFailed:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return RunFailed(cause.message, run_id=run_id, cause_type=cause.type or "")
    return RunFailed(str(cause or error), run_id=run_id)
