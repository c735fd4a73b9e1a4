"""`/v1`: agents for clients of OpenAI's Responses API. The `model` is the name of an agent.

Each conversation is one run. `previous_response_id` continues it, also to approve a call
(`mcp_approval_response`) or to answer a question (`function_call_output`). With `background`, a client may
leave, and `retrieve` the response later.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from temporalio.client import WorkflowExecutionStatus

from outlast.client.runs import Run
from outlast.client.waiting import Waiting, waiting_entries
from outlast.contracts.human import HumanDecision
from outlast.contracts.limits import Limits
from outlast.contracts.messages import Message
from outlast.errors import BadRequest, NoAnswer, OutlastError, RunFailed, Unavailable
from outlast_workers.gateway.conversations import (
    SentMessage,
    follow_turn,
    message_update_id,
    was_received,
)
from outlast_workers.gateway.front import Front
from outlast_workers.gateway.http_messages import BEAT_S, event_stream, read_json, sse
from outlast_workers.gateway.response_ids import read_response_id, response_id
from outlast_workers.gateway.response_input import ResponseBody, UserInput, read_body, user_input
from outlast_workers.gateway.response_items import ResponseBuilder
from outlast_workers.gateway.run_events import EventReader, RunEvent
from outlast_workers.gateway.tenant_runs import TenantRuns
from outlast_workers.web import JsonLine

ANSWER_WITHIN_S = 600.0
"""Seconds that a response without `background` may take. OpenAI's clients wait as long by default."""


class ResponsesApi:
    """The handlers of `/v1`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def routes(self) -> list[Route]:
        """Return the routes of the interface."""
        return [
            Route("/v1/models", self.models),
            Route("/v1/responses", self.create, methods=["POST"]),
            Route("/v1/responses/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/v1/responses/{id}", self.retrieve),
        ]

    async def models(self, _: Request) -> Response:
        """List the agents as models."""
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "outlast"}
            for name in self._front.agents
        ]
        return JsonLine({"object": "list", "data": data})

    async def create(self, request: Request) -> Response:
        """Start a run or continue one, and return the response, its events, or its id."""
        body = read_body(await read_json(request, self._front.media.max_body_bytes))
        sent = user_input(body)
        runs = self._front.runs(request)
        key = request.headers.get("idempotency-key")
        if body.previous_response_id is None:
            run, since = await self._start(runs, body, sent, key), 0
        else:
            run, since = await self._continue(runs, body.previous_response_id, sent, key)
        builder = ResponseBuilder(
            response_id(run.id, since),
            body.model,
            background=bool(body.background),
            previous_id=body.previous_response_id,
            metadata=body.metadata or {},
        )
        if body.stream:
            return event_stream(self._events(run, since, builder))
        if not body.background:
            await self._complete(run, since, builder)
        return JsonLine(builder.response())

    async def retrieve(self, request: Request) -> Response:
        """Return a response as it is now, or its events after `starting_after`."""
        run, since = self._find(request)
        builder = ResponseBuilder(request.path_params["id"], _agent_of(run), background=True)
        if request.query_params.get("stream") == "true":
            after = request.query_params.get("starting_after", "-1")
            if after != "-1" and (not after.isdecimal() or len(after) > 15):
                raise BadRequest(f"starting_after: {after[:20]!r} must be a sequence number")
            await self._front.runs(request).status(run)
            builder.after = int(after)
            return event_stream(self._events(run, since, builder))
        is_running = await self._front.runs(request).status(run) is WorkflowExecutionStatus.RUNNING
        await self._snapshot(run, since, builder, is_running=is_running)
        return JsonLine(builder.response())

    async def cancel(self, request: Request) -> Response:
        """Cancel the run of a response."""
        run, since = self._find(request)
        await run.cancel()
        builder = ResponseBuilder(response_id(run.id, since), _agent_of(run), background=True)
        builder.status = "cancelled"
        return JsonLine(builder.response())

    async def _start(
        self, runs: TenantRuns, body: ResponseBody, sent: UserInput, key: str | None
    ) -> Run:
        if sent.decisions or not sent.parts:
            raise BadRequest("input: a new conversation begins with a message of the user")
        return await runs.start(
            body.model,
            await self._text(runs, sent),
            key=None if not key else hashlib.sha256(key.encode()).hexdigest()[:32],
            mode="conversation",
            limits=Limits(idle_s=self._front.settings.idle_s),
        )

    async def _continue(
        self, runs: TenantRuns, previous: str, sent: UserInput, key: str | None
    ) -> tuple[Run, int]:
        """Send what continues a conversation, and return the entry at which its response begins.

        Clients repeat a call without a key, too. So an equal message after the same response is sent once.
        """
        run = runs.find(read_response_id(previous)[0])
        text = await self._text(runs, sent)
        if not text and not sent.decisions:
            raise BadRequest("input: is empty; send a message or a decision")
        before = await run.transcript()
        for decision in sent.decisions:
            await runs.decide(run, decision)
        since = _decided_at(before, sent.decisions)
        if not text:
            return run, since
        update_id = message_update_id("responses", runs, key or previous, text)
        is_repeated = await was_received(self._front, run.id, update_id)
        await run.say(text, by=runs.principal.name, update_id=update_id)
        if is_repeated and not sent.decisions:
            message = SentMessage(run, text, is_repeated)
            since = message.begin(before, await run.transcript())
        return run, since

    async def _text(self, runs: TenantRuns, sent: UserInput) -> str:
        return await self._front.media.text_of(sent.parts, runs.principal.tenant)

    def _find(self, request: Request) -> tuple[Run, int]:
        run_id, since = read_response_id(request.path_params["id"])
        return self._front.runs(request).find(run_id), since

    async def _complete(self, run: Run, since: int, builder: ResponseBuilder) -> None:
        """Read the events of a run until the response has ended."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                async for event in self._until_over(run, since, builder):
                    if event is not None:
                        list(builder.read(event))
                list(builder.end())
        except TimeoutError:
            raise NoAnswer(
                f"no answer within {ANSWER_WITHIN_S:g} s: retrieve {builder.id!r} later"
            ) from None

    async def _events(
        self, run: Run, since: int, builder: ResponseBuilder
    ) -> AsyncGenerator[str, None]:
        def shown(events: Any) -> list[str]:
            return [
                sse(event, event=event["type"])
                for event in events
                if event["sequence_number"] > builder.after
            ]

        for text in shown(builder.begin()):
            yield text
        try:
            async for event in self._until_over(run, since, builder):
                if event is None:
                    yield ": waiting\n\n"
                    continue
                for text in shown(builder.read(event)):
                    yield text
            for text in shown(builder.end()):
                yield text
        except OutlastError as error:
            failure: dict[str, JsonValue] = {"type": "error", "message": str(error)}
            yield sse({**failure, "code": "server_error", "param": None}, event="error")

    async def _until_over(
        self, run: Run, since: int, builder: ResponseBuilder
    ) -> AsyncIterator[RunEvent | None]:
        """Yield the events of a response: until it has ended, or waits for all of its open requests."""
        async with aclosing(follow_turn(self._front, run, since, beat_s=BEAT_S)) as events:
            async for event in events:
                yield event
                if builder.is_over:
                    return

    async def _snapshot(
        self, run: Run, since: int, builder: ResponseBuilder, *, is_running: bool
    ) -> None:
        """Read a response as far as it is now."""
        reader = EventReader(since)
        try:
            progress = await run.progress() if is_running else None
            messages = await run.transcript(since)
        except Unavailable:
            if not is_running:
                raise
            builder.status = "queued"
            return
        waiting = waiting_entries(progress, run.id) if progress is not None else []
        entries: list[Message | Waiting] = [*messages, *waiting]
        for entry in entries:
            for event in reader.read(entry):
                list(builder.read(event))
                if builder.is_over:
                    return
        if progress is not None:
            if progress.pending:
                list(builder.end())
            return
        try:
            list(builder.read(reader.ended(await run.result())))
        except RunFailed as failed:
            list(builder.read(reader.ended(failed)))


def _decided_at(entries: Sequence[Message], decisions: Sequence[HumanDecision]) -> int:
    """Return the entry with the first result of some decisions, or the end if none of them is repeated."""
    calls = {decision.request_id for decision in decisions}
    results = (at for at, entry in enumerate(entries) if entry.call_id in calls)
    return next(results, len(entries))


def _agent_of(run: Run) -> str:
    return run.id.split("/")[1]
