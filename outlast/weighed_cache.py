"""A cache that is bounded by the size of its values: their number says nothing about memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class WeighedCache(Generic[Key, Value]):
    """Keeps values up to `max_bytes` in total. The least recently used are dropped first.

    A value that is larger than `max_bytes` is not kept at all. All threads of a worker may share a cache.
    """

    def __init__(self, *, max_bytes: int, max_entries: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._entries)

    @property
    def size(self) -> int:
        """The bytes of all values."""
        return self._bytes

    def get(self, key: Key) -> Value | None:
        """Return a value, or None if it is not here."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keep a value of `size` bytes."""
        with self._lock:
            _, old_size = self._entries.pop(key, (None, 0))
            self._entries[key] = (value, size)
            self._bytes += size - old_size
            while self._is_full():
                _, (_, dropped) = self._entries.popitem(last=False)
                self._bytes -= dropped

    def get_or_make(self, key: Key, make: Callable[[], tuple[Value, int]]) -> Value:
        """Return the value of a key. `make` returns a new one and its size in bytes."""
        known = self.get(key)
        if known is not None:
            return known
        value, size = make()
        self.put(key, value, size)
        return value

    def _is_full(self) -> bool:
        too_many = self._max_entries is not None and len(self._entries) > self._max_entries
        return too_many or self._bytes > self._max_bytes
