"""`Retry` and `Catch` as `try` tasks.

A `catch` of a pipeline cannot jump out of its `try`. So the output of a `try` is an object: `data`, and,
after an error that is caught, `caught` with the number of the catcher. A `switch` after it takes the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from outlast.pipelines.asl.paths import NotPortable, at, reference, text_literal, with_result
from outlast.pipelines.asl.report import Part
from outlast.pipelines.catches import MAX_RETRIES
from outlast.pipelines.errors import EXPRESSION, TIMEOUT
from outlast.pipelines.fields import quoted

PREFIX = "urn:asl:"
"""Begins the type of an error that a `Fail` state raises, before its name."""

NO_CHOICE = f"{PREFIX}States.NoChoiceMatched"

_IS_TIMEOUT = f'$error.type == "{TIMEOUT}"'
_IS_EXPRESSION = f'$error.type == "{EXPRESSION}"'
_CONDITIONS = {
    "States.ALL": "true",
    "States.BranchFailed": "true",
    "States.TaskFailed": f'$error.type != "{TIMEOUT}"',
    "States.Timeout": _IS_TIMEOUT,
    "States.HeartbeatTimeout": _IS_TIMEOUT,
    "States.Runtime": _IS_EXPRESSION,
    "States.ParameterPathFailure": _IS_EXPRESSION,
    "States.ResultPathMatchFailure": _IS_EXPRESSION,
    "States.IntrinsicFailure": _IS_EXPRESSION,
    "States.QueryEvaluationError": _IS_EXPRESSION,
    "States.NoChoiceMatched": f'$error.type == "{NO_CHOICE}"',
}
"""The names that the Amazon States Language defines, as conditions on an error of a pipeline."""

_NAME_OF_ERROR = (
    f'(if ($error.type | startswith("{PREFIX}")) then ($error.type | ltrimstr("{PREFIX}"))'
    f' elif {_IS_TIMEOUT} then "States.Timeout" else "States.TaskFailed" end)'
)


@dataclass(frozen=True)
class Catcher:
    """One item of `Catch`: when it applies, where it goes, and the data that goes there."""

    condition: str
    target: str
    data: str


def retries_of(part: Part) -> list[tuple[str, dict[str, JsonValue]]]:
    """Return the condition and the retry policy of each retrier; the policy is empty for no retry."""
    found = []
    for place, retrier in enumerate(_items(part, "Retry")):
        with at("Retry", place):
            found.append((_condition(retrier), _policy(retrier)))
            retrier.close()
    return found


def catchers_of(part: Part) -> list[Catcher]:
    """Return the catchers of a state."""
    found = []
    for place, catcher in enumerate(_items(part, "Catch")):
        with at("Catch", place):
            data = _caught_data(catcher)
            found.append(Catcher(_condition(catcher), str(catcher.get("Next")), data))
            catcher.close()
    return found


def _caught_data(catcher: Part) -> str:
    """Return the expression for the input of the state after a catcher: the error, at its ResultPath."""
    result_path = catcher.get("ResultPath", "$")
    if result_path is None:
        return "."
    with at("ResultPath"):
        names = reference(result_path)
    name = _NAME_OF_ERROR
    for each in _custom_names(catcher):
        name = f"(if {_is_named(each)} then {text_literal(each)} else {name} end)"
    error = f'{{"Error": {name}, "Cause": ($error.detail // $error.title)}}'
    return with_result(".", names, error)


def with_retries(
    name: str, task: dict[str, Any], retriers: Sequence[tuple[str, dict[str, JsonValue]]]
) -> dict[str, Any]:
    """Return a task inside a `try` for each retrier; the first one is the innermost."""
    earlier: list[str] = []
    for condition, policy in retriers:
        parts = [] if condition == "true" else [f"({condition})"]
        parts += [f"(({each}) | not)" for each in earlier]
        earlier.append(condition)
        if not policy:
            continue
        catch: dict[str, Any] = {"retry": policy}
        if parts:
            catch["when"] = f"${{ {' and '.join(parts)} }}"
        task = {"try": [{name: task}], "catch": catch}
    return task


def with_catchers(name: str, task: dict[str, Any], catchers: Sequence[Catcher]) -> dict[str, Any]:
    """Return a task inside a `try` whose output says which catcher applied, if any."""
    conditions = [catcher.condition for catcher in catchers]
    catch: dict[str, Any] = {}
    if "true" not in conditions:
        catch["when"] = f"${{ {' or '.join(f'({each})' for each in conditions)} }}"
    ways = [
        (catcher.condition, f"{{caught: {place}, data: ({catcher.data})}}")
        for place, catcher in enumerate(catchers)
    ]
    text = ways[-1][1]
    for condition, data in reversed(ways[:-1]):
        text = f"if {condition} then {data} else {text} end"
    catch["do"] = [{"caught": {"set": f"${{ {text} }}"}}]
    return {"try": [{name: task}], "catch": catch}


def _items(part: Part, name: str) -> list[Part]:
    value = part.get(name, [])
    if not isinstance(value, list):
        raise NotPortable(f"{quoted(value)} is not an array", name)
    found = []
    for place, each in enumerate(value):
        if not isinstance(each, dict):
            raise NotPortable(f"{quoted(each)} is not an object", name, place)
        found.append(Part(each, part.at(name, place), part.report))
    return found


def _names(part: Part) -> list[str]:
    names = part.get("ErrorEquals")
    if not isinstance(names, list) or not names or not all(isinstance(each, str) for each in names):
        raise NotPortable(f"{quoted(names)} is not an array of names of errors", "ErrorEquals")
    return [str(each) for each in names]


def _custom_names(part: Part) -> list[str]:
    return [each for each in _names(part) if each not in _CONDITIONS]


def _condition(part: Part) -> str:
    conditions = []
    for name in _names(part):
        condition = _CONDITIONS.get(name)
        if condition is None:
            condition = _is_named(name)
            part.report.remark(
                part.at("ErrorEquals"),
                f"{name!r} is an error of a Fail state, or of a tool that raises ToolError('{name}: …')",
            )
        conditions.append(condition)
    return "true" if "true" in conditions else " or ".join(dict.fromkeys(conditions))


def _is_named(name: str) -> str:
    """Return the condition that an error has a name of the user."""
    text = text_literal(name)
    return (
        f'($error.type == {text_literal(PREFIX + name)} or (($error.detail // "")'
        f" | . == {text} or startswith({text_literal(name + ':')})))"
    )


def _policy(part: Part) -> dict[str, JsonValue]:
    """Return the retry policy of a retrier, which is empty if it allows no retry."""
    count = part.number("MaxAttempts", 3) or 0
    delay = part.number("IntervalSeconds", 1)
    rate = part.number("BackoffRate", 2.0) or 1
    part.remark("MaxDelaySeconds", "has no counterpart: the delay grows up to 30 days")
    part.remark("JitterStrategy", "has no counterpart: the delay is exact")
    if count > MAX_RETRIES:
        part.report.remark(part.at("MaxAttempts"), f"{count} becomes {MAX_RETRIES}, the most")
    if rate not in (1, 2):
        part.report.remark(part.at("BackoffRate"), f"{rate} becomes 2: the delay doubles")
    if count < 1:
        return {}
    return {
        "delay": {"seconds": delay},
        "backoff": {"constant": {}} if rate == 1 else {"exponential": {}},
        "limit": {"attempt": {"count": min(int(count), MAX_RETRIES)}},
    }
