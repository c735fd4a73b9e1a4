"""Runs: their results, progress and transcripts, and the commands that steer them.

All payloads are plain JSON, so the Temporal client can have any data converter.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import timedelta
from typing import Any, Generic, Literal

from pydantic import JsonValue, TypeAdapter
from temporalio.client import WorkflowHandle

from outlast.client.arguments import checked_duration
from outlast.client.gateway import Gateway
from outlast.client.media import ClientMedia, Text
from outlast.client.replies import REPLY_TIMEOUT, wait_for_answer
from outlast.client.run_connection import RunConnection
from outlast.client.streams import POLL_INTERVAL, stream_entries
from outlast.client.text_deltas import AnswerReader, TextDelta, with_text
from outlast.client.waiting import Waiting
from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.contracts.messages import Message
from outlast.contracts.proofs import Signer
from outlast.contracts.results import AgentResult, Answer, Progress
from outlast.errors import BadRequest
from outlast.output_types import parsed_output
from outlast.text.json_text import JsonInput, NestedTooDeep, plain_json
from outlast.validation import validated


class Run(Generic[Answer]):
    """One run of an agent. `Answer` is the type of its output, or JSON if it is not known."""

    def __init__(
        self,
        handle: WorkflowHandle[Any, Any],
        output_type: TypeAdapter[Any] | None = None,
        media: ClientMedia | None = None,
        gateway: Gateway | None = None,
        tenant: str | None = None,
    ) -> None:
        self._connection = RunConnection(handle)
        self._output_type = output_type
        self._media = media
        self._tenant = tenant
        self._gateway = gateway

    @property
    def id(self) -> str:
        """The workflow id."""
        return self._connection.id

    @property
    def first_execution_run_id(self) -> str | None:
        """The id of the first Temporal run of the chain; None for a run from `Client.get`."""
        return self._connection.first_execution_run_id

    def __repr__(self) -> str:
        return f"<outlast.Run {self.id!r}>"

    async def result(self) -> AgentResult[Answer]:
        """Wait for the end of the run, and return its result.

        Raises `RunFailed` with the cause, and `OutputMismatch` if the answer is not a value of the output
        type.
        """
        return (await self._connection.result()).typed(self._output_type)

    async def progress(self) -> Progress:
        """Return what the run does now, and what it has used.

        For a pipeline, `agent` is its name, `doing` has the places of its tasks, and the turns are 0.
        """
        return await self._connection.progress()

    async def pending_requests(self) -> list[PendingRequest]:
        """Return the human requests without an outcome."""
        return await self._connection.pending_requests()

    async def transcript(self, since: int = 0) -> list[Message]:
        """Return the transcript from the entry `since`, counted from 0.

        Raises `BadRequest` for a pipeline: only its agents have transcripts.
        """
        return await self._connection.transcript(since)

    def stream(
        self, interval: timedelta = POLL_INTERVAL, *, wake: asyncio.Event | None = None
    ) -> AsyncGenerator[Message | Waiting | TextDelta, None]:
        """Yield the entries of the transcript as they appear, until the run ends.

        If the client has a gateway, the text of an answer comes before its entry, while a model writes it,
        in entries of the role `text`. Without a gateway there are none.

        An entry of the role `waiting` says what the run waits for, such as the approval of a person. It is
        yielded once, and again when it changes. A pipeline has only such entries. Raises `RunNotFound` if
        the run does not exist, and `Unavailable` if the server stays away, or if no worker answers after
        the end of the run.

        The run is queried at each `interval`, and less often while it is quiet, but every 3 s at least. No
        query is sent while the text of an answer comes. A program that sees the news of the run in another
        way sets `wake`, which `stream` clears: the run is then queried at once.
        """
        checked_duration("interval", interval)
        wake = wake or asyncio.Event()
        if self._gateway is None:
            return stream_entries(self._connection, interval, wake)
        reader = AnswerReader()
        entries = stream_entries(self._connection, interval, wake, reader.pause_s)
        return with_text(reader, entries, self._gateway.texts(self.id), wake)

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
        arguments: Mapping[str, JsonInput],
        *,
        by: str = "",
        comment: str = "",
        signer: Signer | None = None,
    ) -> str:
        """Approve a pending call with other arguments, which must be valid for the tool."""
        fields: dict[str, JsonValue] = {
            "by": by,
            "comment": comment,
            "arguments": _plain(arguments),
        }
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
        answer: JsonInput,
        *,
        by: str = "",
        comment: str = "",
        signer: Signer | None = None,
    ) -> str:
        """Answer a question. Raises `BadRequest` if the answer does not match the type of the question."""
        fields: dict[str, JsonValue] = {"by": by, "comment": comment, "answer": _plain(answer)}
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
        text: Text,
        *,
        by: str = "",
        when: Literal["next_turn", "now"] = "next_turn",
        update_id: str | None = None,
    ) -> str:
        """Add a user message for the next turn. With `now` it interrupts the model call in flight.

        A repeated `update_id` adds the message once. Images and files are stored first, as in
        `Client.start`.
        """
        stored: JsonValue = text if isinstance(text, str) else None
        if stored is None and self._media is not None:
            if self._tenant is None:
                self._tenant = (await self.progress()).tenant
            stored = await self._media.stored(text, self._tenant, "text")
        return await self._update("say", update_id=update_id, text=stored, by=by, when=when)

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
        answer = await wait_for_answer(
            self._connection,
            within=checked_duration("within", within),
            update_id=update_id,
            on_waiting=on_waiting,
        )
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
        await self._connection.cancel()

    async def _update(
        self, name: str, *, update_id: str | None = None, **payload: JsonValue
    ) -> str:
        return await self._connection.update(name, payload, update_id=update_id)


def _plain(value: JsonInput) -> JsonValue:
    try:
        return plain_json(value)
    except NestedTooDeep as error:
        raise BadRequest(str(error)) from None
