"""A cache that is bounded by the size of its values: their number says nothing about memory."""

from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class WeighedCache(Generic[Key, Value]):
    """Keeps values up to `max_bytes` in total. The least recently used are dropped first.

    A value that is larger than `max_bytes` is not kept at all.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """Return a value, or None if it is not here."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keep a value of `size` bytes."""
        _, old_size = self._entries.pop(key, (None, 0))
        self._entries[key] = (value, size)
        self.size += size - old_size
        while self.size > self._max_bytes:
            _, (_, dropped) = self._entries.popitem(last=False)
            self.size -= dropped
