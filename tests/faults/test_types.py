"""Types, schemas and tools as people write them: each works, or is rejected with its name."""

import functools
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

import pytest
from outlast_activities.policies.schema_checker import SchemaChecker
from pydantic import Field, TypeAdapter

from outlast import Agent, tool
from outlast.errors import DefinitionError
from outlast.jsonschema.schema_checks import check_schema

CHECKER = SchemaChecker()


def problem(value: Any, schema: dict[str, Any]) -> str | None:
    return CHECKER.problem(value, schema, key=json.dumps(schema))


@pytest.mark.parametrize("length", [26, 60, 5_000])
def test_f4_no_pattern_takes_long(length: int) -> None:
    text = "a" * length + "!"
    began = time.process_time()
    for key in ("^(?!x)(a+)+$", "^(a+)+$"):
        assert problem(text, {"type": "string", "pattern": key})
        schema = {"patternProperties": {key: {"type": "string"}}, "additionalProperties": False}
        assert problem({text: 1}, {"type": "object", **schema})
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("value", "divisor"), [(19.99, 0.01), (4.02, 0.01), (4.35, 0.01), (0.3, 0.1), (1e22, 0.1)]
)
def test_f6_cents_are_multiples_of_a_cent(value: float, divisor: float) -> None:
    assert problem(value, {"type": "number", "multipleOf": divisor}) is None
    assert problem(value + divisor / 2, {"type": "number", "multipleOf": divisor}) or value > 1e9


FORMATS = [
    ("email", "ops@localhost"),
    ("email", "ops@corp.local"),
    ("email", "x@host.internal"),
    ("date-time", "1990-12-31T23:59:60Z"),
]


@pytest.mark.parametrize(("name", "text"), FORMATS)
def test_f31_what_the_rfc_allows_has_the_format(name: str, text: str) -> None:
    assert problem(text, {"type": "string", "format": name}) is None


def test_f31_a_date_is_not_a_time() -> None:
    assert problem("2024-01-01", {"type": "string", "format": "date-time"})


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^\p{L}+$", "é"),
        (r"^(?<year>\d{4})$", "2026"),
        (r"^a\z", "a"),
        (r"^[\u{1F600}]+$", "😀"),
        (r"^(?=a)b?a$", "a"),
    ],
)
def test_f19_a_regular_expression_of_json_schema_matches(pattern: str, text: str) -> None:
    schema: dict[str, Any] = {"type": "string", "pattern": pattern}
    check_schema(schema, "spec.output")
    assert problem(text, schema) is None
    assert problem("!", schema)


@pytest.mark.parametrize("pattern", [r"^\p{L}+$", r"^(?<year>\d{4})$", r"^a\z"])
def test_f19_a_pattern_that_pydantic_takes_is_taken(pattern: str) -> None:
    annotation: Any = Annotated[str, Field(pattern=pattern)]
    TypeAdapter(annotation)
    assert Agent(name="a", instructions="x", output=annotation).name == "a"


def test_f19_a_pattern_that_pydantic_rejects_is_a_definition_error() -> None:
    annotation: Any = Annotated[str, Field(pattern="^(?=a)b$")]
    with pytest.raises(DefinitionError, match="look-around"):
        Agent(name="a", instructions="x", output=annotation)

    def find(name: annotation) -> str:
        return str(name)

    with pytest.raises(DefinitionError, match="find"):
        tool(effect="read")(find)


FROM_FILES = [
    ({"$id": "https://example.com/p.json", "type": "string"}, "x"),
    ({"id": "http://x/p#", "type": "string"}, "x"),
    (
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"$ref": "#/properties/a"}},
        },
        {"b": "x"},
    ),
    (
        {
            "type": "object",
            "properties": {"b": {"$ref": "#/$defs/Foo%20Bar"}},
            "$defs": {"Foo Bar": {"type": "string"}},
        },
        {"b": "x"},
    ),
    (
        {
            "type": "object",
            "properties": {"b": {"$ref": "#/$defs/a~1b"}},
            "$defs": {"a/b": {"type": "string"}},
        },
        {"b": "x"},
    ),
]


@pytest.mark.parametrize(("schema", "value"), FROM_FILES)
def test_f20_ids_and_pointers_are_understood(schema: dict[str, Any], value: Any) -> None:
    check_schema(schema, "spec.output")
    assert problem(value, schema) is None
    wrong = {"b": 1} if isinstance(value, dict) else 1
    assert problem(wrong, schema)


@pytest.mark.parametrize(
    "parameter", ["_path", "__x", "model_config", "model_extra", "model_fields_set", "model_dump"]
)
def test_f13_a_parameter_that_cannot_reach_its_function_is_rejected(parameter: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def read({parameter}: str) -> str: return {parameter}", scope)  # noqa: S102
    scope["read"].__doc__ = "Read."
    with pytest.raises(DefinitionError, match=parameter):
        tool(effect="read")(scope["read"])


def test_f23_a_partial_is_a_tool_or_a_definition_error() -> None:
    async def two(a: str, b: str) -> str:
        return a + b

    made = tool(effect="read", name="two")(functools.partial(two, b="x"))
    assert made.name == "two"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a timeout of nothing": ({"effect": "read", "timeout": timedelta(0)}, "timeout"),
    "a timeout of an int": ({"effect": "read", "timeout": 30}, "timeout"),
    "no calls": ({"effect": "read", "max_calls": 0}, "max_calls"),
    "an unknown effect": ({"effect": "reed"}, "read"),
}


@pytest.mark.parametrize(("options", "words"), WRONG.values(), ids=list(WRONG))
def test_f34_a_wrong_option_of_a_tool_is_a_definition_error(
    options: dict[str, Any], words: str
) -> None:
    def look() -> str:
        """Look."""
        return ""

    decorate: Callable[[Any], Any] = tool(**options)
    with pytest.raises(DefinitionError, match="look") as raised:
        decorate(look)
    assert words in str(raised.value)


def test_f34_an_infinite_default_is_a_default() -> None:
    @tool(effect="read")
    def look(within: float = float("inf")) -> str:
        """Look."""
        return str(within)

    assert look.name == "look"
