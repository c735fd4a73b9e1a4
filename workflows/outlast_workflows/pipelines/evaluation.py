"""Evaluation of the expressions of a running pipeline, with the variables of the DSL."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from outlast_activities.policies.schema_checker import SchemaChecker
from pydantic import JsonValue
from temporalio import workflow

from outlast.errors import ModelError
from outlast.jsonschema.schemas import Schema
from outlast.pipelines.errors import EXPRESSION, VALIDATION
from outlast.pipelines.fields import quoted, seconds_of
from outlast.pipelines.jq.budget import Budget, ExpressionError
from outlast.pipelines.jq.values import is_true
from outlast.pipelines.tasks import Duration, Task
from outlast.pipelines.templates import Template
from outlast.text.json_text import to_json
from outlast.version import __version__
from outlast_workflows.pipelines.gate import Gate
from outlast_workflows.pipelines.state import PipelineState
from outlast_workflows.pipelines.task_errors import TaskError

_SCHEMA_CHECKER = SchemaChecker()

Variables = Mapping[str, JsonValue]


@dataclass(frozen=True)
class TaskData:
    """A task that runs, the data that its expressions see, and when it started."""

    task: Task
    variables: Variables
    """Those of loops and catches around the task."""
    raw_input: JsonValue
    input: JsonValue
    started_at: datetime


class Evaluator:
    """Evaluates expressions, and counts their steps at the gate."""

    def __init__(self, state: PipelineState, gate: Gate) -> None:
        self._state = state
        self._gate = gate
        info = workflow.info()
        self._workflow: dict[str, JsonValue] = {
            "id": info.workflow_id,
            "definition": state.document,
            "input": state.raw_input,
            "startedAt": _instant(state.run.started_at),
        }
        self._runtime: dict[str, JsonValue] = {"name": "outlast", "version": __version__}

    def workflow_value(self, template: Template, data: JsonValue) -> JsonValue:
        """Return the value of an expression of the document itself."""
        return self._value(template, data, {"context": self._state.context})

    def before(
        self, task: Task, variables: Variables, template: Template, data: JsonValue
    ) -> JsonValue:
        """Return the value of `if` or `input.from`, which see no `$input`."""
        described: dict[str, JsonValue] = {
            "name": task.name,
            "reference": task.place,
            "input": data,
        }
        return self._value(template, data, {**variables, **self._of_task(described)})

    def value(self, data: TaskData, template: Template, **extra: JsonValue) -> JsonValue:
        """Return the value of an expression in the definition of a task."""
        return self._value(template, data.input, {**self._variables(data), **extra})

    def output(self, data: TaskData, template: Template, raw_output: JsonValue) -> JsonValue:
        """Return the value of `output.as`."""
        return self._value(template, raw_output, self._variables(data, raw_output))

    def exported(self, data: TaskData, template: Template, output: JsonValue) -> JsonValue:
        """Return the value of `export.as`."""
        return self._value(template, output, {**self._variables(data), "output": output})

    def is_true(self, data: TaskData, template: Template, **extra: JsonValue) -> bool:
        """Tell whether a condition holds."""
        return is_true(self.value(data, template, **extra))

    def duration(self, data: TaskData, duration: Duration, **extra: JsonValue) -> timedelta:
        """Return a duration. Raises `TaskError` if its expression has another value."""
        if duration.expression is None:
            return timedelta(seconds=duration.seconds)
        value = self.value(data, duration.expression, **extra)
        seconds = seconds_of(value)
        if seconds is None or seconds > timedelta(days=366).total_seconds():
            raise TaskError(
                f"the duration {quoted(value)} is not valid; give an object such as"
                ' {"minutes": 5}, or a text such as "PT5M", of at most 366 days',
                type=EXPRESSION,
                status=400,
            )
        return timedelta(seconds=seconds)

    def check(self, value: JsonValue, schema: Schema | None, what: str) -> None:
        """Raise `TaskError` for a value that does not match a schema."""
        if schema is None:
            return
        try:
            problem = _SCHEMA_CHECKER.problem(value, schema, key=to_json(schema))
        except ModelError as error:
            problem = f"cannot be checked: {error}"
        if problem is not None:
            raise TaskError(f"the {what} is not valid", type=VALIDATION, status=400, detail=problem)

    def _variables(self, data: TaskData, raw_output: JsonValue = None) -> dict[str, JsonValue]:
        described: dict[str, JsonValue] = {
            "name": data.task.name,
            "reference": data.task.place,
            "input": data.raw_input,
            "output": raw_output,
            "startedAt": _instant(data.started_at),
        }
        return {**data.variables, **self._of_task(described), "input": data.input}

    def _of_task(self, described: JsonValue) -> dict[str, JsonValue]:
        return {"context": self._state.context, "task": described}

    def _value(self, template: Template, data: JsonValue, variables: Variables) -> JsonValue:
        budget = Budget()
        known = {**variables, "workflow": self._workflow, "runtime": self._runtime}
        try:
            return template.render(data, known, budget)
        except ExpressionError as error:
            raise TaskError(
                "an expression failed", type=EXPRESSION, status=400, detail=str(error)
            ) from None
        finally:
            self._gate.count(budget)


def _instant(at: datetime) -> dict[str, JsonValue]:
    seconds = int(at.timestamp())
    return {
        "iso8601": at.isoformat().replace("+00:00", "Z"),
        "epoch": {"seconds": seconds, "milliseconds": seconds * 1_000 + at.microsecond // 1_000},
    }
