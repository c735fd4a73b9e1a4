"""Decoding engines, and which keywords of JSON Schema each of them enforces."""

from typing import Literal

Engine = Literal["auto", "xgrammar", "guidance", "outlines", "llama.cpp", "openai"]
"""The engine that constrains answers. `auto` is vLLM's own choice of xgrammar or guidance. `openai` is
an unknown server with OpenAI's API."""

MAX_LENGTH = 2_000
"""The longest limit of a string that an engine gets. Compiling a longer one takes too long."""

MAX_ITEMS = 500
"""The longest limit of items or properties that an engine gets."""

MAX_NUMBER = 10**15
"""The largest limit of a number that every engine can compile: llguidance fails at 2**63, xgrammar
above."""

MAX_LLAMA_INTEGER = 10**9 - 1
"""The largest limit of an integer that llama.cpp gets: its grammar is wrong from ten digits on."""

MAX_LLAMA_NAMES = 600
"""Characters of the names of an open object for llama.cpp, whose grammar repeats them."""

MAX_PATTERN_LENGTH = 100
"""The longest limit of a string with a pattern that guidance gets: it compiles both together."""

MAX_JSON_LEVELS = 50
"""Levels of JSON in a schema for vLLM: it rejects requests that nest deeper than 64."""

ALL = frozenset({"auto", "xgrammar", "guidance", "outlines", "llama.cpp", "openai"})
VLLM = frozenset({"auto", "xgrammar", "guidance"})
LOCAL = VLLM | {"llama.cpp"}

KEYWORDS: dict[str, frozenset[str]] = {
    "type": ALL,
    "properties": ALL,
    "required": ALL,
    "additionalProperties": ALL,
    "items": ALL,
    "enum": ALL,
    "const": ALL,
    "anyOf": ALL,
    "$ref": ALL,
    "minItems": ALL,
    "maxItems": ALL,
    # Under a length, xgrammar allows no quote, no backslash and no line feed.
    "minLength": frozenset({"guidance", "outlines", "llama.cpp"}),
    "maxLength": frozenset({"guidance", "outlines", "llama.cpp"}),
    "pattern": ALL - {"openai"},
    "format": ALL,
    "prefixItems": LOCAL | {"outlines"},
    "integer minimum": LOCAL,
    "integer maximum": LOCAL,
    "integer exclusiveMinimum": LOCAL,
    "integer exclusiveMaximum": LOCAL,
    # Between limits, xgrammar allows six decimals and no exponent.
    "number minimum": frozenset({"guidance"}),
    "number maximum": frozenset({"guidance"}),
    "number exclusiveMinimum": frozenset({"guidance"}),
    "number exclusiveMaximum": frozenset({"guidance"}),
    "integer multipleOf": frozenset({"guidance"}),
    # guidance refuses them beside a property that is not required.
    "minProperties": VLLM - {"guidance"},
    "maxProperties": VLLM - {"guidance"},
}
"""The engines that enforce a keyword. All other keywords are left to the check.

Sources: vLLM 0.32 (`has_xgrammar_unsupported_json_features`), and trials with
xgrammar 0.2.8, llguidance 1.7.6 and outlines_core 0.2.14."""

FORMATS: dict[str, frozenset[str]] = {
    "uuid": LOCAL | {"outlines"},
    "uri": VLLM | {"outlines"},
    "hostname": frozenset({"guidance"}),
    "ipv6": VLLM,
}
"""The engines that enforce a format, for formats that the check knows and `portable_formats` does not."""

PATTERN_WITH_LENGTH = frozenset({"guidance"})
"""The engines that also limit the length of a string with a pattern or a format."""

UNANCHORED = frozenset({"guidance"})
"""The engines that search for a pattern anywhere in a string. The others match the whole string."""

TRUE_SCHEMAS = frozenset({"auto", "xgrammar", "guidance", "openai"})
"""The engines that accept `true` and `false` as a schema. The others need `{}`."""
