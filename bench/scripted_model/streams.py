"""HTTP bodies of completions: as a stream of events or as a whole, piece by piece as they are generated.

The chunks of a stream have the order of vLLM 0.32 (`chat_completion_stream_generator`). The role comes
with the first token, and an error during the stream is an event, followed by `[DONE]`.
"""

import json
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from math import inf
from typing import Any, Literal

from bench.scripted_model.http_connection import HangUp, Parts, Pause, head
from bench.scripted_model.scripts import Request, Step, tokens_of

MAX_PIECES = 100_000
"""The limit of an unbounded answer: more than any client reads, and less than fills the memory."""

MAX_CHUNK_BYTES = 16_000

Engine = Literal["vllm", "llama.cpp"]

_Pieces = Generator[str | Pause | HangUp, None, None]
_Events = Generator[bytes | Pause | HangUp, None, None]


@dataclass(frozen=True)
class Answer:
    """One completion: a request, its scripted step, and the limits of the answer."""

    number: int
    model: str
    request: Request
    step: Step
    engine: Engine | None = None
    context_tokens: int | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def is_counted(self) -> bool:
        """Whether each piece is a token. Otherwise the text is one piece of several tokens."""
        return self.step.pieces is not None or self.step.repeats

    @property
    def max_pieces(self) -> int:
        """The most pieces that are generated."""
        max_tokens = self.request.max_tokens
        bounds = [MAX_PIECES] if max_tokens is None else [MAX_PIECES, max_tokens]
        if self.context_tokens is not None:
            bounds.append(self.context_tokens - self.request.prompt_tokens)
        return max(0, min(bounds)) if self.is_counted else 1

    @property
    def pieces(self) -> Iterable[str]:
        """The pieces that are generated."""
        pieces = self.step.pieces
        if pieces is None:
            pieces = (self.step.text,) if self.step.text and not self.step.refusal else ()
        if self.step.repeats:
            return islice(cycle(pieces), self.max_pieces)
        return pieces[: self.max_pieces]

    @property
    def finish_reason(self) -> str:
        """Why it ends."""
        is_cut = len(self.step.pieces or ()) > self.max_pieces or self.step.repeats
        return "length" if is_cut else self.step.finish_reason

    def begin(self) -> None:
        """Note that generation has begun."""
        self.request.generation.prompt_tokens = self.request.prompt_tokens

    def generated(self) -> _Pieces:
        """Yield the pieces in time, until the end or the scripted failure."""
        generation = self.request.generation
        sent = 0
        for piece in self.pieces:
            yield from self._interruption(sent)
            if sent and self.step.gap_s:
                yield Pause(self.step.gap_s)
            self.begin()
            sent += 1
            generation.sent_pieces = sent
            generation.completion_tokens = sent if self.is_counted else tokens_of(piece)
            yield piece
        yield from self._interruption(sent)

    def _interruption(self, sent: int) -> Iterator[Pause | HangUp]:
        if self.step.stalls_after == sent:
            yield Pause(inf)
        if self.step.breaks_after == sent:
            self.request.generation.state = "broken"
            yield HangUp()

    def usage(self) -> dict[str, Any]:
        """Return the usage so far."""
        prompt, completion = (
            self.request.prompt_tokens,
            self.request.generation.completion_tokens,
        )
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def final_usage(self) -> dict[str, Any]:
        """Return the final usage, as the step overrides it."""
        return {**self.usage(), **(self.step.usage or {})}

    def timings(self) -> dict[str, Any]:
        """Return the usage so far in the form of llama.cpp: the prompt without its cached part."""
        details = (self.step.usage or {}).get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens", 0)
        return {
            "cache_n": cached,
            "prompt_n": self.request.prompt_tokens - cached,
            "predicted_n": self.request.generation.completion_tokens,
        }


def streamed(answer: Answer) -> Parts:
    """Yield a completion as server-sent events in a chunked body.

    vLLM sends the head before the first token, other servers with it.
    """
    step = answer.step
    first = head(200, "text/event-stream; charset=utf-8", step.headers, length=None)
    if answer.engine == "vllm":
        yield first
    if step.delay_s:
        yield Pause(step.delay_s)
    if answer.engine != "vllm":
        yield first
    yield from _chunked(_events(answer))


def whole(answer: Answer) -> Parts:
    """Yield a completion as one JSON body at its end."""
    step = answer.step
    if step.delay_s:
        yield Pause(step.delay_s)
    pieces: list[str] = []
    for part in answer.generated():
        if isinstance(part, str):
            pieces.append(part)
        else:
            yield part
    if step.error_in_stream is None:
        answer.begin()
        content: dict[str, Any] = _completion(answer, "".join(pieces))
    else:
        content = {"error": dict(step.error_in_stream)}
    body = json.dumps(content).encode()
    status = 200 if step.error_in_stream is None else 500
    yield head(status, "application/json", step.headers, length=len(body)) + body


def _completion(answer: Answer, text: str) -> dict[str, Any]:
    refusal = answer.step.refusal
    message = {"role": "assistant", "content": None if refusal else text, "refusal": refusal}
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": answer.finish_reason,
        "logprobs": None,
    }
    return {
        **_envelope(answer, "chat.completion"),
        "choices": [choice],
        "usage": answer.final_usage(),
    }


def _events(answer: Answer) -> _Events:
    step = answer.step
    is_first = True
    for part in answer.generated():
        if not isinstance(part, str):
            yield part
        elif is_first and not answer.is_counted:
            is_first = False
            yield _event(_chunk(answer, {"role": "assistant", "content": part}))
        else:
            if is_first:
                is_first = False
                yield _event(_chunk(answer, {"role": "assistant", "content": ""}))
            yield _event(_chunk(answer, {"content": part}))
    if step.error_in_stream is not None:
        yield _event({"error": dict(step.error_in_stream)})
    else:
        answer.begin()
        if is_first:
            opening = {"content": ""} if step.refusal is None else {"refusal": step.refusal}
            yield _event(_chunk(answer, {"role": "assistant", **opening}))
        yield _event(_chunk(answer, {}, finish_reason=answer.finish_reason))
        if _option(answer, "include_usage"):
            envelope = _envelope(answer, "chat.completion.chunk")
            yield _event({**envelope, "choices": [], "usage": answer.final_usage()})
    yield b"data: [DONE]\n\n"


def _chunk(
    answer: Answer, delta: dict[str, Any], *, finish_reason: str | None = None
) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    chunk = {**_envelope(answer, "chat.completion.chunk"), "choices": [choice]}
    if answer.engine == "llama.cpp":
        if answer.request.body.get("timings_per_token"):
            chunk["timings"] = answer.timings()
    elif _option(answer, "include_usage") and _option(answer, "continuous_usage_stats"):
        chunk["usage"] = answer.usage()
    return chunk


def _envelope(answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": f"scripted-{answer.number}",
        "object": kind,
        "created": answer.created,
        "model": answer.request.body.get("model") or answer.model,
    }


def _option(answer: Answer, name: str) -> bool:
    return bool((answer.request.body.get("stream_options") or {}).get(name))


def _event(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode(errors="replace")


def _chunked(events: _Events) -> Parts:
    """Put events into HTTP chunks. Events that are ready at the same time share one."""
    ready = bytearray()
    for event in events:
        if isinstance(event, bytes):
            ready += event
            if len(ready) < MAX_CHUNK_BYTES:
                continue
        if ready:
            yield _framed(ready)
            ready.clear()
        if not isinstance(event, bytes):
            yield event
    yield (_framed(ready) if ready else b"") + b"0\r\n\r\n"


def _framed(content: bytearray) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), bytes(content))
