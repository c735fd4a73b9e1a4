"""The text of answers in the SDK and in `outlast chat`: through the worker, the hub and the gateway."""

import asyncio
import contextlib
import os
import pty
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio.client import Client as TemporalClient

from outlast import Agent, Client, Run, TextDelta, tool
from outlast.client.gateway import Gateway, TextPiece
from outlast.client.text_deltas import AnswerReader
from outlast.contracts.messages import Message
from outlast.errors import BadRequest
from outlast.testing import ScriptedModel, Step, answer, call
from tests.conditions import WITHIN_S, until
from tests.stage import Flag
from tests.workers.gateway.doors import TOKENS, Doors, doors
from tests.workers.gateway.writing import PIECES, STORY, gate_after, writing


@tool(effect="read")
def look(path: str) -> str:
    """Look."""
    return path


desk = Agent(name="desk", instructions="Help people.", tools=[look])


def client_of(temporal: TemporalClient, url: str, token: str = TOKENS["ann"]["token"]) -> Client:
    return Client(temporal, gateway=url, gateway_token=token)


class Seen:
    """What a program sees that follows a stream as the docs say."""

    def __init__(self) -> None:
        self.text = ""
        self.roles: list[str] = []
        self.resets = 0
        self.texts_at_entries: list[str] = []

    def add(self, entry: Any) -> None:
        self.roles.append(entry.role)
        if isinstance(entry, TextDelta):
            self.resets += entry.offset < len(self.text)
            self.text = self.text[: entry.offset] + entry.content
        elif entry.role == "assistant":
            self.texts_at_entries.append(self.text)
            self.text = ""


async def followed(run: Run[Any]) -> Seen:
    seen = Seen()
    async with asyncio.timeout(WITHIN_S):
        async for entry in run.stream():
            seen.add(entry)
    return seen


@asynccontextmanager
async def serving(temporal: TemporalClient, steps: list[Step]) -> AsyncIterator[Doors]:
    async with doors(temporal, ScriptedModel(steps), [desk]) as gateway:
        yield gateway


async def test_a_stream_has_the_text_before_the_model_has_ended(temporal: TemporalClient) -> None:
    ends = Flag()
    steps: list[Step] = [writing(PIECES, gates=gate_after(4, ends))]
    async with serving(temporal, steps) as gateway:
        client = client_of(temporal, gateway.url)
        run = await client.start("desk", "Hi", tenant="acme")
        assert run.id.startswith("acme/desk/")
        seen = Seen()
        async with asyncio.timeout(WITHIN_S):
            async for entry in run.stream():
                seen.add(entry)
                if seen.text == STORY:
                    ends.set()
    assert seen.roles[0] == "user"
    assert seen.roles[-1] == "assistant"
    assert seen.texts_at_entries == [STORY]
    assert seen.resets == 0


async def test_texts_of_a_stream_equal_the_transcript_after_resets(
    temporal: TemporalClient,
) -> None:
    steps: list[Step] = [
        writing(["Let me ", "look."], call("look", path="a")),
        writing(["Wrong ", "words"], "no JSON"),
        writing(PIECES),
    ]
    async with serving(temporal, steps) as gateway:
        seen = await followed(
            await client_of(temporal, gateway.url).start("desk", "Hi", tenant="acme")
        )
    assert seen.texts_at_entries == ["", STORY]
    assert [role for role in seen.roles if role not in ("text", "waiting")] == [
        *("user", "assistant", "tool", "assistant")
    ]


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9"])
async def test_without_its_gateway_a_stream_has_all_entries(
    temporal: TemporalClient, url: str
) -> None:
    async with serving(temporal, [writing(PIECES)]):
        client = client_of(temporal, url)
        seen = await followed(await client.start("desk", "Hi", tenant="acme"))
    assert [role for role in seen.roles if role != "waiting"] == (
        ["user", "text", "assistant"] if url else ["user", "assistant"]
    )


@pytest.mark.parametrize(
    ("token", "run_id", "reason"),
    [
        ("nobody-has-this-token", None, "a valid bearer token is required"),
        (TOKENS["eve"]["token"], None, "begins with the tenant of the token"),
        (TOKENS["ann"]["token"], "mine-{}", "begins with the tenant of the token"),
    ],
)
async def test_a_client_that_the_gateway_rejects_gets_one_warning(
    temporal: TemporalClient,
    token: str,
    run_id: str | None,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(temporal, [answer("Done.")]) as gateway:
        client = client_of(temporal, gateway.url, token)
        name = run_id and run_id.format(client.new_run_id("x")[-8:])
        seen = await followed(await client.start("desk", "Hi", tenant="acme", id=name))
    assert seen.texts_at_entries == ["Done."]
    (record,) = (each for each in caplog.records if each.name == "outlast.client")
    assert reason in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("url", ["gateway:8060", "ftp://gateway", "http://", "http://[", "x"])
def test_a_gateway_needs_a_url(url: str) -> None:
    with pytest.raises(BadRequest, match="gateway: .* is not the URL of a gateway"):
        Gateway(url, None)


def test_text_that_comes_before_its_entries_waits_for_them() -> None:
    reader = AnswerReader()
    assert not list(reader.read(TextPiece(1, text="Once ")))
    assert not list(reader.read(TextPiece(1, text="upon")))
    user = Message(role="user", content="Hi")
    assert not list(reader.settle(user))
    (delta,) = reader.next_entry()
    assert (delta.offset, delta.content) == (0, "Once upon")
    (dropped,) = reader.read(TextPiece(1, reset="the prompt is repeated"))
    assert (dropped.offset, dropped.content) == (0, "")
    assert not list(reader.read(TextPiece(0, text="late")))
    (whole,) = reader.settle(Message(role="assistant", content='{"answer":"Twice"}'))
    assert (whole.offset, whole.content) == (0, "Twice")


def test_a_run_is_not_queried_while_the_text_of_its_next_entry_comes() -> None:
    reader = AnswerReader()
    pauses = [reader.pause_s() > 0]
    for piece in (
        TextPiece(0, text="Once "),
        TextPiece(0, reset="the model did not answer"),
        TextPiece(1, text="ahead"),
        TextPiece(0, text="Once "),
        TextPiece(0),
    ):
        list(reader.read(piece))
        pauses.append(reader.pause_s() > 0)
    list(reader.next_entry())
    assert [*pauses, reader.pause_s() > 0] == [False, True, False, False, True, True, False]


class Terminal:
    """`outlast chat` whose input and output are a pseudo-terminal."""

    def __init__(self, temporal: TemporalClient, url: str) -> None:
        self._variables = {
            "TEMPORAL_ADDRESS": temporal.service_client.config.target_host,
            "OUTLAST_GATEWAY_URL": url,
            "OUTLAST_GATEWAY_TOKEN": TOKENS["ann"]["token"],
            "LOGNAME": "ann",
        }
        self.shown = ""

    async def open(self, *options: str) -> None:
        self._terminal, theirs = pty.openpty()
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "outlast.terminal.cli", "chat", "desk", "--tenant", "acme"),
            *options,
            env={**os.environ, **self._variables},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        asyncio.get_running_loop().add_reader(self._terminal, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._terminal, 65_536)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._terminal)
        self.shown += data.decode().replace("\r\n", "\n")

    def type(self, keys: str) -> None:
        self.shown = ""
        os.write(self._terminal, keys.encode())

    async def until(self, words: str) -> None:
        with contextlib.suppress(TimeoutError):
            await until(lambda: words in self.shown or self.process.returncode is not None)
        assert words in self.shown

    async def close(self) -> None:
        self.type("\x04")
        await asyncio.wait_for(self.process.wait(), WITHIN_S)
        asyncio.get_running_loop().remove_reader(self._terminal)
        os.close(self._terminal)


async def test_a_chat_shows_an_answer_while_the_model_writes_it(temporal: TemporalClient) -> None:
    fails, ends, first = Flag(), Flag(), answer("Hello.")
    steps: list[Step] = [
        writing(["Hel", "lo."], first),
        writing(["Wrong words"], "no JSON", gates=gate_after(1, fails)),
        writing(PIECES, gates=gate_after(2, ends)),
    ]
    async with serving(temporal, steps) as gateway:
        chat = Terminal(temporal, gateway.url)
        await chat.open()
        await chat.until("leaves it open.\n")
        chat.type("Hi\n")
        await chat.until("Hello.\n> ")
        assert chat.shown.count("Hel") == 1
        chat.type("A story\n")
        await chat.until("Wrong words")
        fails.set()
        await chat.until("(dropped: the prompt is repeated)\nOnce upon ")
        assert STORY not in chat.shown
        ends.set()
        await chat.until(f"\n{STORY}\n> ")
        await chat.close()
        (command,) = (line for line in chat.shown.splitlines() if "To continue it" in line)
        run_id = command.partition("--id ")[2].split()[0]
        assert run_id.startswith("acme/desk/")
        await client_of(temporal, "").get(run_id).cancel()
