"""A thousand generated schemas in each dialect: accepted by the API's rules, or refused with a path."""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from outlast_activities.constraints.api_dialects import ANTHROPIC, GEMINI, OPENAI, SchemaDialect
from outlast_activities.constraints.api_parts import NotExpressible
from outlast_activities.constraints.api_schemas import api_schema
from outlast_activities.policies.schema_checker import SchemaChecker

from outlast.jsonschema.schema_checks import check_schema
from outlast.text.json_text import to_json
from tests.activities.constraints.test_constraints import SCHEMAS
from tests.fakes.plausible import plausible
from tests.fakes.schema_rules import anthropic_problem, gemini_problem, openai_problem

RULES = {
    "openai": (OPENAI, openai_problem),
    "anthropic": (ANTHROPIC, anthropic_problem),
    "gemini": (GEMINI, gemini_problem),
}
EXAMPLES = 1_000

LEAST_VALID = 0.75
"""The share of values that are valid at once. Generated schemas are full of what no API enforces: `not`,
contradictions between branches, patterns with look-around. The check rejects the other values."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", RULES)
def test_generated_schemas_are_accepted_or_refused_with_a_path(name: str) -> None:
    dialect, problem_of = RULES[name]
    seen: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(schema=SCHEMAS)
    def convert(schema: dict[str, Any]) -> None:
        seen[_outcome(schema, dialect, problem_of)] += 1

    convert()
    print(name, dict(seen))
    assert not [outcome for outcome in seen if outcome.startswith("refused: ")]
    assert seen["valid"] + seen["rejected by the check"] > EXAMPLES / 2
    assert seen["valid"] / (seen["valid"] + seen["rejected by the check"]) > LEAST_VALID


def _outcome(schema: dict[str, Any], dialect: SchemaDialect, problem_of: Any) -> str:
    try:
        check_schema(schema, "output")
    except ValueError:
        return "refused when the agent is defined"
    definitions = schema.pop("$defs")
    wrapped = {
        "type": "object",
        "properties": {"answer": schema},
        "required": ["answer"],
        "additionalProperties": False,
        "$defs": definitions,
    }
    try:
        converted = api_schema(wrapped, dialect)
    except NotExpressible as refused:
        has_path = str(refused).startswith((".", "no value"))
        return "refused with a path" if has_path else f"refused: {refused}"
    assert problem_of(converted.schema) is None, (problem_of(converted.schema), converted.schema)
    value = converted.restore(plausible(converted.schema, random.Random(7)))
    problem = SchemaChecker().problem(value, wrapped, key=to_json(wrapped))
    return "valid" if problem is None else "rejected by the check"
