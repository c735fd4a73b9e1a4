"""An answer is a value of its type, also where the JSON Schema does not say all of it."""

import datetime
import sys
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    model_validator,
)
from temporalio.client import Client

from outlast import Agent, RunFailed
from outlast.errors import OutputMismatch
from outlast.jsonschema.type_schemas import is_fully_described
from outlast.output_types import parsed_output
from outlast.testing import ScriptedModel, answer, call
from tests.stage import on_stage


class Range(BaseModel):
    low: int
    high: int

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class Exact(BaseModel):
    model_config = ConfigDict(strict=True)
    count: int


class Plain(BaseModel):
    name: str
    parts: list["Plain"] = []


class Late(BaseModel):
    name: str

    def model_post_init(self, context: Any) -> None:
        if self.name == "bad":
            raise ValueError("bad name")


def _even(number: int) -> int:
    if number % 2:
        raise ValueError("odd")
    return number


def _exits(number: int) -> int:
    sys.exit(2)


Even = Annotated[int, AfterValidator(_even)]
WRONG: list[tuple[Any, Any, str]] = [
    (Range, {"low": 9, "high": 1}, "low is above high"),
    (list[Range], [{"low": 1, "high": 2}, {"low": 9, "high": 1}], "low is above high"),
    (Range | None, {"low": 9, "high": 1}, "low is above high"),
    (dict[str, Range], {"a": {"low": 9, "high": 1}}, "low is above high"),
    (Even, 3, "odd"),
    (list[Even], [2, 3], "odd"),
    (Late, {"name": "bad"}, "bad name"),
    (Exact, {"count": 1.0}, "valid integer"),
    (datetime.date, "2026-02-30", "date"),
    (datetime.datetime, "2026-02-01T99:00:00Z", "datetime"),
    (Decimal, "one", "decimal"),
    (Annotated[Decimal, Field(max_digits=2)], "1.234", "digits"),
]


@pytest.mark.parametrize(("annotation", "value", "reason"), WRONG)
def test_a_type_that_its_schema_does_not_describe_is_validated(
    annotation: Any, value: Any, reason: str
) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    assert not is_fully_described(adapter)
    with pytest.raises(OutputMismatch, match=reason):
        parsed_output(adapter, value)


@pytest.mark.parametrize(
    "annotation", [str, int, bool, Plain, list[str], dict[str, Plain], Plain | None, Any]
)
def test_a_type_that_its_schema_describes_costs_no_step(annotation: Any) -> None:
    assert is_fully_described(TypeAdapter(annotation))
    assert not Agent(name="a", instructions="x", output=annotation).checks_output


GOOD: dict[str, JsonValue] = {"low": 1, "high": 9}
BAD: dict[str, JsonValue] = {"low": 9, "high": 1}
RANGER = Agent(name="ranger", instructions="x", output=Range)


async def test_the_model_reads_what_the_type_rejects_and_answers_again(
    temporal: Client, cached: int
) -> None:
    model = ScriptedModel([answer(BAD), answer(GOOD)])
    async with on_stage(temporal, model, [RANGER], cached=cached) as stage:
        result = await stage.run("ranger")
        assert (result.status, result.output, result.turns) == ("completed", GOOD, 2)
        activities = await stage.activities()
    assert activities.count("check_output") == 2
    assert "Your answer is not valid: low is above high" in str(model.prompts[1].messages)


async def test_a_called_agent_is_validated_too(temporal: Client) -> None:
    boss = Agent(name="boss", instructions="x", tools=[RANGER])
    steps = [call("ranger", input="go"), answer(BAD), answer(GOOD), answer("done")]
    async with on_stage(temporal, ScriptedModel(steps), [boss]) as stage:
        assert (await stage.run("boss")).output == "done"


@pytest.mark.parametrize(
    ("output", "wrong", "reason"),
    [
        (Range, BAD, "3 answers were no values of the output type: low is above high"),
        (Annotated[int, AfterValidator(_exits)], 1, "its validators failed: SystemExit: 2"),
    ],
)
async def test_a_model_that_never_answers_right_fails_the_run(
    temporal: Client, output: Any, wrong: Any, reason: str
) -> None:
    agent = Agent(name="ranger", instructions="x", output=output)
    model = ScriptedModel([answer(wrong)], repeat_last=True)
    async with on_stage(temporal, model, [agent]) as stage:
        with pytest.raises(RunFailed, match=reason):
            await stage.run("ranger")
    assert len(model.prompts) == 3
