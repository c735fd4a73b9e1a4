"""`/v1/chat/completions`: agents for clients of OpenAI's older API. The `model` is the name of an agent.

Without a conversation, each request is a run of its own. With one, all of its messages go to one run.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from outlast.client.runs import Run
from outlast.errors import NoAnswer, OutlastError, RunFailed
from outlast_workers.gateway.completions.body import (
    CompletionBody,
    conversation_of,
    last_parts,
    read_completion,
)
from outlast_workers.gateway.completions.deltas import DeltaWriter
from outlast_workers.gateway.conversations import (
    answer_events,
    conversation_key,
    message_update_id,
    send_message,
    transcript_of,
)
from outlast_workers.gateway.front import Front
from outlast_workers.gateway.http_messages import (
    BEAT_S,
    error_body,
    event_stream,
    read_json,
    sse,
    status_of,
)
from outlast_workers.gateway.response_ids import response_id
from outlast_workers.gateway.responses_api import ANSWER_WITHIN_S
from outlast_workers.gateway.tenant_runs import TenantRuns
from outlast_workers.gateway.token_usage import completion_usage
from outlast_workers.web import JsonLine

DONE = "data: [DONE]\n\n"


class CompletionsApi:
    """The handler of `/v1/chat/completions`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def routes(self) -> list[Route]:
        """Return the routes of the interface."""
        return [Route("/v1/chat/completions", self.create, methods=["POST"])]

    async def create(self, request: Request) -> Response:
        """Send the last message to a run, and return its answer, or stream it."""
        media, runs = self._front.media, self._front.runs(request)
        body = read_completion(await read_json(request, media.max_body_bytes))
        conversation = conversation_of(request.headers)
        text = await media.text_of(last_parts(body, conversation), runs.principal.tenant)
        key = request.headers.get("idempotency-key")
        if conversation is None:
            hashed = None if not key else hashlib.sha256(key.encode()).hexdigest()[:32]
            run, since = await runs.start(body.model, text, key=hashed), 0
        else:
            # A client repeats a request with the same history, and a new message has a longer one.
            message_id = key or json.dumps(body.messages)
            run, since = await self._send(runs, body, conversation, text, message_id)
        answer = Completion(response_id(run.id, since), body.model)
        if body.stream:
            return event_stream(
                self._stream(run, since, answer, includes_usage=body.includes_usage)
            )
        return JsonLine(await self._whole(run, since, answer))

    async def _send(
        self,
        runs: TenantRuns,
        body: CompletionBody,
        conversation: str,
        text: str,
        message_id: str,
    ) -> tuple[Run, int]:
        sent = await send_message(
            self._front,
            runs,
            runs.id_of(body.model, conversation_key(conversation)),
            text,
            agent=body.model,
            update_id=message_update_id("completions", runs, message_id, text),
        )
        return sent.run, sent.answer_start(await transcript_of(sent.run))

    async def _whole(self, run: Run, since: int, answer: "Completion") -> dict[str, Any]:
        writer = DeltaWriter(run.id)
        text = ""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                async for piece in self._pieces(run, since, writer, is_whole=True):
                    text += piece or ""
        except TimeoutError:
            raise NoAnswer(
                f"no answer within {ANSWER_WITHIN_S:g} s: retrieve the response {answer.id!r} later"
            ) from None
        return answer.whole(text, writer)

    async def _stream(
        self, run: Run, since: int, answer: "Completion", *, includes_usage: bool
    ) -> AsyncGenerator[str, None]:
        writer = DeltaWriter(run.id)
        yield sse(answer.chunk({"role": "assistant", "content": ""}))
        try:
            async for piece in self._pieces(run, since, writer):
                yield ": waiting\n\n" if piece is None else sse(answer.chunk({"content": piece}))
        except OutlastError as error:
            yield sse(error_body(status_of(error), str(error)))
            return
        yield sse(answer.chunk({}, is_stopped=writer.is_stopped))
        if includes_usage:
            yield sse(answer.usage_chunk(writer))
        yield DONE

    async def _pieces(
        self, run: Run, since: int, writer: DeltaWriter, *, is_whole: bool = False
    ) -> AsyncGenerator[str | None, None]:
        """Yield the text of an answer; a whole one has no texts that were taken back."""
        events = answer_events(self._front, run, since, beat_s=BEAT_S)
        async with aclosing(events):
            async for event in events:
                if event is None:
                    yield None
                    continue
                if event.type == "run_ended" and event.data["status"] == "failed":
                    raise RunFailed(str(event.data["error"]), run_id=run.id)
                if is_whole and event.type in {"text", "text_reset"}:
                    continue
                for piece in writer.read(event):
                    yield piece


class Completion:
    """The objects of one completion. Its id is that of the response, which `/v1/responses` retrieves."""

    def __init__(self, identifier: str, model: str) -> None:
        self.id = identifier
        self._common = {"id": identifier, "created": int(time.time()), "model": model}

    def whole(self, text: str, writer: DeltaWriter) -> dict[str, Any]:
        """Return the completion."""
        message = {"role": "assistant", "content": text, "refusal": None}
        reason = "length" if writer.is_stopped else "stop"
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        usage = completion_usage(writer.usage.total)
        return {
            **self._common,
            "object": "chat.completion",
            "choices": [choice],
            **({} if usage is None else {"usage": usage}),
        }

    def usage_chunk(self, writer: DeltaWriter) -> dict[str, Any]:
        """Return the chunk after the last one, which has only the usage."""
        usage = completion_usage(writer.usage.total)
        return {
            **self._common,
            "object": "chat.completion.chunk",
            "choices": [],
            "usage": usage,
        }

    def chunk(self, delta: dict[str, Any], *, is_stopped: bool = False) -> dict[str, Any]:
        """Return a chunk; one without a delta is the last."""
        reason = None if delta else ("length" if is_stopped else "stop")
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**self._common, "object": "chat.completion.chunk", "choices": [choice]}
