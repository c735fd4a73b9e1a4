"""Reading an answer of chat completions as a stream, while it is generated.

The token counts of a server are kept as they arrive, so that an aborted answer still has a known usage.
vLLM sends counts in every chunk if requested, llama.cpp in its `timings`. For other servers the pieces
are counted.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from outlast.errors import ModelFailure
from outlast.model_server import Completion, OnTokens
from outlast_activities.generation.loops import LoopWatch

BYTES_PER_TOKEN = 3
"""Fewer than in most tokenizers, so that an estimate is too high rather than too low."""

IN_FLIGHT_TOKENS = 8
"""Tokens that a server may have generated but not sent when its client disconnects."""

MAX_ANSWER_CHARACTERS = 4_000_000
"""More than the `max_tokens` of any model: a longer stream comes from a broken server."""

MAX_QUOTED_CHARACTERS = 300

REASONING = ("reasoning_content", "reasoning")
"""The fields of a delta in which servers send the reasoning of a model before its answer."""


class AnswerAborted(Exception):
    """Raised when an answer is not read to its end, or does not exist. `failure` is the class of failure.

    The message continues a sentence that begins with the server.
    """

    def __init__(self, message: str, failure: ModelFailure) -> None:
        super().__init__(message)
        self.failure = failure


@dataclass(frozen=True)
class TokenTimeouts:
    """The longest waits in seconds: for the first token, and between two tokens."""

    first_s: float
    next_s: float


@dataclass
class Answer:
    """An answer that is being read. `prompt_bytes` is the size of its prompt."""

    prompt_bytes: int = 0
    pieces: list[str] = field(default_factory=list)
    refusal: str = ""
    finish_reason: str | None = None
    model: str = ""
    is_reasoning: bool = False
    reasoning_pieces: int = 0
    _counts: dict[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.pieces)

    @property
    def completion_tokens(self) -> int:
        """The tokens of the answer so far."""
        return self._counts.get("completion_tokens") or len(self.pieces)

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Add a chunk. Return its text."""
        self.model = chunk.get("model") or self.model
        self._count(chunk)
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return ""
        choice = choices[0] if isinstance(choices[0], Mapping) else {}
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        # A server that does not stream sends the whole message at once.
        delta = choice.get("delta") or choice.get("message") or {}
        self.is_reasoning = any(_text(delta, name) for name in REASONING)
        self.reasoning_pieces += self.is_reasoning
        self.refusal += _text(delta, "refusal")
        piece = _text(delta, "content")
        if piece:
            self.pieces.append(piece)
        return piece

    def tokens(self, *, max_tokens: int | None = None) -> dict[str, int]:
        """Return the usage: as the server counts it, or an upper estimate.

        Pass the prompt's `max_tokens` if the answer was not read to its end: it may have more tokens.
        """
        if not self.pieces and not self.reasoning_pieces and not self._counts:
            return {}
        text_tokens = max(len(self.pieces), len(self.text.encode()) // BYTES_PER_TOKEN)
        usage = {
            "prompt_tokens": self.prompt_bytes // BYTES_PER_TOKEN,
            "completion_tokens": self.reasoning_pieces + text_tokens,
            **self._counts,
        }
        if max_tokens is not None:
            generated = usage["completion_tokens"] + IN_FLIGHT_TOKENS
            usage["completion_tokens"] = min(generated, max_tokens)
        return usage

    def completion(self, model: str) -> Completion:
        """Return an answer that was read to its end. Raises `AnswerAborted` if it has no end."""
        if self.refusal or self.finish_reason == "content_filter":
            reason = self.refusal[:MAX_QUOTED_CHARACTERS] or "content filter"
            raise AnswerAborted(f"the model refused: {reason}", ModelFailure.REFUSAL)
        if self.finish_reason is None and self.pieces:
            message = f"disconnected after {self.completion_tokens} tokens"
            raise AnswerAborted(message, ModelFailure.CONNECTION)
        if self.finish_reason is None:
            raise AnswerAborted("answered without a choice", ModelFailure.SERVER_ERROR)
        usage = self.tokens()
        return Completion(
            text=self.text,
            finish_reason=self.finish_reason,
            prompt_tokens=usage.get("prompt_tokens", 0),
            completion_tokens=usage.get("completion_tokens", 0),
            model=self.model or model,
            cached_prompt_tokens=usage.get("cached_prompt_tokens", 0),
        )

    def _count(self, chunk: Mapping[str, Any]) -> None:
        usage, timings = chunk.get("usage"), chunk.get("timings")
        if isinstance(usage, Mapping):
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
            counts = [usage.get("prompt_tokens"), cached, usage.get("completion_tokens")]
        elif isinstance(timings, Mapping):
            cached = timings.get("cache_n") or 0
            counts = [cached + (timings.get("prompt_n") or 0), cached, timings.get("predicted_n")]
        else:
            return
        names = ("prompt_tokens", "cached_prompt_tokens", "completion_tokens")
        self._counts.update(zip(names, (count or 0 for count in counts), strict=True))


def _text(delta: object, name: str) -> str:
    value = delta.get(name) if isinstance(delta, Mapping) else None
    return value if isinstance(value, str) else ""


async def read_answer(
    chunks: AsyncIterator[object],
    answer: Answer,
    *,
    timeouts: TokenTimeouts,
    watch: LoopWatch,
    on_tokens: OnTokens | None,
) -> None:
    """Read a stream to its end into `answer`.

    Raises `AnswerAborted` for a loop, a timeout between tokens, or a broken chunk.
    """
    now = asyncio.get_running_loop().time
    size = 0
    try:
        async with asyncio.timeout(timeouts.first_s) as timer:
            async for chunk in chunks:
                if not isinstance(chunk, Mapping):
                    raise AnswerAborted(
                        "sent a chunk that is not an object", ModelFailure.SERVER_ERROR
                    )
                piece = answer.add(chunk)
                if piece or answer.is_reasoning:
                    timer.reschedule(now() + timeouts.next_s)
                if not piece:
                    continue
                size += len(piece)
                if on_tokens is not None:
                    on_tokens(answer.completion_tokens)
                _abort_loop(watch.add(piece), answer, size)
    except TimeoutError:
        is_first = not answer.pieces
        waited_s = timeouts.first_s if is_first else timeouts.next_s
        token = "a token" if is_first else f"another token after {answer.completion_tokens}"
        raise AnswerAborted(
            f"did not send {token} within {waited_s:g} s", ModelFailure.TIMEOUT
        ) from None


def _abort_loop(loop: ModelFailure | None, answer: Answer, size: int) -> None:
    if loop is None and size <= MAX_ANSWER_CHARACTERS:
        return
    behaviours = {
        ModelFailure.WHITESPACE_LOOP: "sent only white space",
        ModelFailure.REPETITION_LOOP: "repeated itself",
    }
    failure = loop or ModelFailure.TRUNCATED
    behaviour = behaviours.get(failure, "did not end its answer")
    raise AnswerAborted(
        f"{behaviour} and was cut off after {answer.completion_tokens} tokens", failure
    )
