"""JSON Schemas as keys of a cache."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class KeyedSchema:
    """A schema that `functools.lru_cache` compares by its key. Equal schemas need equal keys."""

    key: str
    schema: dict[str, Any] = field(compare=False)
