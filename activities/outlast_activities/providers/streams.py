"""Reading an answer of chat completions as a stream, while it is generated.

The token counts of a server are kept as they arrive, so that an aborted answer still has a known usage.
vLLM sends counts in every chunk if requested, llama.cpp in its `timings`. For other servers the pieces
are counted.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

from outlast.contracts.messages import Opaque
from outlast.errors import ModelFailure
from outlast.model_server import Completion, OnText, OnTokens
from outlast.text.texts import cut
from outlast_activities.generation.answer_text import AnswerText
from outlast_activities.generation.decision_text import well_formed
from outlast_activities.generation.loops import LoopWatch
from outlast_activities.providers.error_bodies import error_in, words_of
from outlast_activities.providers.error_classes import failure_of_answer
from outlast_activities.providers.finish_reasons import failure_of_finish, finish_reason_in
from outlast_activities.providers.token_counts import counts_in

BYTES_PER_TOKEN = 3
"""Fewer than in most tokenizers, so that an estimate is too high rather than too low."""

IN_FLIGHT_TOKENS = 8
"""Tokens that a server may have generated but not sent when its client disconnects."""

MAX_ANSWER_CHARACTERS = 4_000_000
"""More than the `max_tokens` of any model: a longer stream comes from a broken server."""

MAX_QUOTED_CHARACTERS = 300

MAX_REFUSAL = 1_000
"""Characters of the reason of a refusal that are kept."""

MAX_MODEL_NAME = 200
"""Characters of the name of the model that answered."""


TEXTS = ("text", "output_text")
THOUGHTS = ("thinking", "reasoning", "reasoning_text")
"""Types of the parts of a content: the answer, and the thoughts before it."""

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


class StreamedAnswer(Protocol):
    """An answer that `read_answer` reads, for one API."""

    is_reasoning: bool
    """Whether the last chunk held thoughts."""
    is_alive: bool
    """Whether the last chunk only showed that the server still works."""
    reasoning_characters: int
    kept_characters: int
    """The characters of what the API needs back besides texts, arguments and thoughts."""

    @property
    def has_begun(self) -> bool:
        """Whether a piece of the answer has arrived."""
        ...

    @property
    def completion_tokens(self) -> int:
        """The tokens of the answer so far."""
        ...

    @property
    def is_prose(self) -> bool:
        """Whether the final answer is the text itself, and not JSON."""
        ...

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Add a chunk. Return its text. Raises `AnswerAborted` for an error in the chunk."""
        ...

    def new_answer_text(self) -> str:
        """Return what was added to the final answer since the last call. It is empty in tool calls."""
        ...


@dataclass
class Answer:
    """An answer that is being read. `prompt_bytes` is the size of its prompt."""

    prompt_bytes: int = 0
    pieces: list[str] = field(default_factory=list)
    refusal: str = ""
    finish_reason: str | None = None
    model: str = ""
    is_reasoning: bool = False
    is_alive: bool = False
    reasoning_pieces: int = 0
    reasoning_characters: int = 0
    kept_characters: int = 0
    _counts: dict[str, int] = field(default_factory=dict)
    _read_pieces: int = 0
    is_prose = False

    @property
    def text(self) -> str:
        """The text so far. Halves of a surrogate pair that came in two pieces are one character."""
        return well_formed("".join(self.pieces))

    @property
    def has_begun(self) -> bool:
        """Whether a piece of the answer has arrived."""
        return bool(self.pieces)

    @property
    def completion_tokens(self) -> int:
        """The tokens of the answer so far."""
        return self._counts.get("completion_tokens") or len(self.pieces)

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Add a chunk. Return its text. Raises `AnswerAborted` for an error in the chunk."""
        raise_error(error_in(chunk))
        model = chunk.get("model")
        self.model = model[:MAX_MODEL_NAME] if isinstance(model, str) and model else self.model
        self._counts.update(counts_in(chunk))
        choice = first_choice(chunk.get("choices"))
        raise_error(choice.get("error"))
        self.finish_reason = finish_reason_in(choice.get("finish_reason")) or self.finish_reason
        # A server that does not stream sends the whole message at once.
        delta = choice.get("delta") or choice.get("message") or {}
        if not isinstance(delta, Mapping):
            return ""
        content = delta.get("content")
        thoughts = "".join(text_in(delta.get(name)) for name in REASONING) + text_in(
            content, THOUGHTS
        )
        self.is_reasoning = bool(thoughts)
        self.reasoning_pieces += self.is_reasoning
        self.reasoning_characters += len(thoughts)
        self.refusal = (self.refusal + text_in(delta.get("refusal")))[:MAX_REFUSAL]
        piece = text_in(content)
        if piece:
            self.pieces.append(piece)
        return piece

    def new_answer_text(self) -> str:
        """Return the text since the last call. It is the decision, so it can hold tool calls instead."""
        new, self._read_pieces = self.pieces[self._read_pieces :], len(self.pieces)
        return "".join(new)

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
        }
        # A server that does not count reports nothing, or 0.
        usage |= {name: count for name, count in self._counts.items() if count}
        if max_tokens is not None:
            generated = usage["completion_tokens"] + IN_FLIGHT_TOKENS
            usage["completion_tokens"] = min(generated, max_tokens)
        return bounded_parts(usage)

    def completion(self, model: str) -> Completion:
        """Return an answer that was read to its end. Raises `AnswerAborted` if it has no end."""
        failure = failure_of_end(
            self.finish_reason,
            refusal=self.refusal,
            tokens=self.completion_tokens,
            is_begun=bool(self.pieces),
        )
        return completion_of(self.text, self.tokens(), failure, self.model or model)


def failure_of_end(
    finish_reason: str | None, *, refusal: str, tokens: int, is_begun: bool
) -> ModelFailure | None:
    """Return `TRUNCATED` for an answer that was cut off, else None. Raises `AnswerAborted` otherwise.

    An answer without a reason was cut off if it has begun. Otherwise the server sent none.
    """
    if refusal:
        reason = cut(refusal, MAX_QUOTED_CHARACTERS)
        raise AnswerAborted(f"the model refused: {reason}", ModelFailure.REFUSAL)
    if finish_reason is None and is_begun:
        raise AnswerAborted(f"disconnected after {tokens} tokens", ModelFailure.CONNECTION)
    if finish_reason is None:
        raise AnswerAborted("answered without a choice", ModelFailure.SERVER_ERROR)
    failure = failure_of_finish(finish_reason)
    if failure is None or failure is ModelFailure.TRUNCATED:
        return failure
    if failure is ModelFailure.REFUSAL:
        reason = finish_reason.replace("_", " ")
        raise AnswerAborted(f"the model refused: {reason}", failure)
    raise AnswerAborted(
        f"ended its answer after {tokens} tokens with the reason {finish_reason!r}", failure
    )


def completion_of(
    text: str,
    usage: Mapping[str, int],
    failure: ModelFailure | None,
    model: str,
    opaque: Opaque | None = None,
) -> Completion:
    """Return a completion, with the parts of its usage. `failure` is `TRUNCATED` or None."""
    return Completion(
        text=text,
        finish_reason="stop" if failure is None else "length",
        prompt_tokens=usage.get("prompt_tokens", 0),
        completion_tokens=usage.get("completion_tokens", 0),
        model=model,
        cached_prompt_tokens=usage.get("cached_prompt_tokens", 0),
        cache_write_tokens=usage.get("cache_write_tokens", 0),
        reasoning_tokens=usage.get("reasoning_tokens", 0),
        opaque=opaque,
    )


def bounded_parts(usage: dict[str, int]) -> dict[str, int]:
    """Return a usage whose parts are not larger than their wholes, whatever a server reports."""
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    cached = min(usage.get("cached_prompt_tokens", 0), prompt)
    parts = {
        "cached_prompt_tokens": cached,
        "cache_write_tokens": min(usage.get("cache_write_tokens", 0), prompt - cached),
        "reasoning_tokens": min(usage.get("reasoning_tokens", 0), completion),
    }
    return {**usage, **{name: count for name, count in parts.items() if name in usage}}


def first_choice(choices: object) -> Mapping[str, Any]:
    """Return the choice that was requested. A server that sends more of them marks them by `index`."""
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, Mapping) and choice.get("index") in (0, None):
            return choice
    return {}


def raise_error(error: object) -> None:
    """Raise an error that came inside of a stream, as `AnswerAborted`."""
    if not error:
        return
    words = words_of(error)
    raise AnswerAborted(
        f"answered with an error: {cut(words, MAX_QUOTED_CHARACTERS)}",
        failure_of_answer(HTTPStatus.OK, error, words),
    )


def text_in(content: object, types: tuple[str, ...] = TEXTS) -> str:
    """Return the text of a content: a string, or a list of parts of these types."""
    if isinstance(content, str):
        return content if types is TEXTS else ""
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        return ""
    return "".join(_part_text(part, types) for part in content)


def _part_text(part: object, types: tuple[str, ...]) -> str:
    if isinstance(part, str):
        return part if types is TEXTS else ""
    kind = part.get("type", "text") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or kind not in types:
        return ""
    # Mistral nests the parts of its thoughts, and others put a text into an object.
    value = part.get("text") or part.get("value") or part.get(str(kind))
    if isinstance(value, Mapping):
        value = value.get("value")
    if isinstance(value, list):
        value = "".join(_part_text(inner, TEXTS) for inner in value if inner is not part)
    return value if isinstance(value, str) else ""


async def read_answer(
    chunks: AsyncIterator[object],
    answer: StreamedAnswer,
    *,
    timeouts: TokenTimeouts,
    watch: LoopWatch,
    on_tokens: OnTokens | None,
    on_text: OnText | None = None,
) -> None:
    """Read a stream to its end into `answer`. `on_text` gets the text of a final answer piece by piece.

    Raises `AnswerAborted` for a loop, a timeout between tokens, or a broken chunk.
    """
    shown: AnswerText | None = None
    now = asyncio.get_running_loop().time
    size = 0
    try:
        async with asyncio.timeout(timeouts.first_s) as timer:
            async for chunk in chunks:
                if not isinstance(chunk, Mapping):
                    raise_error(error_in(chunk))
                    raise AnswerAborted(
                        "sent a chunk that is not an object", ModelFailure.SERVER_ERROR
                    )
                piece = answer.add(chunk)
                if piece or answer.is_reasoning:
                    timer.reschedule(now() + timeouts.next_s)
                elif answer.is_alive:
                    timer.reschedule(max(timer.when() or 0, now() + timeouts.next_s))
                size += len(piece)
                if piece and on_tokens is not None:
                    on_tokens(answer.completion_tokens)
                if on_text is not None:
                    shown = shown or _begun(answer)
                    text = shown.add(answer.new_answer_text()) if shown else ""
                    if text or answer.is_reasoning:
                        on_text(text)
                _abort_loop(watch.add(piece), answer, size + _kept(answer))
    except TimeoutError:
        is_first = not answer.has_begun
        waited_s = timeouts.first_s if is_first else timeouts.next_s
        token = "a token" if is_first else f"another token after {answer.completion_tokens}"
        raise AnswerAborted(
            f"did not send {token} within {waited_s:g} s", ModelFailure.TIMEOUT
        ) from None


def _begun(answer: StreamedAnswer) -> AnswerText | None:
    """Return a reader of the final answer, once it is known whether it is JSON."""
    return AnswerText(is_prose=answer.is_prose) if answer.has_begun else None


def _kept(answer: StreamedAnswer) -> int:
    return answer.reasoning_characters + answer.kept_characters


def _abort_loop(loop: ModelFailure | None, answer: StreamedAnswer, size: int) -> None:
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
