"""Types of answers for the conformance suite, each with a prompt.

Every string and list has a limit, so that each value is short. Without a limit, a small model writes
until it has used its tokens.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# pydantic does not accept the one of `typing` before Python 3.12.
from typing_extensions import TypedDict

MAX_TOKENS = 96
"""Enough for each answer."""

Word = Annotated[str, StringConstraints(min_length=1, max_length=12)]
Line = Annotated[str, StringConstraints(max_length=30)]
Digit = Annotated[int, Field(ge=0, le=9)]
Percentage = Annotated[float, Field(ge=0, le=100)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,8}-[0-9]{1,3}$")]
PlateNumber = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}[0-9]{3}$", max_length=5)]
Price = Annotated[Decimal, Field(ge=0, le=1000, decimal_places=2)]


@dataclass(frozen=True)
class OutputType:
    """An annotation with a prompt for it."""

    name: str
    annotation: Any
    prompt: str


class Colour(Enum):
    """An enumeration of strings."""

    RED = "red"
    GREEN = "green"
    BLUE = "blue"


class Priority(IntEnum):
    """An enumeration of numbers."""

    LOW = 1
    HIGH = 2


class Point(BaseModel):
    """A flat model."""

    x: Annotated[int, Field(ge=-100, le=100)]
    y: Annotated[int, Field(ge=-100, le=100)]


class Segment(BaseModel):
    """Two references to one definition."""

    start: Point
    end: Point


class Address(BaseModel):
    """A part of a nested model."""

    street: Word
    city: Word


class Person(BaseModel):
    """A nested model."""

    name: Word
    age: Annotated[int, Field(ge=0, le=120)]
    address: Address


class Cat(BaseModel):
    """A branch of a discriminated union."""

    kind: Literal["cat"]
    meows: bool


class Dog(BaseModel):
    """Another branch of it."""

    kind: Literal["dog"]
    barks: bool


class Owner(BaseModel):
    """A discriminated union in a field."""

    name: Word
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Tree(BaseModel):
    """A recursive model, in lists with a limit."""

    name: Word
    children: Annotated[list["Tree"], Field(max_length=2)] = []


class Chain(BaseModel):
    """A recursive model, or null."""

    value: Digit
    next: "Chain | None" = None


class Profile(BaseModel):
    """Fields that may be missing, and fields that may be null."""

    name: Word
    nickname: Word | None
    city: Word | None = None
    score: Digit = 0


class Appointment(BaseModel):
    """Dates and times together."""

    day: date
    begins: time
    title: Word


class Described(BaseModel):
    """A closed model with titles, descriptions and an alias."""

    model_config = ConfigDict(extra="forbid", title="Described thing")

    what: Word = Field(description="What it is, in one word")
    how_many: Digit = Field(alias="howMany", description="How many there are")


class Movie(TypedDict):
    """A TypedDict."""

    title: Word
    year: Annotated[int, Field(ge=1900, le=2100)]


@dataclass
class Book:
    """A dataclass."""

    title: Word
    pages: Annotated[int, Field(ge=1, le=999)]


class Size(NamedTuple):
    """A NamedTuple, which is an array in JSON."""

    width: Digit
    height: Digit


TYPES = (
    OutputType("model", Point, "Make up a point with coordinates x and y."),
    OutputType("nested models", Person, "Make up a person with an age and an address."),
    OutputType("one definition twice", Segment, "Make up a line from one point to another."),
    OutputType("closed model with an alias", Described, "Say what is on the table and how many."),
    OutputType("defaults and nulls", Profile, "Make up a user, who may have a nickname."),
    OutputType("discriminated union", Owner, "Make up an owner with a cat or a dog."),
    OutputType("union of models", Cat | Dog, "Is it a cat or a dog?"),
    OutputType("union of scalars", int | bool | Word, "Say a number or a word."),
    OutputType("literal", Literal["yes", "no", "maybe"], "Will it rain?"),
    OutputType("literal of numbers", Literal[1, 2, 3], "Pick 1, 2 or 3."),
    OutputType("enum", Colour, "Which colour is the grass?"),
    OutputType("enum of numbers", Priority, "Is a fire of low (1) or high (2) priority?"),
    OutputType("optional", Digit | None, "Say a number from 0 to 9, or null."),
    OutputType("bool", bool, "Is the sky blue?"),
    OutputType("bounded int", Digit, "Say a number from 0 to 9."),
    OutputType("bounded float", Percentage, "How sure are you, in percent?"),
    OutputType(
        "exclusive bounds", Annotated[int, Field(gt=10, lt=20)], "A number between 10 and 20."
    ),
    OutputType(
        "multiple of", Annotated[int, Field(multiple_of=5, ge=0, le=50)], "Say a multiple of 5."
    ),
    OutputType("decimal", Price, "What does a cup of coffee cost?"),
    OutputType("bounded string", Line, "Say hello."),
    OutputType("string pattern", Slug, "Make up an identifier such as disk-12."),
    OutputType("string pattern and length", PlateNumber, "Make up a number plate such as AB123."),
    OutputType("date", date, "When was the first moon landing?"),
    OutputType("datetime", datetime, "When did the year 2000 begin, with the time?"),
    OutputType("time", time, "When is noon?"),
    OutputType("duration", timedelta, "How long is a football match, as an ISO 8601 duration?"),
    OutputType("uuid", UUID, "Make up a UUID."),
    OutputType("ipv4", IPv4Address, "What is the address of localhost?"),
    OutputType("dates in a model", Appointment, "Make up an appointment with the dentist."),
    OutputType("bounded list", Annotated[list[Word], Len(1, 3)], "Name up to three fruits."),
    OutputType(
        "list of models", Annotated[list[Point], Len(1, 2)], "Make up a list of one or two points."
    ),
    OutputType(
        "list of unions", Annotated[list[Digit | Word], Len(1, 3)], "List some digits and words."
    ),
    OutputType("tuple", tuple[Digit, Word], "Say a digit and a word."),
    OutputType("tuple of any length", Annotated[tuple[Digit, ...], Len(1, 4)], "Say a few digits."),
    OutputType("set", Annotated[set[Colour], Len(1, 3)], "Which colours has a traffic light?"),
    OutputType("frozenset", Annotated[frozenset[Digit], Len(1, 2)], "Say two different digits."),
    OutputType(
        "dict",
        # As many as a small model writes if the engine does not count them (llama.cpp).
        Annotated[dict[Word, Digit], Len(1, 6)],
        "Count two fruits: a name and a number each.",
    ),
    OutputType(
        "dict by enum", Annotated[dict[Colour, bool], Len(1, 3)], "Which colours do you like?"
    ),
    OutputType(
        "recursion in lists",
        Tree,
        'Make a tree named Ann without children: {"name": "Ann", "children": []}.',
    ),
    OutputType(
        "recursion in options", Chain, "Make a chain of the digit 7 alone: its next is null."
    ),
    OutputType("TypedDict", Movie, "Name a movie and its year."),
    OutputType("dataclass", Book, "Name a book and its number of pages."),
    OutputType("NamedTuple", Size, "Make up a width and a height from 0 to 9."),
)
