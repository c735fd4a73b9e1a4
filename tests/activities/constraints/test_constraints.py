from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from outlast_activities.constraints.constraints import Constraint, constraint_for
from outlast_activities.constraints.engines import MAX_ITEMS, MAX_LENGTH, Engine
from outlast_activities.constraints.portable_formats import PATTERNS
from pydantic import BaseModel, Field

from outlast import Agent, tool
from outlast.contracts.agents import Leg, PinnedAgent, Route
from outlast.jsonschema.decision_schema import decision_schema
from tests.activities.constraints.schema_strategies import SCHEMAS, VALUES

ENGINES: tuple[Engine, ...] = get_args(Engine)
LOCAL: tuple[Engine, ...] = ("auto", "xgrammar", "llama.cpp")
NO_MULTIPLES: tuple[Engine, ...] = tuple(one for one in ENGINES if one != "guidance")
PLAIN: tuple[Engine, ...] = ("auto", "xgrammar", "outlines", "llama.cpp")
READERS: tuple[Engine, ...] = tuple(one for one in ENGINES if one != "openai")
VLLM: tuple[Engine, ...] = ("auto", "xgrammar", "guidance")
NOT_VLLM: tuple[Engine, ...] = tuple(one for one in ENGINES if one not in VLLM)
TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
NUMBER = {"type": "number"}
FIVES = {**WHOLE, "enum": [5, 10]}
CODE = {**TEXT, "pattern": "^[A-Z]{3}$"}
DECIMAL = {"anyOf": [NUMBER, {**TEXT, "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}]}


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "schema",
    [
        TEXT,
        WHOLE,
        {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 8},
        closed(a=TEXT, b={"anyOf": [WHOLE, {"type": "null"}]}),
        {"type": "string", "enum": ["a", "b"]},
        {"$ref": "#/$defs/A", "$defs": {"A": closed(n={"type": "array", "items": TEXT})}},
        closed(pattern=TEXT, multipleOf=WHOLE, title=TEXT, **{"not": TEXT, "$ref": TEXT}),
    ],
)
def test_what_every_engine_knows_is_left_as_it_is(schema: dict[str, Any], engine: Engine) -> None:
    assert constraint_for(schema, engine) == Constraint(schema, ())


@pytest.mark.parametrize(
    ("schema", "enforced", "checked_after", "engines"),
    [
        ({**NUMBER, "multipleOf": 0.5}, NUMBER, ("multipleOf",), ENGINES),
        ({**WHOLE, "multipleOf": 5}, WHOLE, ("multipleOf",), ("auto", "xgrammar", "llama.cpp")),
        ({**WHOLE, "multipleOf": 5}, {**WHOLE, "multipleOf": 5}, (), ("guidance",)),
        ({**WHOLE, "minimum": 1}, WHOLE, ("minimum",), ("outlines", "openai")),
        ({**NUMBER, "minimum": 0.5}, NUMBER, ("minimum",), ("llama.cpp", "outlines")),
        ({**NUMBER, "minimum": -1e300}, NUMBER, ("minimum",), ENGINES),
        ({**WHOLE, "maximum": 2**63}, WHOLE, ("maximum",), ENGINES),
        (CODE, CODE, (), ("auto", "xgrammar", "guidance", "outlines", "llama.cpp")),
        (CODE, TEXT, ("pattern",), ("openai",)),
        ({**TEXT, "pattern": "a"}, TEXT, ("pattern",), ("auto", "xgrammar", "llama.cpp")),
        ({**TEXT, "pattern": "a"}, {**TEXT, "pattern": "a"}, (), ("guidance",)),
        ({**TEXT, "pattern": "^(?!b).*$"}, TEXT, ("pattern",), ENGINES),
        ({**TEXT, "pattern": r"^(a|b)\1$"}, TEXT, ("pattern",), ENGINES),
        ({**TEXT, "pattern": r"^a\b$"}, TEXT, ("pattern",), ENGINES),
        ({**TEXT, "pattern": "^a{1,500}$"}, TEXT, ("pattern",), ENGINES),
        ({**TEXT, "pattern": '^"a"$'}, TEXT, ("pattern",), ("auto", "xgrammar", "outlines")),
        (
            {**TEXT, "pattern": r"^\d$"},
            {**TEXT, "pattern": "^[0-9]$"},
            (),
            ("llama.cpp", "xgrammar"),
        ),
        ({**TEXT, "pattern": r"^[a-z\.]+$"}, {**TEXT, "pattern": "^[a-z.]+$"}, (), PLAIN),
        ({**TEXT, "pattern": r"^[\w\-]+$"}, {**TEXT, "pattern": "^[0-9A-Z_a-z-]+$"}, (), PLAIN),
        ({**TEXT, "pattern": r"^\/api$"}, {**TEXT, "pattern": "^/api$"}, (), PLAIN),
        ({**TEXT, "pattern": r"^\<a\>$"}, {**TEXT, "pattern": "^<a>$"}, (), (*PLAIN, "guidance")),
        ({**TEXT, "pattern": "^[]^a-]$"}, {**TEXT, "pattern": r"^([a-]|\]|\^)$"}, (), PLAIN),
        ({**TEXT, "pattern": "^(?:a|b)+?$"}, {**TEXT, "pattern": "^(a|b)+$"}, (), PLAIN),
        ({**TEXT, "pattern": "^(?<n>ab){2}$"}, {**TEXT, "pattern": "^(ab){2}$"}, (), PLAIN),
        ({**TEXT, "pattern": "^.+$"}, TEXT, ("pattern",), PLAIN),
        ({**TEXT, "pattern": "^[^,]+$"}, TEXT, ("pattern",), PLAIN),
        ({**TEXT, "pattern": r"^\S+$"}, TEXT, ("pattern",), PLAIN),
        ({**TEXT, "pattern": "^[A-z]$"}, TEXT, ("pattern",), PLAIN),
        ({**TEXT, "pattern": "^[^\u0000]+$"}, TEXT, ("pattern",), PLAIN),
        ({**TEXT, "pattern": "^(.|[\r\n])*$"}, TEXT, ("pattern",), PLAIN),
        ({**TEXT, "pattern": r"^(?:\S+\s+){0,49}\S+$"}, TEXT, ("pattern",), ENGINES),
        (
            {**TEXT, "pattern": "^([a-z][0-9])+$", "minLength": 100},
            {**TEXT, "pattern": "^(?:[a-z][0-9]){1,}$"},
            ("minLength",),
            ("guidance",),
        ),
        ({**TEXT, "maxLength": 50}, TEXT, ("maxLength",), ("auto", "xgrammar")),
        ({**TEXT, "maxLength": 50}, {**TEXT, "maxLength": 50}, (), ("guidance", "llama.cpp")),
        ({**NUMBER, "minimum": 0}, NUMBER, ("minimum",), ("auto", "xgrammar")),
        ({**NUMBER, "minimum": 1e-300}, NUMBER, ("minimum",), ENGINES),
        ({**WHOLE, "minimum": 1136091600}, WHOLE, ("minimum",), ("llama.cpp",)),
        ({**WHOLE, "minimum": 10**400}, WHOLE, ("minimum",), ENGINES),
        ({"type": "array", "items": True}, {"type": "array", "items": {}}, (), ("llama.cpp",)),
        (
            {"type": "array", "maxItems": 3},
            {"type": "array", "maxItems": 3, "items": {}},
            (),
            LOCAL,
        ),
        (
            {"type": "array", "minItems": 1},
            {"type": "array", "minItems": 1, "items": {}},
            (),
            LOCAL,
        ),
        (
            {"type": ["array", "object"], "additionalProperties": True},
            {"type": ["array", "object"], "additionalProperties": True, "items": {}},
            (),
            ("auto", "xgrammar", "guidance"),
        ),
        (
            {"type": ["string", "array"], "format": "uri"},
            {"type": ["string", "array"], "format": "uri", "items": {}},
            (),
            ("auto", "xgrammar"),
        ),
        (
            {"type": "array", "properties": {"a": TEXT}, "required": ["a"]},
            {"type": "array"},
            ("properties", "required"),
            NOT_VLLM,
        ),
        (
            {"type": "array", "properties": {"a": TEXT}, "required": ["a"]},
            {"type": "array", "items": {}},
            ("properties", "required"),
            VLLM,
        ),
        (
            {"properties": {"a": {}}, "required": ["a", "b"]},
            {
                "anyOf": [
                    {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "b"]},
                    {"type": ["string", "number", "boolean", "null", "array"]},
                ]
            },
            (),
            ("llama.cpp",),
        ),
        (
            {"properties": {"a": {}}, "required": ["a", "b"]},
            {
                "anyOf": [
                    {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "b"]},
                    {"type": ["string", "number", "boolean", "null", "array"], "items": {}},
                ]
            },
            (),
            ("auto", "xgrammar"),
        ),
        (
            {"type": "object", "properties": {"a": TEXT}, "minProperties": 1},
            {"type": "object", "properties": {"a": TEXT}},
            ("minProperties",),
            ("guidance",),
        ),
        (
            {"type": "object", "patternProperties": {"^.*$": WHOLE}},
            {"type": "object", "additionalProperties": WHOLE},
            (),
            ENGINES,
        ),
        (
            {"type": "object", "properties": {"a]": TEXT}, "additionalProperties": True},
            {"type": "object", "additionalProperties": True},
            ("properties",),
            ("llama.cpp",),
        ),
        (
            {"type": "object", "properties": {"x" * 601: TEXT}, "additionalProperties": True},
            {"type": "object", "additionalProperties": True},
            ("properties",),
            ("llama.cpp",),
        ),
        (
            closed(a={}),
            closed(a={"type": ["string", "number", "boolean", "null", "array", "object"]}),
            (),
            ("outlines",),
        ),
        (
            closed(a={"type": "object", "additionalProperties": False}),
            closed(a={"type": "object", "additionalProperties": True}),
            ("properties.a.additionalProperties",),
            ("outlines",),
        ),
        (
            {"type": "object", "properties": {"a": {**WHOLE, "enum": ["x"]}, "b": TEXT}},
            {"type": "object", "properties": {"b": TEXT}},
            ("properties.a",),
            ENGINES,
        ),
        (
            {"anyOf": [{**WHOLE, "minimum": 5, "maximum": 3}, TEXT]},
            {"anyOf": [TEXT]},
            (),
            ENGINES,
        ),
        ({**CODE, "maxLength": 3}, CODE, ("maxLength",), ("auto", "xgrammar", "llama.cpp")),
        ({**CODE, "maxLength": 3}, {**CODE, "maxLength": 3}, (), ("guidance",)),
        ({**TEXT, "format": "path"}, TEXT, ("format",), ENGINES),
        ({**TEXT, "format": "ipv4"}, TEXT, ("format",), ("openai",)),
        ({**TEXT, "format": "ipv4"}, {**TEXT, "pattern": PATTERNS["ipv4"]}, (), PLAIN),
        ({**TEXT, "format": "email"}, {**TEXT, "pattern": PATTERNS["email"]}, (), PLAIN),
        ({**TEXT, "format": "hostname"}, TEXT, ("format",), PLAIN),
        ({**TEXT, "format": "json-pointer"}, TEXT, ("format",), ENGINES),
        ({**CODE, "format": "date"}, CODE, ("format",), READERS),
        ({**WHOLE, "multipleOf": 5, "minimum": 3, "exclusiveMaximum": 15}, FIVES, (), NO_MULTIPLES),
        ({**WHOLE, "multipleOf": 5, "minimum": 0}, {**WHOLE, "minimum": 0}, ("multipleOf",), LOCAL),
        (
            {"type": "object", "propertyNames": {"enum": ["a"]}, "additionalProperties": WHOLE},
            {"type": "object", "properties": {"a": WHOLE}, "additionalProperties": False},
            (),
            ENGINES,
        ),
        (
            {"type": "array", "items": {**WHOLE, "minimum": 1, "maximum": 2}, "uniqueItems": True},
            {"type": "array", "enum": [[], [1], [2], [1, 2], [2, 1]]},
            (),
            LOCAL,
        ),
        (
            {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True, "minItems": 1},
            {"type": "array", "enum": [["a"], ["b"], ["a", "b"], ["b", "a"]]},
            (),
            LOCAL,
        ),
        ({**TEXT, "maxLength": MAX_LENGTH + 1}, TEXT, ("maxLength",), ENGINES),
        ({"minLength": 2}, {}, ("minLength",), ENGINES),
        ({"type": "array", "uniqueItems": True}, {"type": "array"}, ("uniqueItems",), NOT_VLLM),
        ({"type": "array"}, {"type": "array", "items": {}}, (), VLLM),
        (
            {"type": "array", "items": TEXT, "maxItems": MAX_ITEMS + 1},
            {"type": "array", "items": TEXT},
            ("maxItems",),
            ENGINES,
        ),
        (DECIMAL, {"anyOf": [NUMBER]}, ("anyOf.1",), ENGINES),
        ({"anyOf": [NUMBER, TEXT]}, {"anyOf": [NUMBER, TEXT]}, (), ENGINES),
        ({**TEXT, "not": {"const": "x"}}, TEXT, ("not",), ENGINES),
        ({"oneOf": [WHOLE, TEXT]}, {"anyOf": [WHOLE, TEXT]}, ("oneOf",), ENGINES),
        ({"allOf": [WHOLE], "description": "x"}, WHOLE, (), ENGINES),
        ({"allOf": [{"minLength": 1}, TEXT]}, {**TEXT, "minLength": 1}, (), ("guidance",)),
        ({"allOf": [NUMBER, WHOLE]}, NUMBER, ("allOf",), ENGINES),
        ({"enum": ["a", 1], "type": "string"}, {**TEXT, "enum": ["a"]}, (), ENGINES),
        (
            {"$ref": "#/$defs/A", "maximum": 5, "title": "x", "$defs": {"A": WHOLE}},
            {"$ref": "#/$defs/A", "$defs": {"A": WHOLE}},
            ("maximum",),
            ENGINES,
        ),
        ({"type": "object"}, {"type": "object", "additionalProperties": True}, (), ENGINES),
        (
            {"type": "object", "patternProperties": {"^a": WHOLE}, "additionalProperties": False},
            {"type": "object", "additionalProperties": True},
            ("patternProperties",),
            ENGINES,
        ),
        (
            closed(amount={**NUMBER, "multipleOf": 0.01}),
            closed(amount=NUMBER),
            ("properties.amount.multipleOf",),
            ENGINES,
        ),
        (
            {"type": "object", "required": ["a"], "additionalProperties": WHOLE},
            {
                "type": "object",
                "properties": {"a": WHOLE},
                "required": ["a"],
                "additionalProperties": WHOLE,
            },
            (),
            ENGINES,
        ),
    ],
)
def test_what_an_engine_does_not_know_is_left_to_the_check(
    schema: Any, enforced: Any, checked_after: tuple[str, ...], engines: tuple[Engine, ...]
) -> None:
    for engine in engines:
        constraint = constraint_for(schema, engine)
        assert (engine, constraint.schema) == (engine, enforced)
        assert (engine, constraint.checked_after) == (engine, checked_after)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(schema=SCHEMAS, values=st.lists(VALUES, min_size=4, max_size=12))
def test_what_the_whole_schema_admits_the_engine_may_still_say(
    schema: dict[str, Any], values: list[Any]
) -> None:
    whole = Draft202012Validator(schema)
    for engine in ENGINES:
        enforced = constraint_for(schema, engine).schema
        Draft202012Validator.check_schema(enforced)
        part = Draft202012Validator(enforced)
        for value in values:
            assert not whole.is_valid(value) or part.is_valid(value), (engine, value, enforced)


class Order(BaseModel):
    amount: Annotated[Decimal, Field(ge=0)]
    tags: set[str] = set()
    when: date
    path: Path


@tool(effect="read")
def order(order: Order, prices: dict[str, float]) -> str:
    """Order."""
    return ""


def test_a_decision_is_divided_too() -> None:
    agent = Agent(name="a", instructions="Do.", tools=[order], output=Order)
    pinned = PinnedAgent(
        name="a",
        instructions="Do.",
        tools=agent.tool_specs,
        output_schema=agent.output_schema,
        route=Route(legs=(Leg(task_queue="q"),)),
    )
    constraint = constraint_for(decision_schema(pinned), "auto")
    part = Draft202012Validator(constraint.schema)
    thing = {"amount": 1.5, "tags": ["x"], "when": "2024-01-01", "path": "/x"}
    call = {"tool": "order", "arguments": {"order": thing, "prices": {"x": 1}}}
    assert part.is_valid({"tool_calls": [call]})
    assert part.is_valid({"answer": thing})
    assert not part.is_valid({"answer": {**thing, "amount": "1.5"}})
    assert not part.is_valid({"tool_calls": [{**call, "arguments": {}}]})
    text = str(constraint.schema)
    assert "uniqueItems" not in text
    assert "'path'" in text
    assert "'format': 'path'" not in text
    assert "anyOf.1.properties.answer.properties.path.format" in constraint.checked_after


@pytest.mark.parametrize("engine", ["auto", "xgrammar", "guidance"])
def test_a_schema_for_vllm_is_not_nested_too_deep(engine: Engine) -> None:
    schema: Any = TEXT
    for _ in range(60):
        schema = closed(a=schema)
    constraint = constraint_for(schema, engine)
    assert json_levels(constraint.schema) <= 60
    assert constraint.checked_after


def json_levels(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(json_levels, parts), default=0)
