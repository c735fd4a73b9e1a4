"""Types of the parameters and results of tools, and tools that have them."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict

from outlast import tool


def make(function: Any, name: str | None = None, **options: Any) -> Any:
    options.setdefault("effect", "read")
    return tool(name=name, **options)(function)


class Cents(Enum):
    ONE = Decimal("0.01")


class Days(Enum):
    FIRST = datetime.date(2026, 1, 1)


class Points(Enum):
    ORIGIN = (0, 0)


class Holder(BaseModel):
    cents: list[Cents | None]


class Rank(IntEnum):
    LOW = 1


def takes(annotation: Any, default: Any = ...) -> Callable[..., str]:
    def act(value: Any = default) -> str:
        return repr(value)

    if default is ...:

        def act(value: Any) -> str:  # type: ignore[misc]
            return repr(value)

    act.__annotations__["value"] = annotation
    return act


def named(parameter: str) -> Callable[..., str]:
    space: dict[str, Any] = {}
    exec(f"def act({parameter}: str) -> str:\n    return {parameter}", space)  # noqa: S102
    function: Callable[..., str] = space["act"]
    return function


class Booking(BaseModel):
    model_config = ConfigDict(strict=True)
    when: datetime.datetime


class Shape(TypedDict):
    side: int


class Pair(NamedTuple):
    left: int
    right: int


@dataclass
class Box:
    size: Decimal


class Text(BaseModel):
    text: str
