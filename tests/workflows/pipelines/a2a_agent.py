"""A real A2A agent, served by the SDK of A2A. The first word of a message says what it does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from a2a.helpers import new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    Role,
    Task,
    TaskState,
    TaskStatus,
)
from outlast_workers.local.ports import free_port
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.loopback import listening

TOKEN = "canary-40104-agent"  # noqa: S105 not a secret


class Agent(AgentExecutor):
    """What the agent does, and what reached it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.messages: list[Any] = []
        self.cancelled: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.is_away = False
        self.is_readable = False
        """Whether an agent that is away answers `GetTask`."""
        self.questions = 0
        self.late_texts: list[str] = []
        self.late_polls = 0
        self.goes_on = asyncio.Event()

    @property
    def card_url(self) -> str:
        """The address of the card."""
        return f"{self.url}/.well-known/agent-card.json"

    def has(self, text: str) -> bool:
        """Return whether a message arrived."""
        return any(message.parts[0].text == text for message in self.messages)

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Do what the message says."""
        message = context.message
        assert message is not None
        self.messages.append(message)
        text = "\n".join(part.text for part in message.parts)
        word, _, rest = text.partition(" ")
        if word == "reply":
            await event_queue.enqueue_event(new_text_message(rest, role=Role.ROLE_AGENT))
            return
        task_id, context_id = str(context.task_id), str(context.context_id)
        if context.current_task is None:
            status = TaskStatus(state=TaskState.TASK_STATE_SUBMITTED)
            await event_queue.enqueue_event(
                Task(id=task_id, context_id=context_id, status=status, history=[message])
            )
        await self._act(TaskUpdater(event_queue, task_id, context_id), word, rest)

    async def _act(self, task: TaskUpdater, word: str, rest: str) -> None:
        say = task.new_agent_message([new_text_part(rest)])
        if word == "fail":
            await task.failed(say)
        elif word == "reject":
            await task.reject(say)
        elif word == "ask":
            await self._ask(task, rest)
            if rest == "colleagues":
                await self.goes_on.wait()
                await task.start_work()
                await self._complete(task, "a colleague answered")
            elif rest == "twice":
                await self.goes_on.wait()
                await self._ask(task, "which colour?")
        elif word == "login":
            await task.requires_auth(say)
        else:
            await task.start_work()
            if word == "work":
                await self.goes_on.wait()
            await self._complete(task, f"{word} {rest}".strip())

    async def _ask(self, task: TaskUpdater, question: str) -> None:
        await task.requires_input(task.new_agent_message([new_text_part(question)]))
        self.questions += 1

    async def _complete(self, task: TaskUpdater, text: str) -> None:
        await task.add_artifact([new_text_part(text)], name="answer")
        await task.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancel a task."""
        self.cancelled.append(str(context.task_id))
        await TaskUpdater(event_queue, str(context.task_id), str(context.context_id)).cancel()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Agent"]:
        """Serve the agent until the block ends."""
        card = AgentCard(
            name="tester",
            description="Does what it reads.",
            version="1",
            supported_interfaces=[
                AgentInterface(
                    url=f"{self.url}/rpc", protocol_binding="JSONRPC", protocol_version="1.0"
                )
            ],
            capabilities=AgentCapabilities(streaming=False),
        )
        handler = DefaultRequestHandler(self, InMemoryTaskStore(), card)
        app = Starlette(
            routes=[
                *create_agent_card_routes(card),
                *create_jsonrpc_routes(handler, "/rpc"),
                Route("/guarded", self.guarded, methods=["POST"]),
                Route("/late", self.late, methods=["POST"]),
                Route("/odd/{kind}", self.odd, methods=["GET", "POST"]),
            ],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=self._middleware)],
        )
        async with listening(app, self.port):
            yield self

    async def _middleware(self, request: Request, call_next: Any) -> Response:
        body = (await request.json()) if request.method == "POST" else {}
        self.requests.append({"method": body.get("method"), "headers": dict(request.headers)})
        if self.is_away and not (self.is_readable and body.get("method") == "GetTask"):
            return JSONResponse({"message": "away"}, 503)
        response: Response = await call_next(request)
        return response

    async def guarded(self, request: Request) -> Response:
        """Take one token."""
        body = await request.json()
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"message": "no"}, 401)
        reply = {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": f"you sent {TOKEN}"}]}
        return JSONResponse({"jsonrpc": "2.0", "id": body["id"], "result": {"message": reply}})

    async def late(self, request: Request) -> Response:
        """Fake an agent that takes an answer, and shows its question as open for longer."""
        body = await request.json()
        is_send = body["method"] == "SendMessage"
        if is_send:
            self.late_texts.append(body["params"]["message"]["parts"][0]["text"])
            self.late_polls = 0
        self.late_polls += not is_send
        message = {"messageId": "q", "role": "ROLE_AGENT", "parts": [{"text": "which order?"}]}
        status: dict[str, Any] = {"state": "TASK_STATE_INPUT_REQUIRED", "message": message}
        if self.goes_on.is_set():
            status = {"state": "TASK_STATE_COMPLETED"}
        task = {"id": "t", "contextId": "c", "status": status}
        result = {"task": task} if is_send else task
        return JSONResponse({"jsonrpc": "2.0", "id": body["id"], "result": result})

    async def odd(self, request: Request) -> Response:
        """Answer in a way that the protocol does not have."""
        kind = request.path_params["kind"]
        if request.method == "GET":
            old = {"name": "old", "url": self.url, "protocolVersion": "0.3.0"}
            return JSONResponse(old if kind == "card" else {"no": "card"})
        identifier = (await request.json())["id"]
        answers: dict[str, Any] = {
            "text": "hello",
            "id": {"jsonrpc": "2.0", "id": "another", "result": {}},
            "empty": {"jsonrpc": "2.0", "id": identifier, "result": {}},
            "state": {
                "jsonrpc": "2.0",
                "id": identifier,
                "result": {"task": {"id": "t", "status": {"state": "TASK_STATE_DANCING"}}},
            },
        }
        if kind == "forbidden":
            return JSONResponse({}, 403)
        return JSONResponse(answers[kind])
