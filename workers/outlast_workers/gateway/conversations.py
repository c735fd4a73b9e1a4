"""Conversations of a principal: the message that continues one, and the events until its answer.

A conversation is one run. Its key comes from the client, so the same key names the same run in every
interface.
"""

import hashlib
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from outlast.client.runs import Run
from outlast.client.waiting import WAITING_STATUSES
from outlast.contracts.human import PendingRequest
from outlast.contracts.limits import Limits
from outlast.contracts.messages import Message
from outlast.contracts.requests import MAX_SAY_BYTES
from outlast.errors import BadRequest, RunNotFound, Unavailable
from outlast.temporal.server_errors import outlast_errors
from outlast.text.json_text import to_json
from outlast_workers.gateway.answer_cursor import Place
from outlast_workers.gateway.front import Front
from outlast_workers.gateway.run_events import EventReader, RunEvent
from outlast_workers.gateway.tenant_runs import KEY_PATTERN, TenantRuns

RECEIVED_WITHIN_S = 5.0
"""Seconds that the look for the update of a repeated message may take. One in flight can take longer."""


def conversation_key(identifier: str) -> str:
    """Return the key of a conversation: what the client named, or its hash if it cannot be a key."""
    if re.fullmatch(KEY_PATTERN, identifier):
        return identifier
    return hashlib.sha256(identifier.encode(errors="replace")).hexdigest()[:32]


@dataclass(frozen=True)
class SentMessage:
    """A message that a run has, and whether it had it before: then a client sent it again."""

    run: Run
    text: str
    is_repeated: bool

    def position(self, entries: Sequence[Message]) -> int | None:
        """Return the number of entries up to the message, or None if the run has not read it yet."""
        places = [
            at
            for at, entry in enumerate(entries, 1)
            if entry.role == "user" and entry.content == self.text
        ]
        return places[-1] if places else None

    def begin(self, before: Sequence[Message], entries: Sequence[Message]) -> int:
        """Return the entry with which the message begins: the end of `before`, unless it is repeated.

        `before` was read before the message was sent, and `entries` after it.
        """
        position = self.position(entries) if self.is_repeated else None
        return len(before) if position is None else position - 1

    def answer_start(self, entries: Sequence[Message]) -> int:
        """Return the entry after which the answer to the message begins."""
        position = self.position(entries) if self.is_repeated else None
        return turn_start(entries) if position is None else position


async def send_message(
    front: Front, runs: TenantRuns, run_id: str, text: str, *, agent: str, update_id: str
) -> SentMessage:
    """Send a message, which starts the conversation if there is none. Repeated, it is sent once."""
    if len(text.encode(errors="replace")) > MAX_SAY_BYTES:
        raise BadRequest(f"messages: the last one has more than {MAX_SAY_BYTES:,} bytes")
    is_repeated = await was_received(front, run_id, update_id)
    run = await front.client.send(
        run_id,
        text,
        agent=agent,
        by=runs.principal.name,
        update_id=update_id,
        tenant=runs.principal.tenant,
        limits=Limits(idle_s=front.settings.idle_s),
    )
    return SentMessage(run, text, is_repeated)


def message_update_id(interface: str, runs: TenantRuns, identifier: str, text: str) -> str:
    """Return the id of the update that sends a message: the same one for a repeated message only.

    Ids are those of clients, and some number their messages. So the text and the principal also count: a
    new message under an old id is not lost.
    """
    unique = to_json([runs.principal.name, identifier, text])
    return f"{interface}-{hashlib.sha256(unique.encode(errors='replace')).hexdigest()[:32]}"


async def was_received(front: Front, run_id: str, update_id: str) -> bool:
    """Return whether a run has processed an update with this id. It may have ended since.

    A run that continued as new counts as unknown: its handler knows the ids of the whole chain.
    """
    handle = front.client.temporal.get_workflow_handle(run_id).get_update_handle(update_id)
    with outlast_errors("say", run_id):
        try:
            await handle.result(rpc_timeout=timedelta(seconds=RECEIVED_WITHIN_S))
        except (WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError):
            return False
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
    return True


async def transcript_of(run: Run) -> list[Message]:
    """Return the transcript of a run, which is empty until it begins. Raises `RunNotFound`."""
    try:
        return await run.transcript()
    except RunNotFound:
        raise
    except Unavailable:
        return []


def last_message_position(entries: Sequence[Message]) -> int:
    """Return the number of entries up to the last message of a person."""
    return max((at for at, entry in enumerate(entries, 1) if entry.role == "user"), default=0)


def turn_start(entries: Sequence[Message]) -> int:
    """Return the entry after which an answer begins: the last message, or the end if it is answered."""
    if entries and any(event.type == "answer" for event in EventReader().read(entries[-1])):
        return len(entries)
    return last_message_position(entries)


async def waits_for_message(run: Run) -> bool:
    """Return whether a conversation has answered all messages, and waits for the next one."""
    try:
        progress = await run.progress()
    except Unavailable:
        return False  # its worker is away
    return progress.status in WAITING_STATUSES and not progress.pending


async def pending_of(run: Run) -> list[PendingRequest] | None:
    """Return the open requests of a run, or None if its worker is away."""
    try:
        return await run.pending_requests()
    except Unavailable:
        return None


async def follow_turn(
    front: Front, run: Run, since: int, *, beat_s: float, stops_for_people: bool = True
) -> AsyncGenerator[RunEvent | None, None]:
    """Yield the events after the entry `since`: until the run has answered, ended, or waits for people.

    Without `stops_for_people`, it goes on while people decide. Yields None after each `beat_s` without an
    event, and leaves out requests that are settled already.
    """
    shown: set[str] = set()
    async with aclosing(front.feeds.follow(run, after=Place(since), beat_s=beat_s)) as events:
        async for event in events:
            if event is None:
                yield None
            elif event.type == "waiting":
                if await waits_for_message(run):
                    return
            elif event.type == "request_opened":
                pending = await pending_of(run)
                identifier = _request_id(event)
                open_ids = None if pending is None else {each.request_id for each in pending}
                if open_ids is not None and identifier not in open_ids:
                    continue
                yield event
                shown.add(identifier)
                if stops_for_people and open_ids is not None and open_ids <= shown:
                    return
            else:
                yield event
                is_answer = event.type == "answer"
                if event.type == "run_ended" or (is_answer and await waits_for_message(run)):
                    return


async def answer_events(
    front: Front, run: Run, since: int, *, beat_s: float, stops_for_people: bool = True
) -> AsyncGenerator[RunEvent | None, None]:
    """Yield the events of the answer to the last message, which was sent before `since` was read.

    If nothing comes after the entry `since`, the message was sent again: yields its answer.
    """
    is_empty = True
    turn = follow_turn(front, run, since, beat_s=beat_s, stops_for_people=stops_for_people)
    async with aclosing(turn) as events:
        async for event in events:
            is_empty = is_empty and event is None
            yield event
    if is_empty:
        entries = await run.transcript()
        reader, last = EventReader(), last_message_position(entries)
        for event in (event for entry in entries for event in reader.read(entry)):
            if event.is_news(last):
                yield event


def _request_id(event: RunEvent) -> str:
    request = event.data["request"]
    return str(request["request_id"]) if isinstance(request, dict) else ""
