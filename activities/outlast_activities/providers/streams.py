"""Streams: reads an answer of chat completions while it is generated.

What a server says on its way is kept, so that an answer which is cut still tells what it cost: vLLM
counts in every chunk when asked to, llama.cpp in its `timings`; of other servers pieces are counted.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from outlast.errors import ModelFailure
from outlast.model_server import Completion, OnTokens
from outlast_activities.generation.loops import LoopWatch

BYTES_A_TOKEN = 3
"""Fewer than most tokenizers': what nobody counted is counted too high rather than too low."""

IN_FLIGHT_TOKENS = 8
"""What a server may have generated beyond what came, when its client hangs up."""

MAX_ANSWER_CHARACTERS = 4_000_000
"""More than any model's `max_tokens` can hold: a server that never ends is no model server."""

MAX_SHOWN = 300


REASONING = ("reasoning_content", "reasoning")
"""Fields of a delta in which servers send what a model thinks before it answers."""


class CutOff(Exception):
    """Raised when an answer is not read to its end, or has none; `failure` says why."""

    def __init__(self, said: str, failure: ModelFailure) -> None:
        super().__init__(said)
        self.failure = failure


@dataclass(frozen=True)
class Gaps:
    """The longest waits, in seconds: for the first token, and from one to the next."""

    first_s: float
    next_s: float


@dataclass
class Answer:
    """An answer as far as it has come. `prompt_bytes` is what it answers, in bytes."""

    prompt_bytes: int = 0
    pieces: list[str] = field(default_factory=list)
    refusal: str = ""
    finish_reason: str | None = None
    model: str = ""
    is_thinking: bool = False
    thoughts: int = 0
    _counted: dict[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What was generated so far."""
        return "".join(self.pieces)

    @property
    def completion_tokens(self) -> int:
        """Tokens of the answer so far."""
        return self._counted.get("completion_tokens") or len(self.pieces)

    def take(self, chunk: Mapping[str, Any]) -> str:
        """Take what a chunk says; return the text that it adds."""
        self.model = chunk.get("model") or self.model
        self._count(chunk)
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return ""
        choice = choices[0] if isinstance(choices[0], Mapping) else {}
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        # A server that does not stream sends the whole message at once.
        delta = choice.get("delta") or choice.get("message") or {}
        self.is_thinking = any(_text(delta, name) for name in REASONING)
        self.thoughts += self.is_thinking
        self.refusal += _text(delta, "refusal")
        piece = _text(delta, "content")
        if piece:
            self.pieces.append(piece)
        return piece

    def tokens(self, *, cut_at: int | None = None) -> dict[str, int]:
        """Return what it cost: as the server counts, or no less where it does not say.

        `cut_at` is the most that an answer may have which was not read to its end.
        """
        if not self.pieces and not self.thoughts and not self._counted:
            return {}
        size = len(self.text.encode())
        told = {
            "prompt_tokens": self.prompt_bytes // BYTES_A_TOKEN,
            "completion_tokens": self.thoughts + max(len(self.pieces), size // BYTES_A_TOKEN),
            **self._counted,
        }
        if cut_at is not None:
            told["completion_tokens"] = min(told["completion_tokens"] + IN_FLIGHT_TOKENS, cut_at)
        return told

    def completion(self, model: str) -> Completion:
        """Return an answer that has come to its end; raise `CutOff` for one that has none."""
        if self.refusal or self.finish_reason == "content_filter":
            said = self.refusal[:MAX_SHOWN] or "content filter"
            raise CutOff(f"the model refused: {said}", ModelFailure.REFUSAL)
        if self.finish_reason is None and self.pieces:
            said = f"hung up after {self.completion_tokens} tokens"
            raise CutOff(said, ModelFailure.CONNECTION)
        if self.finish_reason is None:
            raise CutOff("answered without a choice", ModelFailure.SERVER_ERROR)
        cost = self.tokens()
        return Completion(
            text=self.text,
            finish_reason=self.finish_reason,
            prompt_tokens=cost.get("prompt_tokens", 0),
            completion_tokens=cost.get("completion_tokens", 0),
            model=self.model or model,
            cached_prompt_tokens=cost.get("cached_prompt_tokens", 0),
        )

    def _count(self, chunk: Mapping[str, Any]) -> None:
        usage, timings = chunk.get("usage"), chunk.get("timings")
        if isinstance(usage, Mapping):
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
            told = [usage.get("prompt_tokens"), cached, usage.get("completion_tokens")]
        elif isinstance(timings, Mapping):
            cached = timings.get("cache_n") or 0
            told = [cached + (timings.get("prompt_n") or 0), cached, timings.get("predicted_n")]
        else:
            return
        names = ("prompt_tokens", "cached_prompt_tokens", "completion_tokens")
        self._counted.update(zip(names, (value or 0 for value in told), strict=True))


def _text(delta: object, name: str) -> str:
    value = delta.get(name) if isinstance(delta, Mapping) else None
    return value if isinstance(value, str) else ""


async def read(
    chunks: AsyncIterator[object],
    answer: Answer,
    *,
    gaps: Gaps,
    watch: LoopWatch,
    on_tokens: OnTokens | None,
) -> None:
    """Read to the end into `answer`; raise `CutOff` for a loop, a gap that is too long, or nonsense."""
    now = asyncio.get_running_loop().time
    size = 0
    try:
        async with asyncio.timeout(gaps.first_s) as gap:
            async for chunk in chunks:
                if not isinstance(chunk, Mapping):
                    raise CutOff("sent a chunk that is no object", ModelFailure.SERVER_ERROR)
                piece = answer.take(chunk)
                if piece or answer.is_thinking:
                    gap.reschedule(now() + gaps.next_s)
                if not piece:
                    continue
                size += len(piece)
                if on_tokens is not None:
                    on_tokens(answer.completion_tokens)
                _cut_if_looping(watch.seen(piece), answer, size)
    except TimeoutError:
        waited = gaps.next_s if answer.pieces else gaps.first_s
        after = f"another token after {answer.completion_tokens}"
        what = after if answer.pieces else "a token"
        raise CutOff(f"did not send {what} within {waited:g} s", ModelFailure.TIMEOUT) from None


def _cut_if_looping(failure: ModelFailure | None, answer: Answer, size: int) -> None:
    if failure is None and size <= MAX_ANSWER_CHARACTERS:
        return
    said = {
        ModelFailure.WHITESPACE_LOOP: "sent nothing but white space",
        ModelFailure.REPETITION_LOOP: "repeated itself",
    }
    kind = failure or ModelFailure.TRUNCATED
    what = said.get(kind, "did not come to an end")
    raise CutOff(f"{what} and was cut off after {answer.completion_tokens} tokens", kind)
