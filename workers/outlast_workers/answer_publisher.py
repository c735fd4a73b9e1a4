"""Pushes the text of answers to gateways while models write it. A model call never waits for a gateway.

Each gateway has a task of its own. It sends what has grown since its last request, and the gateway replies
with what it holds. So a gateway that was away, or has lost its memory, gets the rest with the next request.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx2
import structlog

from outlast.contracts.events import (
    MAX_ANSWER_CHARACTERS,
    MAX_PIECES,
    AnswerPiece,
    HeldPieces,
    PushedPieces,
)
from outlast_workers.settings import Settings

MAX_OPEN_ANSWERS = 2_000
"""Answers that wait for a gateway. With more, the oldest one is no longer streamed."""

MAX_BATCH_CHARACTERS = 200_000
"""Characters of all texts in one request. The rest follows with the next one."""

GATHER_S = 0.01
"""How long a request waits for more text, so that a busy worker sends tens of requests a second at most."""

PUSH_TIMEOUT_S = 2.0
"""How long one request may take. Nobody waits for it but later texts."""

FIRST_RETRY_S = 0.25
MAX_RETRY_S = 5.0
"""The shortest and longest wait after a request that failed."""

log = structlog.get_logger("outlast.worker")


@dataclass
class OpenAnswer:
    """An answer that a model writes. Its text is kept whole: a gateway may lose what it had."""

    workflow_id: str
    entry: int
    turn: int
    attempt: int
    text: str = ""
    is_thinking: bool = False
    has_ended: bool = False


@dataclass
class _Sent:
    """What one gateway has of an answer: -1 if it does not know the answer."""

    answer: OpenAnswer
    characters: int = -1
    is_thinking: bool = False
    has_ended: bool = False

    @property
    def is_due(self) -> bool:
        """Whether the gateway lacks something: the beginning of the answer, too."""
        return self.state != (len(self.answer.text), self.answer.is_thinking, self.answer.has_ended)

    @property
    def state(self) -> tuple[int, bool, bool]:
        """What the gateway has."""
        return self.characters, self.is_thinking, self.has_ended


class GatewayLink:
    """The answers that one gateway lacks, and the task that sends them."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/") + "/hub/answers"
        headers = {b"authorization": f"Bearer {token}".encode()} if token else {}
        self._client = httpx2.AsyncClient(timeout=PUSH_TIMEOUT_S, headers=headers)
        self._answers: dict[str, _Sent] = {}
        self._changed = asyncio.Event()
        self._is_away = False
        self._retry_s = FIRST_RETRY_S

    def begin(self, answer: OpenAnswer) -> None:
        """Send a new answer, and no longer an earlier one of the same run."""
        known = self._answers.pop(answer.workflow_id, None)
        if known is not None and known.answer.attempt > answer.attempt:
            answer = known.answer  # this worker was late, and has begun a later attempt before
        self._answers[answer.workflow_id] = _Sent(answer)
        while len(self._answers) > MAX_OPEN_ANSWERS:
            del self._answers[next(iter(self._answers))]
        self.wake()

    def wake(self) -> None:
        """Send what has grown."""
        self._changed.set()

    async def run(self) -> None:
        """Send until the task is cancelled."""
        while True:  # ends with the worker
            await self._changed.wait()
            self._changed.clear()
            await asyncio.sleep(GATHER_S)
            while batch := self._batch():
                if await self._push(batch):
                    self._retry_s, wait_s = FIRST_RETRY_S, GATHER_S
                else:
                    # An answer that has ended is in the transcript before a gateway is back.
                    self._forget(lambda sent: sent.answer.has_ended)
                    wait_s, self._retry_s = self._retry_s, min(2 * self._retry_s, MAX_RETRY_S)
                await asyncio.sleep(wait_s)
            self._forget(lambda sent: sent.answer.has_ended)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _batch(self) -> list[tuple[_Sent, AnswerPiece]]:
        batch: list[tuple[_Sent, AnswerPiece]] = []
        size = 0
        for sent in self._answers.values():
            if len(batch) >= MAX_PIECES or size >= MAX_BATCH_CHARACTERS:
                break
            if sent.is_due:
                piece = _piece(sent, MAX_BATCH_CHARACTERS - size)
                size += len(piece.text)
                batch.append((sent, piece))
        return batch

    async def _push(self, batch: list[tuple[_Sent, AnswerPiece]]) -> bool:
        """Send a batch, and note what the gateway holds; return whether it went on."""
        pushed = PushedPieces(pieces=tuple(piece for _, piece in batch))
        body = pushed.model_dump_json(exclude_defaults=True)
        try:
            reply = await self._client.post(
                self.url, content=body, headers={"content-type": "application/json"}
            )
            reply.raise_for_status()
            held = HeldPieces.model_validate_json(reply.content).held
            if len(held) != len(batch):
                raise ValueError("the reply has another number of pieces")
        except Exception as error:  # noqa: BLE001 no reply of a gateway may end the task
            if not self._is_away:
                log.warning("events.gateway_away", url=self.url, reason=_reason(error))
            self._is_away = True
            return False
        if self._is_away:
            log.info("events.gateway_back", url=self.url)
        self._is_away = False
        moved = [
            self._note(sent, piece, count) for (sent, piece), count in zip(batch, held, strict=True)
        ]
        return any(moved)

    def _note(self, sent: _Sent, piece: AnswerPiece, held: int) -> bool:
        """Note what the gateway holds of an answer; return whether it is other than before."""
        if held < 0:
            # A later attempt, on another worker, has replaced this one.
            self._forget(lambda each: each is sent)
            return True
        before = sent.state
        sent.characters = min(held, len(sent.answer.text))
        sent.is_thinking, sent.has_ended = piece.is_thinking, piece.has_ended
        return sent.state != before

    def _forget(self, is_over: Callable[[_Sent], bool]) -> None:
        self._answers = {key: sent for key, sent in self._answers.items() if not is_over(sent)}


def _piece(sent: _Sent, most: int) -> AnswerPiece:
    answer, start = sent.answer, max(0, sent.characters)
    return AnswerPiece(
        workflow_id=answer.workflow_id,
        entry=answer.entry,
        attempt=answer.attempt,
        turn=answer.turn,
        offset=start,
        text=answer.text[start : start + most],
        is_thinking=answer.is_thinking,
        has_ended=answer.has_ended,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, httpx2.HTTPStatusError):
        return f"it answered {error.response.status_code}: {error.response.text[:200]}"
    return f"{type(error).__name__}: {error}"[:200]


class AnswerPublisher:
    """Implements `AnswerStreams` for some gateways."""

    def __init__(self, links: tuple[GatewayLink, ...]) -> None:
        self._links = links

    def open(self, workflow_id: str, *, entry: int, turn: int, attempt: int) -> "PublishedAnswer":
        """Begin an answer, which replaces all earlier ones of the run."""
        return PublishedAnswer(OpenAnswer(workflow_id, entry, turn, attempt), self._links)


class PublishedAnswer:
    """Implements `AnswerStream`."""

    def __init__(self, answer: OpenAnswer, links: tuple[GatewayLink, ...]) -> None:
        self._answer = answer
        self._links = links
        for link in links:
            link.begin(answer)

    def add(self, text: str) -> None:
        """Add a piece. An empty one shows that the model thinks."""
        answer = self._answer
        answer.text = (answer.text + text)[:MAX_ANSWER_CHARACTERS]
        answer.is_thinking = not text
        self._wake()

    def end(self) -> None:
        """End the answer. Its text so far is still sent."""
        self._answer.has_ended = True
        self._wake()

    def _wake(self) -> None:
        for link in self._links:
            link.wake()


@asynccontextmanager
async def answer_publisher(settings: Settings) -> AsyncIterator[AnswerPublisher | None]:
    """Push the answers of this process to the gateways of the settings, while the block runs."""
    if not settings.events.urls or "generate" not in settings.roles:
        yield None
        return
    token = settings.events.token
    async with AsyncExitStack() as stack:
        links = []
        for url in settings.events.urls:
            link = GatewayLink(url, token.get_secret_value() if token else None)
            stack.push_async_callback(link.aclose)
            links.append(link)
        tasks = [asyncio.create_task(link.run()) for link in links]
        try:
            yield AnswerPublisher(tuple(links))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
