"""The regular expression that outlines makes of a schema stays small, whatever the schema repeats."""

import json
import re
from typing import Any

import pytest
from outlast_activities.constraints.constraints import constraint_for
from outlast_activities.constraints.regex_size import MAX_REGEX_SIZE, regex_size

from tests.outlines import NEEDS_OUTLINES

pytestmark = NEEDS_OUTLINES

STRING: dict[str, Any] = {"type": "string"}


def expression_of(schema: dict[str, Any]) -> str:
    from outlines.types.dsl import JsonSchema, to_regex  # noqa: PLC0415 it may be missing

    return str(to_regex(JsonSchema(json.dumps(schema))))


def lists(depth: int) -> dict[str, Any]:
    """Return lists in lists: each level doubles the expression."""
    return {"type": "array", "items": lists(depth - 1)} if depth else STRING


def optional(depth: int, width: int) -> dict[str, Any]:
    """Return objects without a required property: each level multiplies the expression by `width`."""
    if not depth:
        return STRING
    part = optional(depth - 1, width)
    return {"type": "object", "properties": {f"p{n}": part for n in range(width)}}


def doubled(depth: int) -> dict[str, Any]:
    """Return definitions of which each refers to the next one twice."""
    definitions: dict[str, Any] = {
        f"d{n}": {
            "type": "object",
            "properties": {side: {"$ref": f"#/$defs/d{n + 1}"} for side in ("left", "right")},
            "required": ["left"],
        }
        for n in range(depth)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{depth}": STRING}}


def recursive(width: int) -> dict[str, Any]:
    """Return a definition that refers to itself several times."""
    node = {
        "type": "object",
        "properties": {
            "name": STRING,
            **{f"p{n}": {"type": "array", "items": {"$ref": "#/$defs/a"}} for n in range(width)},
        },
        "required": ["name"],
    }
    return {"$ref": "#/$defs/a", "$defs": {"a": node}}


SCHEMAS = {
    "lists": lists(16),
    "optional properties": optional(3, 12),
    "many optional properties": optional(1, 700),
    "references": doubled(30),
    "a chain of references": doubled(1_000),
    "recursion": recursive(6),
    "choices": {"anyOf": [optional(3, 9) for _ in range(5)]},
    "maps": {"additionalProperties": {"additionalProperties": lists(14)}, "type": "object"},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_expression_of_a_decision_is_bounded(name: str) -> None:
    schema = SCHEMAS[name]
    answer = {key: value for key, value in schema.items() if key != "$defs"}
    decision = {
        "type": "object",
        "properties": {"answer": answer},
        "required": ["answer"],
        "additionalProperties": False,
        "$defs": schema.get("$defs", {}),
    }
    assert regex_size(decision) > MAX_REGEX_SIZE
    constraint = constraint_for(decision, "outlines")
    assert len(expression_of(constraint.schema)) < 3 * MAX_REGEX_SIZE
    assert any(path.endswith("*") for path in constraint.checked_after)


def test_a_schema_is_cut_no_more_than_is_necessary() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"kind": STRING, "more": lists(16)},
    }
    expression = expression_of(constraint_for(schema, "outlines").schema)
    assert re.fullmatch(expression, '{"kind":"x","more":[[["y"]]]}')
    assert not re.fullmatch(expression, '{"kind":1}')


@pytest.mark.parametrize(
    "schema",
    [
        STRING,
        {"type": "array", "items": {"type": "integer"}},
        optional(2, 6),
        {"enum": ["a", "b c", 7, None]},
        {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        doubled(5),
        recursive(1),
    ],
)
def test_the_size_is_rather_more_than_less(schema: dict[str, Any]) -> None:
    real = len(expression_of(schema))
    assert real * 0.9 <= regex_size(schema) <= 20 * real
