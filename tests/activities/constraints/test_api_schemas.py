"""The schemas of hosted APIs: what they accept, and values that come back in their original form."""

import random
from typing import Any

import pytest
from outlast_activities.constraints.api_dialects import ANTHROPIC, GEMINI, OPENAI
from outlast_activities.constraints.api_parts import NotExpressible
from outlast_activities.constraints.api_schemas import api_schema
from outlast_activities.policies.schema_checker import SchemaChecker

from bench.engines.prompts import is_of, pinned
from bench.engines.types import TYPES, OutputType
from outlast.agents.agent import Agent
from tests.fakes.plausible import plausible
from tests.fakes.schema_rules import anthropic_problem, gemini_problem, openai_problem

RULES = {"openai": openai_problem, "anthropic": anthropic_problem, "gemini": gemini_problem}
DIALECTS = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": GEMINI}
RECURSIVE = ("recursion in lists", "recursion in options")


def answer_schema(kind: OutputType) -> dict[str, Any]:
    output = pinned(Agent(name="a", instructions="b", output=kind.annotation)).output_schema
    output = dict(output)
    definitions = output.pop("$defs", None)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"answer": output},
        "required": ["answer"],
        "additionalProperties": False,
    }
    return {**schema, "$defs": definitions} if definitions else schema


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_each_type_is_sent_as_the_api_accepts_it_and_comes_back(
    kind: OutputType, dialect: str
) -> None:
    schema = answer_schema(kind)
    if dialect == "anthropic" and kind.name in RECURSIVE:
        with pytest.raises(NotExpressible, match="contains itself"):
            api_schema(schema, DIALECTS[dialect])
        return
    converted = api_schema(schema, DIALECTS[dialect])
    assert RULES[dialect](converted.schema) is None
    for seed in range(20):
        sent = plausible(converted.schema, random.Random(seed))
        restored: Any = converted.restore(sent)
        assert SchemaChecker().problem(restored, schema, key=kind.name) is None, (sent, restored)
        assert is_of(kind, restored["answer"])
