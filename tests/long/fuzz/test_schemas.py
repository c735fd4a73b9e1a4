"""Schemas of strangers: the request check, the constraint of each engine, and the answer check."""

from typing import Any, get_args

import jsonschema
from hypothesis import assume, given
from outlast_activities.constraints.constraints import constraint_for
from outlast_activities.constraints.engines import Engine
from outlast_activities.policies.schema_checker import SchemaChecker

from outlast import OutlastError
from outlast.jsonschema.schema_checks import check_schema
from outlast.text.json_text import to_json
from tests.long.fuzz import strategies as of
from tests.long.fuzz.alarm import alarm, examples, refusals

ENGINES: tuple[Engine, ...] = get_args(Engine)


@examples(1_200)
@given(of.SCHEMAS, of.VALUES)
def test_a_schema_is_refused_or_divided_and_checked(schema: Any, value: Any) -> None:
    """A schema that a request may have suits every engine and the check."""
    assume(isinstance(schema, dict) and of.is_encodable(schema) and of.is_encodable(value))
    with alarm():
        try:
            check_schema(schema, "spec.output")
        except (ValueError, OutlastError):
            return
    for engine in ENGINES:
        with alarm():
            constraint_for(schema, engine)
    with refusals():
        SchemaChecker().problem(value, schema, key=to_json(schema))


@examples(400)
@given(of.SCHEMAS, of.VALUES)
def test_the_check_agrees_with_the_reference_validator(schema: Any, value: Any) -> None:
    assume(isinstance(schema, dict) and of.is_encodable(schema) and of.is_encodable(value))
    with alarm():
        try:
            check_schema(schema, "spec.output")
        except (ValueError, OutlastError):
            return
        problem = SchemaChecker().problem(value, schema, key=to_json(schema))
    assume("format" not in to_json(schema))
    assume("attern" not in to_json(schema) and "multipleOf" not in to_json(schema))
    reference = jsonschema.Draft202012Validator(schema)
    assert (problem is None) == reference.is_valid(value), (problem, schema, value)


@examples(400)
@given(of.DEEP_VALUES)
def test_a_deep_value_is_checked_or_refused(value: Any) -> None:
    with refusals():
        SchemaChecker().problem(value, {"type": ["array", "object"]}, key="deep")
