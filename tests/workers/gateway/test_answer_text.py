"""The text of answers while models write it: from the worker through the hub to clients of `/runs`."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from outlast_workers.answer_publisher import answer_publisher
from outlast_workers.gateway.answer_hub import AnswerHub
from outlast_workers.gateway.front import Front
from outlast_workers.gateway.service import gateway_app, served_agents
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.gateway import EventsSettings
from outlast_workers.web import open_listener, serve_in_background
from temporalio.client import Client as TemporalClient

from outlast import Agent, tool
from outlast import Client as SdkClient
from outlast.contracts.events import AnswerPiece
from outlast.testing import ScriptedModel, Step, answer, call
from tests.stage import Flag
from tests.workers.gateway.doors import EVENTS_TOKEN, doors, gateway_settings
from tests.workers.gateway.writing import PIECES, STORY, gate_after, writing


@tool(effect="read")
def look(path: str) -> str:
    """Look."""
    return path


desk = Agent(name="desk", instructions="Help people.", tools=[look])


class Reader:
    """A client of an event stream, which adds up the text as the docs say."""

    def __init__(self, client: httpx2.AsyncClient, run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        self.place = ""
        self.text = ""
        self.answer: Any = None
        self.types: list[str] = []

    async def read(self) -> AsyncGenerator[dict[str, Any], None]:
        headers = {"last-event-id": self.place} if self.place else {}
        url = f"/runs/{self._run_id}/events"
        async with self._client.stream("GET", url, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            async for line in response.aiter_lines():
                if line.startswith("id: "):
                    self.place = line.removeprefix("id: ")
                if not line.startswith("data: "):
                    continue
                event = json.loads(line.removeprefix("data: "))
                self.types.append(event["type"])
                if event["type"] == "text":
                    self.text += event["text"]
                elif event["type"] == "text_reset":
                    self.text = ""
                elif event["type"] == "answer":
                    self.answer = event["answer"]
                yield event

    async def until(self, is_enough: Callable[["Reader"], bool]) -> None:
        """Read until a condition holds, and leave."""
        async with asyncio.timeout(30):
            async with contextlib.aclosing(self.read()) as events:
                async for _ in events:
                    if is_enough(self):
                        return
        assert is_enough(self), (self.types, self.text)


async def started(client: httpx2.AsyncClient) -> str:
    reply = await client.post("/runs", json={"agent": "desk", "input": "Hi"})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


async def read_whole(temporal: TemporalClient, steps: list[Step]) -> Reader:
    async with doors(temporal, ScriptedModel(steps), [desk]) as gateway, gateway.client() as ann:
        reader = Reader(ann, await started(ann))
        async with asyncio.timeout(30):
            async for _ in reader.read():
                pass
        return reader


async def test_an_answer_is_read_while_the_model_writes_it(temporal: TemporalClient) -> None:
    ends = Flag()
    model = ScriptedModel([writing(["", *PIECES, ""], answer(STORY), gates=gate_after(6, ends))])
    async with doors(temporal, model, [desk]) as gateway, gateway.client() as ann:
        run_id = await started(ann)
        reader = Reader(ann, run_id)
        await reader.until(lambda reader: reader.text == STORY)
        assert "answer" not in reader.types
        assert reader.types[:2] == ["message", "turn"]
        assert set(reader.types[2:]) <= {"reasoning", "text"}
        ends.set()
        await reader.until(lambda reader: reader.types[-1] == "run_ended")
        assert (reader.text, reader.answer) == (STORY, STORY)
        assert reader.types[-2:] == ["answer", "run_ended"]
        assert "text_reset" not in reader.types
        history = await gateway.front.client.temporal.get_workflow_handle(run_id).fetch_history()
        kinds = [event.WhichOneof("attributes") or "" for event in history.events]
        assert not any("signal" in kind or "update" in kind for kind in kinds)
        assert len(kinds) < 20


async def test_a_client_that_comes_back_gets_the_rest(temporal: TemporalClient) -> None:
    more, ends = Flag(), Flag()
    opened = Flag()
    opened.set()
    gates = [opened, opened, more, opened, ends]
    model = ScriptedModel([writing(PIECES, gates=gates)])
    async with doors(temporal, model, [desk]) as gateway, gateway.client() as ann:
        reader = Reader(ann, await started(ann))
        await reader.until(lambda reader: reader.text == "Once upon ")
        assert reader.place.startswith("1.")
        more.set()
        before = len(reader.types)
        await reader.until(lambda reader: reader.text == STORY)
        assert set(reader.types[before:]) <= {"text"}
        ends.set()
        await reader.until(lambda reader: reader.types[-1] == "run_ended")
        assert reader.text == reader.answer == STORY
        assert "text_reset" not in reader.types


@asynccontextmanager
async def another_gateway(temporal: TemporalClient) -> AsyncIterator[str]:
    """Serve the same runs with another process's state. Yield its URL."""
    settings = gateway_settings()
    served = served_agents({desk.name: desk}, settings)
    front = Front.of(SdkClient(temporal), Settings(gateway=settings), served)
    with open_listener("127.0.0.1", 0, name="the gateway", key="gateway.port") as listener:
        async with gateway_app(front) as app, serve_in_background(app, listener):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_a_client_continues_within_the_text_at_another_gateway(
    temporal: TemporalClient,
) -> None:
    more, opened = Flag(), Flag()
    opened.set()
    model = ScriptedModel([writing(PIECES, gates=[opened, opened, more])])
    async with (
        another_gateway(temporal) as url,
        doors(temporal, model, [desk], hubs=[url]) as gateway,
        gateway.client() as ann,
        httpx2.AsyncClient(base_url=url, headers=ann.headers, timeout=30) as elsewhere,
    ):
        first = Reader(ann, await started(ann))
        await first.until(lambda reader: reader.text == "Once upon ")
        second = Reader(elsewhere, first._run_id)
        second.place, second.text = first.place, first.text
        more.set()
        await second.until(lambda reader: reader.types[-1] == "run_ended")
    assert second.text == second.answer == STORY
    assert "text_reset" not in second.types
    assert "message" not in second.types


async def test_a_hub_without_memory_gets_the_text_again(temporal: TemporalClient) -> None:
    more, opened = Flag(), Flag()
    opened.set()
    model = ScriptedModel([writing(PIECES, gates=[opened, opened, more])])
    async with doors(temporal, model, [desk]) as gateway, gateway.client() as ann:
        reader = Reader(ann, await started(ann))
        await reader.until(lambda reader: reader.text == "Once upon ")
        gateway.front.hub.__init__()  # type: ignore[misc]  # as after a restart
        more.set()
        await reader.until(lambda reader: reader.types[-1] == "run_ended")
        assert reader.text == reader.answer == STORY


async def test_an_answer_that_is_asked_again_begins_anew(temporal: TemporalClient) -> None:
    reader = await read_whole(temporal, [writing(["Wrong ", "words"], "no JSON"), writing(PIECES)])
    assert reader.text == reader.answer == STORY
    assert "text_reset" in reader.types
    assert reader.types.count("answer") == 1


async def test_a_text_before_a_tool_call_is_no_answer(temporal: TemporalClient) -> None:
    steps: list[Step] = [
        writing(["Let me ", "look."], call("look", path="a")),
        writing(PIECES),
    ]
    reader = await read_whole(temporal, steps)
    assert reader.text == reader.answer == STORY
    reset = reader.types.index("text_reset")
    assert reader.types[reset + 1] == "tool_call"


async def test_an_answer_that_differs_from_its_text_is_sent_again(temporal: TemporalClient) -> None:
    reader = await read_whole(temporal, [writing(["Once "], answer(STORY))])
    assert reader.text == reader.answer == STORY
    reader = await read_whole(temporal, [writing(["Twice "], answer(STORY))])
    assert reader.text == reader.answer == STORY
    assert "text_reset" in reader.types


async def test_workers_need_their_token_and_clients_their_tenant(temporal: TemporalClient) -> None:
    body: Any = {"pieces": [{"workflow_id": "acme/desk/x", "entry": 1, "attempt": 5, "text": "hi"}]}
    async with doors(temporal, ScriptedModel([]), [desk]) as gateway, gateway.client("") as worker:
        for authorization in ("", "Bearer wrong", "Bearer ann-has-a-long-token"):
            headers = {"authorization": authorization}
            reply = await worker.post("/hub/answers", json=body, headers=headers)
            assert reply.status_code == 401
            assert "events_token" in reply.json()["error"]["message"]
        headers = {"authorization": f"Bearer {EVENTS_TOKEN}"}
        reply = await worker.post("/hub/answers", json=body, headers=headers)
        assert reply.json() == {"held": [2]}
        wrongs: Any = ({"pieces": [{}]}, {"pieces": [{**body["pieces"][0], "entry": -1}]}, {})
        for wrong in wrongs:
            reply = await worker.post("/hub/answers", json=wrong, headers=headers)
            assert reply.status_code == 400
        reply = await worker.get("/runs/acme/desk/x/events", headers=headers)
        assert reply.status_code == 401
        async with gateway.client("eve") as eve:
            assert (await eve.get("/runs/acme/desk/x/events")).status_code == 404
    async with (
        doors(temporal, ScriptedModel([]), [desk], events_token=None) as gateway,
        gateway.client("") as worker,
    ):
        reply = await worker.post("/hub/answers", json=body)
        assert reply.status_code == 403
        assert "gateway.events_token" in reply.json()["error"]["message"]


async def test_without_tokens_a_worker_of_this_machine_may_push(temporal: TemporalClient) -> None:
    body = {"pieces": [{"workflow_id": "a", "entry": 1, "attempt": 5}]}
    async with (
        doors(temporal, ScriptedModel([]), [desk], tokens={}, events_token=None) as gateway,
        gateway.client("") as worker,
    ):
        assert (await worker.post("/hub/answers", json=body)).json() == {"held": [0]}
        headers = {"origin": "https://evil.example"}
        assert (await worker.post("/hub/answers", json=body, headers=headers)).status_code == 403


@pytest.mark.parametrize("answers", [b"", b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", None])
async def test_a_gateway_that_fails_costs_nothing(answers: bytes | None) -> None:
    """The methods of a stream return at once, whatever the gateway does."""
    accepted = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        if answers is None:
            await asyncio.sleep(30)
        writer.write(answers or b"")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    events = EventsSettings(urls=(f"http://127.0.0.1:{port}",))
    async with answer_publisher(Settings(events=events)) as publisher:
        assert publisher is not None
        for number in range(3_000):
            stream = publisher.open(f"run-{number}", entry=1, turn=1, attempt=1)
            stream.add("text")
            stream.end()
        async with asyncio.timeout(30):
            await accepted.wait()
    server.close()


async def test_a_gateway_that_comes_back_gets_what_is_open() -> None:
    events = EventsSettings(urls=("http://127.0.0.1:9",))
    hub, is_away = AnswerHub(), True

    async def post(_: str, content: str, **__: Any) -> httpx2.Response:
        if is_away:
            raise httpx2.ConnectError("refused")
        pieces = [AnswerPiece.model_validate(piece) for piece in json.loads(content)["pieces"]]
        reply = json.dumps({"held": [hub.put(piece) for piece in pieces]})
        return httpx2.Response(200, content=reply, request=httpx2.Request("POST", "http://x"))

    async with answer_publisher(Settings(events=events)) as publisher:
        assert publisher is not None
        publisher._links[0]._client.post = post  # type: ignore[method-assign, assignment]
        stream = publisher.open("run", entry=1, turn=1, attempt=1)
        stream.add("Once ")
        await asyncio.sleep(0.05)
        is_away = False
        stream.add("upon")
        async with asyncio.timeout(30):
            while (held := hub.get("run")) is None or held.text != "Once upon":
                await asyncio.sleep(0.02)
