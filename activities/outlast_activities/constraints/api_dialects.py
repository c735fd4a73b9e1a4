"""What the structured outputs of hosted APIs accept of JSON Schema, as data.

The rules are those of November 2026. Sources: OpenAI's guide to structured outputs and error messages of
its service; Anthropic's guide to structured outputs of API version 2026-10-21 and
`anthropic.transform_schema` 2.14; `google.genai.types.JSONSchema` 3.6 and Google's guide to structured
output.
"""

from dataclasses import dataclass
from typing import Literal

_NUMBER_LIMITS = frozenset(
    ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
)
_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
)


@dataclass(frozen=True)
class SchemaDialect:
    """The JSON Schema of one API.

    `keywords` are the limits of values that the API accepts; a description holds all others. With
    `nullable` an optional property is required and may be null. `recursion` is whether a definition may
    contain itself: only below an optional property, for `optional`. An enum with more than `max_enum`
    values becomes a description. `folds_enums` is whether the API may change the case of enum values.
    `min_items` are the accepted values of that keyword (None means all).
    """

    name: str
    keywords: frozenset[str]
    formats: frozenset[str]
    nullable: bool
    recursion: Literal["yes", "no", "optional"]
    tuples: bool = False
    max_enum: int | None = None
    enum_types: frozenset[str] = frozenset(("string", "integer", "number", "boolean", "null"))
    folds_enums: bool = False
    min_items: frozenset[int] | None = None
    limits: "SchemaLimits | None" = None
    request_limits: "RequestLimits | None" = None


@dataclass(frozen=True)
class RequestLimits:
    """The limits over all strict schemas of one request. One schema alone must also be within them."""

    schemas: int
    optional_properties: int
    unions: int


@dataclass(frozen=True)
class SchemaLimits:
    """The size that one schema may have. `characters` are those of names, enum values and constants."""

    properties: int
    levels: int
    enum_values: int
    characters: int
    characters_of_large_enum: int
    large_enum: int


OPENAI_LIMITS = SchemaLimits(
    properties=5_000,
    levels=10,
    enum_values=1_000,
    characters=120_000,
    characters_of_large_enum=15_000,
    large_enum=250,
)
"""Limits of OpenAI's strict schemas, as its guide lists them."""

OPENAI = SchemaDialect(
    name="OpenAI's strict schemas",
    keywords=_NUMBER_LIMITS | {"pattern", "format", "minItems", "maxItems"},
    formats=_FORMATS,
    nullable=True,
    recursion="yes",
    limits=OPENAI_LIMITS,
)

MAX_STRICT_SCHEMAS = 20
MAX_OPTIONAL_PROPERTIES = 24
MAX_UNIONS = 16
"""Limits over all strict schemas of one request, from Anthropic's guide to structured outputs."""

ANTHROPIC_LIMITS = RequestLimits(MAX_STRICT_SCHEMAS, MAX_OPTIONAL_PROPERTIES, MAX_UNIONS)

ANTHROPIC = SchemaDialect(
    name="Anthropic's structured outputs",
    keywords=frozenset(("pattern", "format", "minItems")),
    formats=_FORMATS | {"uri"},
    nullable=False,
    recursion="no",
    folds_enums=True,
    min_items=frozenset((0, 1)),
    request_limits=ANTHROPIC_LIMITS,
)

GEMINI = SchemaDialect(
    name="Gemini's response schemas",
    keywords=frozenset(("minimum", "maximum", "minItems", "maxItems")),
    formats=frozenset(),
    nullable=False,
    recursion="optional",
    tuples=True,
    max_enum=40,
    enum_types=frozenset(("string", "integer", "number")),
)
