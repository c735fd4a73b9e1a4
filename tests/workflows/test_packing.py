"""Packed transcripts: quick enough for a workflow task, within their room, and safe to unpack."""

import base64
import json
import random
import time
import zlib
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

import pytest
from outlast_workflows.packing import MAX_UNPACKED_BYTES, PREFIX, pack, unpack

from outlast.contracts.messages import Message
from outlast.contracts.usage import Usage
from outlast.errors import BadRequest, RunTooLarge

Value = TypeVar("Value")

ROOM = 1_700_000
MAX_RATIO = 4.0
"""Packing may take so many times the CPU of writing and compressing the messages once."""
NOISE = random.Random(11)
WORDS = [
    "".join(NOISE.choices("abcdefghijklmnopqrstuvwxyz", k=NOISE.randint(2, 9)))
    for _ in range(5_000)
]
BLOCK = " ".join(NOISE.choices(WORDS, k=400_000))
HEX = NOISE.randbytes(1_000_000).hex()
BASE64 = base64.b64encode(NOISE.randbytes(1_500_000)).decode()
WIDE = "".join(map(chr, NOISE.choices(range(0x4E00, 0xA000), k=700_000)))


def cut_from(text: str) -> Callable[[int], str]:
    def piece(size: int) -> str:
        start = NOISE.randint(0, len(text) - size - 1)
        return text[start : start + size]

    return piece


TEXTS: dict[str, Callable[[int], str]] = {
    "words": cut_from(BLOCK),
    "hexadecimal": cut_from(HEX),
    "base64": cut_from(BASE64),
    "wide": cut_from(WIDE),
    "one letter": lambda size: "x" * size,
    "quotes": lambda size: '"' * size,
    "backslashes": lambda size: "\\" * size,
    "control characters": lambda size: "\x00" * size,
    "emoji": lambda size: "😀" * (size // 4),
    "rows of numbers": lambda size: json.dumps([NOISE.random() for _ in range(size // 20)]),
    "half of surrogate pairs": lambda size: "\ud83d" * (size // 3),
}


def transcript(text: Callable[[int], str], *, size: int, count: int) -> list[Message]:
    """Return a transcript with tool results of `size` characters in all."""
    messages = [Message(role="user", content="begin")]
    for n in range(count):
        content = json.dumps(text(size // count), ensure_ascii=False)
        messages.append(Message(role="assistant", content="{}"))
        messages.append(Message(role="tool", tool="read", call_id=f"{n}.1", content=content))
    return messages


def timed(work: Callable[[], Value]) -> tuple[Value, float]:
    """Return what `work` returns, and the seconds of CPU that it took."""
    began = time.thread_time()
    value = work()
    return value, time.thread_time() - began


def written_s(messages: list[Message]) -> float:
    """Return how many seconds of CPU it takes to write the messages as JSON, and to compress them once."""

    def write() -> None:
        for message in messages:
            zlib.compress(json.dumps(message.content).encode(), 1)

    return timed(write)[1]


@pytest.mark.parametrize("text", TEXTS)
def test_twenty_megabytes_are_packed_as_fast_as_they_are_written(text: str) -> None:
    messages = transcript(TEXTS[text], size=20_000_000, count=2_000 if text == "words" else 80)
    packed, took_s = timed(lambda: pack(messages, room=ROOM))
    assert took_s < MAX_RATIO * written_s(messages)
    assert len(packed) <= ROOM
    unpacked = unpack(packed)
    assert [entry.call_id for entry in unpacked] == [entry.call_id for entry in messages]
    assert unpacked[-2:-1] == messages[-2:-1]
    assert "elided" in (unpacked[2].content or "")
    assert "elided" not in (unpacked[-1].content or "")


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_a_small_transcript_is_packed_whole(text: Callable[[int], str]) -> None:
    messages = transcript(text, size=100_000, count=10)
    unpacked = unpack(pack(messages, room=ROOM))
    assert len(unpacked) == len(messages)
    assert not any("elided" in (entry.content or "") for entry in unpacked)


def test_many_short_entries_are_packed_as_fast_as_they_are_written() -> None:
    messages = [Message(role="assistant", content=f'{{"answer":{n}}}') for n in range(90_000)]
    packed, took_s = timed(lambda: pack(messages, room=ROOM))
    assert took_s < MAX_RATIO * written_s(messages)
    assert unpack(packed) == messages


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize("room", [ROOM, 100, 0, -5_000])
def test_what_people_and_the_model_wrote_is_not_elided(role: str, room: int) -> None:
    messages = [
        Message.model_validate({"role": role, "content": TEXTS["base64"](250_000)})
        for _ in range(80)
    ]

    def refused() -> None:
        with pytest.raises(RunTooLarge, match="even without its tool results"):
            pack(messages, room=room)

    _, took_s = timed(refused)
    assert took_s < MAX_RATIO * written_s(messages)


def test_the_usage_of_decisions_is_packed() -> None:
    usage = Usage(prompt_tokens=10**12, completion_tokens=10**12, cost_usd=Decimal("0.123456789"))
    messages = [Message(role="assistant", content="{}", usage=usage)] * 500
    assert unpack(pack(messages, room=ROOM)) == messages


def test_a_transcript_that_an_older_build_packed_is_read() -> None:
    messages = transcript(TEXTS["words"], size=50_000, count=5)
    text = json.dumps([message.model_dump(exclude_none=True) for message in messages])
    assert unpack(base64.b85encode(zlib.compress(text.encode())).decode()) == messages


def packed_bytes(data: bytes) -> str:
    return PREFIX + base64.b64encode(data).decode()


FOREIGN = {
    "empty": "",
    "not base85": "\x00",
    "not base64": f"{PREFIX}!",
    "not ASCII": "ä",
    "half of a surrogate pair": "\ud83d",
    "padding": f"{PREFIX}===",
    "not compressed": packed_bytes(b"hello"),
    "cut": packed_bytes(zlib.compress(b"[]" * 1_000)[:-5]),
    "not JSON": packed_bytes(zlib.compress(b"{not json")),
    "not UTF-8": packed_bytes(zlib.compress(b"\xff\xfe")),
    "an object": packed_bytes(zlib.compress(b"{}")),
    "other entries": packed_bytes(zlib.compress(b'[{"role":"system"}]')),
    "nested": packed_bytes(zlib.compress(b"[" * 100_000)),
    "digits": packed_bytes(zlib.compress(b"1" * 100_000)),
    "too large": packed_bytes(zlib.compress(b" " * (MAX_UNPACKED_BYTES + 1))),
}


@pytest.mark.parametrize("packed", FOREIGN.values(), ids=list(FOREIGN))
def test_text_that_nobody_packed_is_rejected(packed: str) -> None:
    with pytest.raises(BadRequest, match="packed: is"):
        unpack(packed)
