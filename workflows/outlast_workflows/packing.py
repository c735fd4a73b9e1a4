"""The transcript as compressed text, for the input of the next run of a chain."""

import base64
import zlib

from pydantic import TypeAdapter

from outlast.contracts.messages import Message
from outlast.errors import RunTooLarge
from outlast.json_text import to_json

_MESSAGES = TypeAdapter(list[Message])


def pack(messages: list[Message], *, room: int) -> str:
    """Return a transcript as text of at most `room` bytes.

    If it does not fit, the oldest tool results are replaced by a note. Raises `RunTooLarge` if that is
    not enough.
    """
    shortened = list(messages)
    packed = _packed(shortened)
    start = 0
    while len(packed) > room and start < len(shortened):
        # A tenth of the entries at a time, because packing is the expensive part.
        end = min(len(shortened), start + max(1, len(shortened) // 10))
        shortened[start:end] = [_elided(message) for message in shortened[start:end]]
        start = end
        packed = _packed(shortened)
    if len(packed) > room:
        raise RunTooLarge(
            f"the transcript is {len(packed):,} bytes even without its tool results; a run can carry "
            f"{room:,}: use a smaller input, or fewer turns"
        )
    return packed


def unpack(packed: str) -> list[Message]:
    """Return the transcript that `pack` packed."""
    return _MESSAGES.validate_json(zlib.decompress(base64.b85decode(packed)))


def _packed(messages: list[Message]) -> str:
    return base64.b85encode(zlib.compress(_MESSAGES.dump_json(messages), level=6)).decode()


def _elided(message: Message) -> Message:
    if message.role != "tool" or message.content is None:
        return message
    note = to_json(
        {"elided": f"{len(message.content):,} characters; call the tool again if needed"}
    )
    is_shorter = len(note) < len(message.content)
    return message.model_copy(update={"content": note}) if is_shorter else message
