"""Clients of the text of answers that lose their connections, or all that they know."""

import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2

from outlast import Run, TextDelta
from outlast.contracts.messages import Message
from outlast.errors import Unavailable

RETRY_S = 0.1
READ_TIMEOUT_S = 20.0


@dataclass
class Seen:
    """What a client has of a run: it adds up the text as docs/gateway.md says."""

    place: str = ""
    text: str = ""
    pieces: int = 0
    durable: Counter[str] = field(default_factory=Counter)
    answer: Any = None
    resets: int = 0

    def add(self, event_id: str, event: dict[str, Any]) -> None:
        self.place = event_id or self.place
        match event["type"]:
            case "text":
                self.text += event["text"]
                self.pieces += 1
            case "text_reset":
                self.text = ""
                self.resets += 1
            case "answer":
                self.answer = event["answer"]
                self.text = self.text or event["answer"]
        if event["type"] in ("message", "answer", "run_ended"):
            self.durable[event["type"]] += 1


class HttpReader:
    """A client over HTTP. `kill` ends it in the middle of what it reads; it starts again by itself."""

    def __init__(self, url: str, run_id: str) -> None:
        self.seen = Seen()
        self._url = f"{url}/runs/{run_id}/events"
        self._reading: asyncio.Task[None] | None = None
        self._forgets = False
        self._is_killed = False

    def kill(self, *, forgets: bool) -> None:
        """End the connection. A client that `forgets` begins again at the first event."""
        if self._reading is not None:
            self._is_killed, self._forgets = True, forgets
            self._reading.cancel()

    async def read(self) -> Seen:
        """Read until the run ends, however often the connection is lost."""
        async with httpx2.AsyncClient(timeout=READ_TIMEOUT_S, verify=False) as client:
            while not self.seen.durable["run_ended"]:  # bounded by the timeout of the test
                self._reading = asyncio.create_task(self._read_once(client))
                try:
                    await self._reading
                except asyncio.CancelledError:
                    if not self._is_killed:
                        raise
                    self._is_killed = False
                    if self._forgets:
                        self.seen = Seen()
                except (httpx2.HTTPError, ConnectionError):
                    await asyncio.sleep(RETRY_S)
        return self.seen

    async def _read_once(self, client: httpx2.AsyncClient) -> None:
        headers = {"last-event-id": self.seen.place} if self.seen.place else {}
        async with client.stream("GET", self._url, headers=headers) as response:
            response.raise_for_status()
            event_id = ""
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    event_id = value
                elif name == "data":
                    self.seen.add(event_id, json.loads(value))
                    event_id = ""
        await asyncio.sleep(RETRY_S)


async def read_by_sdk(run: Run[Any]) -> list[str]:
    """Return the text of each answer, as a program of the SDK adds it up."""
    while True:  # bounded by the timeout of the test
        try:
            return await _read_stream(run)
        except Unavailable:
            await asyncio.sleep(RETRY_S)  # no worker is alive


async def _read_stream(run: Run[Any]) -> list[str]:
    text, texts = "", []
    async with contextlib.aclosing(run.stream()) as entries:
        async for entry in entries:
            if isinstance(entry, TextDelta):
                text = text[: entry.offset] + entry.content
            elif entry.role == "assistant":
                texts.append(text)
                text = ""
    return texts


async def transcript_of(run: Run[Any]) -> list[Message]:
    """Return the transcript, once a worker is alive."""
    while True:  # bounded by the timeout of the test
        try:
            return await run.transcript()
        except Unavailable:
            await asyncio.sleep(RETRY_S)
