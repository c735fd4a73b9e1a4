"""`/agui/AGENT`: conversations for chat front ends with AG-UI. A thread is one run.

Each request begins with a snapshot of the messages, which the run keeps, and ends with another one. So a
client that was away has the same messages as the run.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus

from ag_ui.core import (
    Interrupt,
    MessagesSnapshotEvent,
    RunAgentInput,
    RunErrorEvent,
    RunFinishedEvent,
    RunFinishedInterruptOutcome,
    RunFinishedSuccessOutcome,
    RunStartedEvent,
    UserMessage,
)
from ag_ui.core import Message as AguiMessage
from pydantic import JsonValue, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from outlast.client.runs import Run
from outlast.contracts.media import with_labels
from outlast.errors import BadRequest, OutlastError, RunNotFound, Unavailable
from outlast.validation import explain
from outlast_workers.gateway.agui_messages import (
    MessageWriter,
    decision_of,
    interrupt,
    is_known,
    last_user_message,
    may_be_known,
    parts_of,
    snapshot,
    sse_text,
)
from outlast_workers.gateway.answer_cursor import Place
from outlast_workers.gateway.conversations import (
    conversation_key,
    last_message_position,
    message_update_id,
    send_message,
    transcript_of,
)
from outlast_workers.gateway.front import Front
from outlast_workers.gateway.http_messages import BEAT_S, event_stream, read_json
from outlast_workers.gateway.run_events import EventReader
from outlast_workers.gateway.tenant_runs import TenantRuns
from outlast_workers.gateway.token_usage import agui_usage, usage_of

LOOK_S = 0.5
"""Seconds between two looks whether a conversation has answered."""

MAX_LISTED = 1_000
"""Decisions in one request, and parts of a message: an error of each would take seconds to write."""

_UNUSED: dict[str, JsonValue] = {"tools": [], "context": [], "state": {}, "forwardedProps": {}}
"""Fields that the protocol requires, and that have no effect here."""

MAX_LATE_LOOKS = 20
"""Looks after the answer for entries that the stream has not shown. Then the last snapshot shows them."""


class AguiApi:
    """The handler of `/agui`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def routes(self) -> list[Route]:
        """Return the routes of the interface."""
        return [Route("/agui/{agent}", self.run, methods=["POST"])]

    async def run(self, request: Request) -> Response:
        """Send a message or decisions to the run of a thread, and stream what happens then."""
        body = _body(await read_json(request, self._front.media.max_body_bytes))
        runs, agent = self._front.runs(request), request.path_params["agent"]
        run_id = runs.id_of(agent, conversation_key(body.thread_id))
        message: UserMessage | None = None
        since: int | None = None
        if body.resume:
            run = runs.find(run_id)
            since = len(await run.transcript())
            pending = await run.pending_requests()
            decisions = [decision_of(entry, pending) for entry in body.resume]
            for decision in decisions:
                await runs.decide(run, decision)
        elif may_be_known(body) and await self._is_known(runs, run_id, body):
            run = runs.find(run_id)
            await runs.status(run)
        else:
            message = last_user_message(body)
            tenant = runs.principal.tenant
            text = await self._front.media.text_of(parts_of(message), tenant)
            message = message.model_copy(update={"content": with_labels(text)})
            sent = await send_message(
                self._front,
                runs,
                run_id,
                text,
                agent=agent,
                update_id=message_update_id("agui", runs, message.id, text),
            )
            run = sent.run
        return event_stream(self._events(run, body, message, since))

    async def _is_known(self, runs: TenantRuns, run_id: str, body: RunAgentInput) -> bool:
        try:
            # Not empty if its worker is away: the message would then be sent again.
            return is_known(body, await runs.find(run_id).transcript())
        except RunNotFound:
            return False

    async def _events(
        self, run: Run, body: RunAgentInput, message: UserMessage | None, since: int | None
    ) -> AsyncGenerator[str, None]:
        """Yield what a request causes. Its usage begins after the entry `since`, or the last message."""
        yield sse_text(RunStartedEvent(thread_id=body.thread_id, run_id=body.run_id))
        try:
            entries = await transcript_of(run)
            messages = snapshot(entries)
            sent = [each.content for each in messages if isinstance(each, UserMessage)]
            if message is not None and (not sent or sent[-1] != message.content):
                messages.append(message)  # the run reads it with its next turn
            yield sse_text(MessagesSnapshotEvent(messages=list(messages)))
            interrupts: list[Interrupt] = []
            async with aclosing(self._live(run, len(entries), interrupts)) as events:
                async for text in events:
                    yield text
            entries = await run.transcript()
            yield sse_text(MessagesSnapshotEvent(messages=snapshot(entries)))
        except OutlastError as error:
            yield sse_text(RunErrorEvent(message=str(error)))
            return
        outcome = (
            RunFinishedInterruptOutcome(type="interrupt", interrupts=interrupts)
            if interrupts
            else RunFinishedSuccessOutcome(type="success")
        )
        since = last_message_position(entries) if since is None else since
        finished = RunFinishedEvent(
            thread_id=body.thread_id,
            run_id=body.run_id,
            outcome=outcome,
            usage=agui_usage(usage_of(entries[since:])),
        )
        yield sse_text(finished)

    async def _live(
        self, run: Run, since: int, interrupts: list[Interrupt]
    ) -> AsyncGenerator[str, None]:
        """Yield what happens until the run has answered, or waits for people; note its `interrupts`.

        An entry can be in the transcript before the feed of the run has read it.
        """
        answering = asyncio.create_task(run.reply())
        quiet_s, late_looks = 0.0, 0
        writer = MessageWriter()
        try:
            async with aclosing(
                self._front.feeds.follow(run, after=Place(since), beat_s=LOOK_S)
            ) as events:
                async for event in events:
                    if event is None:
                        quiet_s += LOOK_S
                        if answering.done() or await _waits(run, interrupts):
                            if late_looks < MAX_LATE_LOOKS and await run.transcript(since):
                                interrupts.clear()
                                late_looks += 1
                                self._front.feeds.look(run)
                                continue
                            for each in writer.end():
                                yield sse_text(each)
                            return
                        if quiet_s >= BEAT_S:
                            quiet_s = 0.0
                            yield ": waiting\n\n"
                        continue
                    since = max(since, event.position)
                    for each in writer.read(event):
                        yield sse_text(each)
                    if event.type == "text_reset":
                        # A snapshot without the message: the front end forgets its text.
                        yield sse_text(MessagesSnapshotEvent(messages=await _messages(run)))
                    if event.type in {"answer", "run_ended"}:
                        return
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)


async def _waits(run: Run, interrupts: list[Interrupt]) -> bool:
    """Return whether a run waits for people, and note its requests as interrupts."""
    try:
        pending = await run.pending_requests()
    except Unavailable:
        return False
    if not pending:
        return False
    reader = EventReader()
    for entry in await run.transcript():
        list(reader.read(entry))
    interrupts += [interrupt(request, reader.call(request.request_id)) for request in pending]
    return True


async def _messages(run: Run) -> list[AguiMessage]:
    return snapshot(await run.transcript())


def _body(value: dict[str, JsonValue]) -> RunAgentInput:
    """Return the body with its last message. What the gateway does not use is not read: it may be large."""
    messages = value.get("messages")
    last = messages[-1:] if isinstance(messages, list) else messages
    used = {**value, **_UNUSED, "messages": last}
    _check_lists(used)
    if isinstance(last, list) and last and isinstance(last[0], dict):
        _check_lists(last[0])
    try:
        return RunAgentInput.model_validate(used)
    except ValidationError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, explain(error)) from None


def _check_lists(fields: dict[str, JsonValue]) -> None:
    for name, field in fields.items():
        if isinstance(field, list) and len(field) > MAX_LISTED:
            raise BadRequest(f"{name[:40]}: has more than {MAX_LISTED:,} entries")
