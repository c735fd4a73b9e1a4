"""`/runs`: the gateway's own interface. Plain JSON, and events as a stream, for `curl` and any client.

| call | does |
| --- | --- |
| `POST /runs` | starts a run: `agent`, `input`, `key`, `mode`, `limits` |
| `GET /runs` | lists the newest runs |
| `GET /runs/ID` | what the run does and waits for, or its result |
| `GET /runs/ID/events` | streams its events; `Last-Event-ID` or `?after=` continues |
| `POST /runs/ID/decide` | decides a pending request, with the payload of `decide` |
| `POST /runs/ID/say` | sends a message |
| `POST /runs/ID/cancel` | cancels the run |

A workflow id has slashes, so the last word of a path is the call.
"""

import mimetypes
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from temporalio.client import WorkflowExecutionStatus

from outlast.client.runs import Run
from outlast.contracts.base import InputModel
from outlast.contracts.human import HumanDecision
from outlast.contracts.limits import Limits
from outlast.contracts.names import Name
from outlast.contracts.requests import Input, SayPayload
from outlast.errors import BadRequest, OutlastError, RunFailed
from outlast.media.media import Media
from outlast.validation import validated
from outlast_workers.gateway.answer_cursor import Place, read_place
from outlast_workers.gateway.conversations import message_update_id
from outlast_workers.gateway.front import Front
from outlast_workers.gateway.http_messages import BEAT_S, event_stream, read_json, sse
from outlast_workers.gateway.message_media import MAX_MESSAGE_MEDIA, file_of, image_of, is_blank
from outlast_workers.gateway.run_feeds import GatewayStops
from outlast_workers.web import JsonLine


class MediaBody(InputModel):
    """An image or a file: an https URL, a data URL or base64. The name tells the type of a file."""

    image: str | None = None
    file: str | None = None
    name: str = ""
    media_type: str | None = None


MediaBodies = Annotated[list[MediaBody], Field(fail_fast=True, max_length=MAX_MESSAGE_MEDIA)]


class StartBody(InputModel):
    """The body of `POST /runs`. With a `key`, a repeated request returns the same run."""

    agent: Name
    input: Input = None
    media: MediaBodies = []
    key: Annotated[str, Field(max_length=128)] | None = None
    mode: Literal["task", "conversation"] = "task"
    limits: Limits | None = None


class SayBody(InputModel):
    """The body of `POST /runs/ID/say`. A repeated `key` sends the message once."""

    text: str = ""
    media: MediaBodies = []
    when: Literal["next_turn", "now"] = "next_turn"
    key: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class RunsApi:
    """The handlers of `/runs`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def routes(self) -> list[Route]:
        """Return the routes of the interface."""
        return [
            Route("/agents", self.agents),
            Route("/runs", self.start, methods=["POST"]),
            Route("/runs", self.list),
            Route("/runs/{id:path}/events", self.events),
            *(
                Route(f"/runs/{{id:path}}/{name}", handler, methods=["POST"])
                for name, handler in self._commands().items()
            ),
            Route("/runs/{id:path}", self.show),
        ]

    def _commands(self) -> dict[str, Callable[[Request], Awaitable[Response]]]:
        return {"decide": self.decide, "say": self.say, "cancel": self.cancel}

    async def agents(self, _: Request) -> Response:
        """List the agents that may be started."""
        listed = [{"agent": name, "description": text} for name, text in self._front.agents.items()]
        return JsonLine({"agents": listed})

    async def start(self, request: Request) -> Response:
        """Start a run, or return the one that the same key started before."""
        body = validated(StartBody, await self._body(request))
        given = body.input
        if body.media:
            if not isinstance(given, str):
                raise BadRequest("input: must be text beside media")
            given = await self._text(request, given, body.media)
        elif "input" not in body.model_fields_set and body.mode == "task":
            raise BadRequest("input: is required, except in a conversation")
        if isinstance(given, str) and is_blank([given]):
            raise BadRequest("input: has no text")
        run = await self._front.runs(request).start(
            body.agent, given, key=body.key, mode=body.mode, limits=body.limits
        )
        return JsonLine({"id": run.id}, HTTPStatus.CREATED)

    async def list(self, request: Request) -> Response:
        """List the newest runs of the tenant."""
        runs = [
            {
                "id": found.id,
                "agent": found.agent,
                "status": found.status,
                "started_at": found.started_at.isoformat(),
                "ended_at": found.ended_at.isoformat() if found.ended_at else None,
            }
            async for found in self._front.runs(request).list()
        ]
        return JsonLine({"runs": runs})

    async def show(self, request: Request) -> Response:
        """Return what a run does now, or its result."""
        run = self._run(request)
        is_running = await self._front.runs(request).status(run) is WorkflowExecutionStatus.RUNNING
        state = await (_progress(run) if is_running else _result(run))
        return JsonLine({"id": run.id, **state})

    async def events(self, request: Request) -> Response:
        """Stream the events of a run."""
        run = self._run(request)
        after = read_place(
            request.headers.get("last-event-id") or request.query_params.get("after") or "0"
        )
        # Before the stream begins, because its status cannot change later.
        await self._front.runs(request).status(run)
        return event_stream(self._events(run, after))

    async def _events(self, run: Run, after: Place) -> AsyncGenerator[str, None]:
        events = self._front.feeds.follow(run, after=after, beat_s=BEAT_S)
        async with aclosing(events):
            try:
                async for event in events:
                    if event is None:
                        yield ": waiting\n\n"
                    else:
                        yield sse(event.json(), event=event.type, id=event.id)
            except GatewayStops:
                return  # as after MAX_STREAM_S: the client connects again
            except OutlastError as error:
                yield sse({"type": "error", "message": str(error)}, event="error")

    async def decide(self, request: Request) -> Response:
        """Decide a pending request of a run."""
        decision = validated(HumanDecision, await read_json(request))
        outcome = await self._front.runs(request).decide(self._run(request), decision)
        return JsonLine({"outcome": outcome})

    async def say(self, request: Request) -> Response:
        """Send a message to a run."""
        runs = self._front.runs(request)
        body = validated(SayBody, await self._body(request))
        text = await self._text(request, body.text, body.media)
        fields = {"text": text, "when": body.when, "by": runs.principal.name}
        payload = validated(SayPayload, fields)
        run = self._run(request)
        outcome = await run.say(
            payload.text,
            by=payload.by,
            when=payload.when,
            update_id=message_update_id("say", runs, body.key, text) if body.key else None,
        )
        return JsonLine({"outcome": outcome})

    async def _body(self, request: Request) -> dict[str, Any]:
        return await read_json(request, self._front.media.max_body_bytes)

    async def _text(self, request: Request, text: str, media: Sequence[MediaBody]) -> str:
        """Return a message with its images and files, which are stored."""
        tenant = self._front.runs(request).principal.tenant
        attached = [_media(one, f"media.{number}") for number, one in enumerate(media)]
        parts: list[str | Media] = [*filter(None, [text]), *attached]
        if is_blank(parts):
            raise BadRequest("text: is empty; send a text or media")
        return await self._front.media.text_of(parts, tenant)

    async def cancel(self, request: Request) -> Response:
        """Cancel a run."""
        await self._run(request).cancel()
        return JsonLine({"outcome": "cancelled"}, HTTPStatus.ACCEPTED)

    def _run(self, request: Request) -> Run:
        return self._front.runs(request).find(request.path_params["id"])


def _media(body: MediaBody, place: str) -> Media:
    if (body.image is None) == (body.file is None):
        raise BadRequest(f"{place}: give either 'image' or 'file'")
    if body.image is not None:
        return image_of(body.image, f"{place}.image")
    media_type = body.media_type or mimetypes.guess_type(body.name)[0]
    return file_of(body.file, f"{place}.file", name=body.name, media_type=media_type)


async def _progress(run: Run) -> dict[str, JsonValue]:
    state: dict[str, Any] = (await run.progress()).model_dump(mode="json")
    return state


async def _result(run: Run) -> dict[str, JsonValue]:
    try:
        state: dict[str, Any] = (await run.result()).model_dump(mode="json")
    except RunFailed as error:
        return {"status": "failed", "error": error.message, "error_type": error.cause_type}
    return state
