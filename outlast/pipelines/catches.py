"""Reading `try`: the errors that it catches, and how often it retries."""

from typing import Literal

from pydantic import JsonValue

from outlast.contracts.names import NAME_RULE
from outlast.pipelines.errors import current_type
from outlast.pipelines.fields import NAME, Fields
from outlast.pipelines.task_context import TaskContext, Variables
from outlast.pipelines.tasks import (
    Body,
    Catch,
    Duration,
    RetryPolicy,
    TryBody,
)

MAX_RETRIES = 100
"""Retries of one `try`; also those of a policy without a limit of its own."""

BACKOFFS: tuple[Literal["constant", "linear", "exponential"], ...] = (
    "constant",
    "linear",
    "exponential",
)
"""How the delay of a retry grows."""


def read_try(task: TaskContext) -> Body:
    """Return the body of a `try`."""
    fields = task.fields
    tasks = task.tasks(fields, "try", task.variables)
    catch = Fields(
        fields.problems, fields.raw("catch", required=True), fields.at("catch"), "'catch'"
    )
    name = catch.matching("as", NAME, NAME_RULE, default="error")
    inner = task.variables | {name}
    when = catch.expression("when", inner)
    except_when = catch.expression("exceptWhen", inner)
    retry = _retry(task, catch, inner)
    handler = task.tasks(catch, "do", inner) if "do" in catch else None
    found = Catch(_error_filter(catch), name, when, except_when, retry, handler)
    catch.close()
    return TryBody(tasks, found)


def _error_filter(catch: Fields) -> dict[str, JsonValue]:
    errors = catch.inner("errors", "a filter of errors")
    filters = errors.inner("with", "the fields of an error") if errors else None
    if errors:
        errors.close()
    if filters is None:
        return {}
    result: dict[str, JsonValue] = {}
    for name in ("type", "status", "instance", "title", "details", "detail"):
        value = filters.raw(name)
        if name in filters:
            result["detail" if name == "details" else name] = value
    filters.close()
    if isinstance(result.get("type"), str):
        result["type"] = current_type(str(result["type"]))
    return result


def _retry(task: TaskContext, catch: Fields, variables: Variables) -> RetryPolicy | None:
    fields = task.definitions.fields(catch, "retry", "retries", "a retry policy")
    return None if fields is None else _read_retry(fields, variables)


def _read_retry(fields: Fields, variables: Variables) -> RetryPolicy:
    """Return a retry policy."""
    when = fields.expression("when", variables)
    except_when = fields.expression("exceptWhen", variables)
    delay = fields.duration("delay", variables) or Duration()
    backoff = fields.inner("backoff", "a backoff")
    kind: Literal["constant", "linear", "exponential"] = "constant"
    if backoff:
        for each in BACKOFFS:
            if each in backoff:
                backoff.raw(each)
                kind = each
        if len(backoff.value) != 1:
            fields.problems.add(backoff.place, "needs one of constant, linear and exponential")
        backoff.close()
    limit = fields.inner("limit", "a limit")
    attempt = limit.inner("attempt", "the limit of attempts") if limit else None
    count = (
        attempt.count("count", most=MAX_RETRIES, default=MAX_RETRIES) if attempt else MAX_RETRIES
    )
    attempt_limit = attempt.duration("duration", variables) if attempt else None
    duration = limit.duration("duration", variables) if limit else None
    jitter = fields.inner("jitter", "a jitter")
    spread = None
    if jitter:
        least = jitter.duration("from", variables, required=True) or Duration()
        most = jitter.duration("to", variables, required=True) or Duration()
        spread = (least, most)
    for inner in (limit, attempt, jitter, fields):
        if inner:
            inner.close()
    return RetryPolicy(when, except_when, delay, kind, count, duration, attempt_limit, spread)
