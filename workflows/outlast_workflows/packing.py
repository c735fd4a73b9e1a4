"""The transcript as compressed text, for the input of the next run of a chain.

Packing happens in one workflow task, whose thread may not work for more than two seconds. So lengths alone
decide which tool results are elided, before the text is compressed.
"""

import base64
import zlib
from collections.abc import Sequence

from pydantic import JsonValue, TypeAdapter, ValidationError

from outlast.contracts.messages import Message, Opaque
from outlast.contracts.usage import Usage
from outlast.errors import BadRequest, RunTooLarge
from outlast.text.json_text import to_json
from outlast.transcripts import USAGE_BYTES, opaque_bytes, without_opaque

MAX_TEXT_BYTES = 6_000_000
"""Entries of a transcript as JSON before compression. To compress them takes about 0.2 s."""

MAX_UNPACKED_BYTES = 64_000_000
"""Text that a packed transcript may hold: a short one could claim gigabytes. Older builds packed more than
`MAX_TEXT_BYTES` if it was repetitive."""

COMPRESSION_LEVEL = 1
"""The fastest level. Level 6 takes up to three times as long, to save a twentieth."""

MAX_ROUNDS = 3
"""How often results are elided by the measured ratio. After that, the rest must fit without compression."""

SAFETY = 0.9
"""The part of the room that a round aims at, because not all entries shrink alike."""

ENTRY_BYTES = 80
"""Size of an entry without its content."""

PREFIX = "z1:"
"""Begins a transcript in base64. The base85 text of older builds has no colon."""

_MESSAGES = TypeAdapter(list[Message])


def pack(messages: Sequence[Message], *, room: int) -> str:
    """Return a transcript as text of at most `room` bytes.

    If it does not fit, what only models need back is left out, and then the oldest tool results are
    replaced by a note. Models bind what they need back to the text before it, so it is left out of all
    entries or of none. Raises `RunTooLarge` if that is not enough.
    """
    room_packed = max(1, (room - len(PREFIX)) // 4 * 3)
    if _size_of(messages) + sum(map(opaque_bytes, messages)) > min(room_packed, MAX_TEXT_BYTES):
        messages = list(map(without_opaque, messages))
    kept, text = _shortened(messages, MAX_TEXT_BYTES), b""
    for attempt in range(1, MAX_ROUNDS + 2):
        text = _encoded(kept)
        excess = len(text) / MAX_TEXT_BYTES
        if excess <= 1:
            packed = zlib.compress(text, level=COMPRESSION_LEVEL)
            if len(packed) <= room_packed:
                return PREFIX + base64.b64encode(packed).decode()
            excess = len(packed) / room_packed
        most = int(_size_of(kept) * SAFETY / excess)
        if attempt >= MAX_ROUNDS:
            most = min(most, int(room_packed * SAFETY))
        shorter = _shortened(kept, most)
        if shorter is kept:
            break
        kept = shorter
    raise RunTooLarge(
        f"the transcript is {len(text):,} bytes even without its tool results, which is too much for the"
        f" next run: use a smaller input, or fewer turns"
    )


def unpack(packed: str) -> list[Message]:
    """Return the transcript that `pack` packed; raises `BadRequest` for any other text."""
    try:
        if packed.startswith(PREFIX):
            compressed = base64.b64decode(packed[len(PREFIX) :], validate=True)
        else:
            compressed = base64.b85decode(packed)
        inflater = zlib.decompressobj()
        text = inflater.decompress(compressed, MAX_UNPACKED_BYTES)
        if not inflater.eof:
            raise BadRequest(f"packed: is cut, or holds more than {MAX_UNPACKED_BYTES:,} bytes")
        return _MESSAGES.validate_json(text)
    except (ValueError, zlib.error) as error:
        reason = "its entries are invalid" if isinstance(error, ValidationError) else error
        raise BadRequest(f"packed: is not a packed transcript: {reason}") from None


def _encoded(messages: Sequence[Message]) -> bytes:
    """Return entries as JSON. One call encodes them all, because there may be 90,000."""
    entries: list[JsonValue] = [
        {name: _plain(value) for name, value in message.__dict__.items() if value is not None}
        for message in messages
    ]
    return to_json(entries).encode(errors="replace")


def _plain(value: str | int | Opaque | Usage) -> JsonValue:
    if isinstance(value, str | int):
        return value
    fields: dict[str, JsonValue] = value.model_dump(mode="json", exclude_defaults=True)
    return fields


def _size_of(messages: Sequence[Message]) -> int:
    return sum(map(_bytes_of, messages))


def _bytes_of(message: Message) -> int:
    """Return the size of an entry in JSON, or a little more."""
    content = message.content or ""
    escapes = content.count('"') + content.count("\\")
    return (
        ENTRY_BYTES
        + (0 if message.usage is None else USAGE_BYTES)
        + escapes
        + len(content if content.isascii() else content.encode(errors="replace"))
    )


def _shortened(messages: Sequence[Message], most: int) -> Sequence[Message]:
    """Return messages of at most `most` bytes if possible: the oldest tool results are elided.

    Returns the same object if no result can be elided.
    """
    sizes = list(map(_bytes_of, messages))
    size = sum(sizes)
    shortened: list[Message] | None = None
    for index, message in enumerate(messages):
        if size <= most:
            break
        note = _note(message)
        if note is not None:
            shortened = shortened or list(messages)
            shortened[index] = message.model_copy(update={"content": note})
            size -= sizes[index] - len(note)
    return messages if shortened is None else shortened


def _note(message: Message) -> str | None:
    """Return what replaces the content of a tool result, or None if that would not be shorter."""
    if message.role != "tool" or message.content is None:
        return None
    note = to_json(
        {"elided": f"{len(message.content):,} characters; call the tool again if needed"}
    )
    return note if len(note) < len(message.content) else None
