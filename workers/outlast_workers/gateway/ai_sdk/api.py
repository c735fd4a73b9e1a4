"""`/ai/AGENT`: conversations for pages with `useChat` of Vercel's AI SDK. A chat is one run.

| call | does |
| --- | --- |
| `POST /ai/AGENT` | sends the last message, or decides requests; streams the answer |
| `GET /ai/AGENT/CHAT/stream` | streams the open answer from its beginning, or returns 204 |
| `GET /ai/AGENT/CHAT` | returns all messages, for a page that is opened again |
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from temporalio.client import WorkflowExecutionStatus

from outlast.client.runs import Run
from outlast.contracts.messages import Message
from outlast.errors import OutlastError, RunNotFound
from outlast.validation import validated
from outlast_workers.gateway.ai_sdk.body import (
    ChatBody,
    UIMessage,
    decisions_of,
    message_id_of,
    new_message,
    parts_of,
)
from outlast_workers.gateway.ai_sdk.chunks import Chunk, ChunkWriter
from outlast_workers.gateway.ai_sdk.messages import answer_id, ui_messages
from outlast_workers.gateway.conversations import (
    answer_events,
    conversation_key,
    last_message_position,
    message_update_id,
    pending_of,
    send_message,
    transcript_of,
    waits_for_message,
)
from outlast_workers.gateway.front import Front
from outlast_workers.gateway.http_messages import BEAT_S, event_stream, read_json, sse
from outlast_workers.gateway.tenant_runs import TenantRuns
from outlast_workers.web import JsonLine

HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
"""Names the protocol of the stream. Source: `ai` 7.0.173, `ui-message-stream-headers.ts`."""

DONE = "data: [DONE]\n\n"


class AiSdkApi:
    """The handlers of `/ai`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def routes(self) -> list[Route]:
        """Return the routes of the interface."""
        return [
            Route("/ai/{agent}", self.send, methods=["POST"]),
            Route("/ai/{agent}/{chat:path}/stream", self.resume),
            Route("/ai/{agent}/{chat:path}", self.messages),
        ]

    async def send(self, request: Request) -> Response:
        """Send a message or decisions to the run of a chat, and stream the answer."""
        body = validated(ChatBody, await read_json(request, self._front.media.max_body_bytes))
        message = new_message(body)
        runs, agent = self._front.runs(request), request.path_params["agent"]
        run_id = runs.id_of(agent, conversation_key(body.id))
        if message.role == "assistant":
            run = runs.find(run_id)
            entries = await run.transcript()
            await self._decide(runs, run, body, message, entries)
            since = len(entries)
        else:
            text = await self._front.media.text_of(parts_of(message), runs.principal.tenant)
            sent = await send_message(
                self._front,
                runs,
                run_id,
                text,
                agent=agent,
                update_id=message_update_id("ai", runs, message_id_of(body), text),
            )
            run = sent.run
            entries = await transcript_of(run)
            since = sent.answer_start(entries)
        return event_stream(self._answer(run, since, entries), HEADERS)

    async def resume(self, request: Request) -> Response:
        """Stream the answer that is open, from its beginning; without one, return 204."""
        runs, run = self._front.runs(request), self._find(request)
        try:
            is_running = await runs.status(run) is WorkflowExecutionStatus.RUNNING
        except RunNotFound:
            is_running = False
        if not is_running or await waits_for_message(run):
            return Response(status_code=HTTPStatus.NO_CONTENT)
        entries = await transcript_of(run)
        since = last_message_position(entries)
        return event_stream(self._answer(run, since, entries), HEADERS)

    async def messages(self, request: Request) -> Response:
        """Return the messages of a chat."""
        run = self._find(request)
        is_running = await self._front.runs(request).status(run) is WorkflowExecutionStatus.RUNNING
        pending = await pending_of(run) if is_running else None
        return JsonLine({"messages": ui_messages(await transcript_of(run), pending or [])})

    def _find(self, request: Request) -> Run:
        runs = self._front.runs(request)
        return runs.find(
            runs.id_of(request.path_params["agent"], conversation_key(request.path_params["chat"]))
        )

    async def _decide(
        self,
        runs: TenantRuns,
        run: Run,
        body: ChatBody,
        message: UIMessage,
        entries: Sequence[Message],
    ) -> None:
        pending = await run.pending_requests()
        for decision in decisions_of(message, body, entries, pending):
            await runs.decide(run, decision)

    async def _answer(
        self, run: Run, since: int, entries: Sequence[Message]
    ) -> AsyncGenerator[str, None]:
        """Yield the answer after an entry as a stream."""
        writer, is_begun = ChunkWriter(), False
        position = last_message_position(entries[:since])
        try:
            async with aclosing(answer_events(self._front, run, since, beat_s=BEAT_S)) as events:
                async for event in events:
                    if event is None:
                        yield ": waiting\n\n"
                        continue
                    if event.type == "message":
                        position = event.position
                    for chunk in writer.read(event):
                        if not is_begun:
                            is_begun = True
                            yield _start(position)
                        yield sse(chunk)
        except OutlastError as error:
            yield sse({"type": "error", "errorText": str(error)})
        for chunk in [*writer.end(), writer.finish()]:
            yield sse(chunk)
        yield DONE


def _start(position: int) -> str:
    chunk: Chunk = {"type": "start", "messageId": answer_id(position)}
    return sse(chunk)
