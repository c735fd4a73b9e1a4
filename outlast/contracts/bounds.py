"""Bounds of fields that people and programs fill: each text, number, list and JSON value has one.

`tests/outlast/contracts/test_contract_bounds.py` fails for a field without a bound.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from outlast.text.json_text import checked_json, to_json

MAX_INSTANT_S = 31_536_000
"""A year: the longest wait, timeout or deadline. Larger numbers would overflow a time."""

MAX_SERVER_FORMS = 10
"""Questions that an MCP server may ask at the same time."""

MAX_SERVER_STATE = 65_536
"""Characters of the state that an MCP server wants back: it is part of the run's history."""

MAX_ID_CHARACTERS = 200
"""Characters of a name that a program makes: a request, a nonce, a model or a version."""


class Bound:
    """A check of a field that pydantic has no constraint for. `check` raises `ValueError`."""

    def check(self, value: Any) -> Any:
        """Return the value, or raise `ValueError` with what is allowed."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Run `check` after the validation of the type."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))


@dataclass(frozen=True)
class MaxBytes(Bound):
    """Text of a limited size in UTF-8, which is how Temporal counts."""

    max_bytes: int

    def check(self, value: str) -> str:
        """Return text that is short enough."""
        size = len(value.encode())
        if size > self.max_bytes:
            raise ValueError(f"may have {self.max_bytes:,} bytes, and has {size:,}")
        return value


JOINERS = "\u200c\u200d"
"""Invisible characters with which Persian, Indian languages and some emoji are written."""


@dataclass(frozen=True)
class Printable(Bound):
    """Text without control characters and invisible characters, so that it is what people see.

    `also` are control characters that are allowed.
    """

    also: str = ""

    def check(self, value: str) -> str:
        """Return text that is printable."""
        for character in value:
            if not character.isprintable() and character not in self.also:
                raise ValueError(f"has the control or invisible character {character!a}; remove it")
        return value


@dataclass(frozen=True)
class JsonBounds(Bound):
    """A JSON value of limited depth and size, which UTF-8 can carry."""

    max_bytes: int
    max_depth: int

    def check(self, value: Any) -> Any:
        """Return a value that is small enough."""
        checked_json(value, max_depth=self.max_depth)
        size = len(to_json(value).encode())
        if size > self.max_bytes:
            raise ValueError(f"{size:,} bytes are too many; {self.max_bytes:,} are allowed")
        return value


@dataclass(frozen=True)
class Unique(Bound):
    """A list that has each value once."""

    def check(self, value: Sequence[Hashable]) -> Sequence[Hashable]:
        """Return a list without repeated values."""
        seen: set[Hashable] = set()
        for entry in value:
            if entry in seen:
                raise ValueError(f"has {entry!r} twice; name each once")
            seen.add(entry)
        return value


Seconds = Annotated[float, Field(gt=0, le=MAX_INSTANT_S)]
"""A duration above zero."""

Identifier = Annotated[str, Field(max_length=MAX_ID_CHARACTERS)]
"""A name that a program makes."""

Paragraphs = Printable(also="\n\r\t" + JOINERS)
"""Text of several lines."""
