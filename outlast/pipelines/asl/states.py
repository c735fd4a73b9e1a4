"""States as tasks: one function for each type of state.

Each returns a task whose `output.as` does what ResultSelector, ResultPath and OutputPath do. The way to
the next state is added in `machine`.
"""

from collections.abc import Callable
from typing import Any, Protocol

from pydantic import JsonValue

from outlast.pipelines.asl.choices import condition
from outlast.pipelines.asl.failures import NO_CHOICE, PREFIX
from outlast.pipelines.asl.intrinsics import value
from outlast.pipelines.asl.paths import NotPortable, at, path, reference, with_result
from outlast.pipelines.asl.payloads import expression, literal, template
from outlast.pipelines.asl.report import Part
from outlast.pipelines.asl.resources import (
    INTEGRATIONS,
    NAMED_BY,
    PLACEHOLDER,
    Call,
    Integration,
    Resources,
)
from outlast.pipelines.bounds import MAX_CONCURRENCY
from outlast.pipelines.fields import quoted
from outlast.pipelines.places import Problem

UNBOUNDED_CONCURRENCY = 40
"""Items of a Map state without MaxConcurrency that run at the same time, as in the inline mode of AWS."""

Task = dict[str, Any]


class Scope(Protocol):
    """Moves the states of a Map or of a branch."""

    resources: Resources

    def tasks(self, part: Part, *, first: Task | None = None) -> list[Task]:
        """Return the list of tasks of an object with StartAt and States, after the task `first`."""
        ...


def move_pass(part: Part, scope: Scope) -> Task:
    """Return a `set`."""
    del scope
    raw = "."
    if "Result" in part:
        result = literal(part.get("Result"))
        is_object = isinstance(result, dict) and bool(result)
        task: Task = {"set": result if is_object else {"result": result}}
        raw = "." if is_object else ".result"
    else:
        task = {"set": _payload(part, "Parameters")}
    return _with_data(part, task, raw)


def move_task(part: Part, scope: Scope) -> Task:
    """Return a call of what the resource is mapped to, or of a placeholder."""
    resource = part.get("Resource")
    if not isinstance(resource, str):
        raise NotPortable(f"{quoted(resource)} is not the name of a resource", "Resource")
    parameters = part.get("Parameters")
    given = parameters if isinstance(parameters, dict) else {}
    service = next((each for each in INTEGRATIONS if each.resource.fullmatch(resource)), None)
    found = scope.resources.find(resource, given)
    if resource.endswith(".waitForTaskToken") and (found is None or found.kind != "ask"):
        raise NotPortable("waits for a task token; map it to 'ask', or use 'listen'", "Resource")
    if found is not None and found.kind == "ask":
        call: Task = {"call": "ask", "with": found.target}
    else:
        called = next((str(given[name]) for name in NAMED_BY if name in given), resource)
        call = _call(part, called, found, _arguments(part, given, service))
    task = _with_data(part, call, service.output if service else ".")
    _add_timeout(part, task)
    return task


def _arguments(part: Part, given: dict[str, JsonValue], service: Integration | None) -> JsonValue:
    """Return what a task passes on: `Parameters`, or the one of them that has the input of a service."""
    if not given:
        return _payload(part, "Parameters")
    with at("Parameters"):
        if service is None:
            return _template({name: each for name, each in given.items() if name not in NAMED_BY})
        field = service.payload
        for name in given:
            if name not in (*NAMED_BY, field, f"{field}.$"):
                part.report.remark(part.at("Parameters", name), "belongs to AWS, and is left out")
        if f"{field}.$" in given:
            with at(f"{field}.$"):
                return f"${{ {value(given[f'{field}.$'])} }}"
        with at(field):
            return _template(given.get(field, {}))


def _call(part: Part, called: str, found: Call | None, data: JsonValue) -> Task:
    """Return the call of an agent or a tool, or a placeholder for a resource that is not mapped."""
    if found is None:
        reason = f"{quoted(called)} is not in the mapping; see --map"
        part.report.holes.append(Problem(part.at("Resource"), reason))
        return {"call": f"{PLACEHOLDER} {called}", "with": {"input": data}}
    if found.argument is not None:
        data = {found.argument: data}
    field = "arguments" if found.kind == "tool" else "input"
    return {"call": found.kind, "with": {found.kind: found.target, field: data}}


def move_choice(part: Part, scope: Scope) -> Task:
    """Return a `switch`, whose ways are names of states; the last one is the default."""
    del scope
    rules = part.get("Choices")
    if not isinstance(rules, list) or not rules:
        raise NotPortable(f"{quoted(rules)} is not an array with at least one rule", "Choices")
    cases = []
    for place, rule in enumerate(rules):
        if not isinstance(rule, dict):
            raise NotPortable(f"{quoted(rule)} is not a rule", "Choices", place)
        with at("Choices", place):
            when = condition(rule)
        target = str(rule.get("Next"))
        cases.append({target: {"when": f"${{ {when} }}", "then": target}})
        if "Comment" in rule:
            part.report.remark(part.at("Choices", place, "Comment"), "is left out")
    default = part.get("Default")
    if isinstance(default, str):
        cases.append({"default": {"then": default}})
    return _with_data(part, {"switch": cases}, ".", has_result=False)


def no_choice(name: str) -> Task:
    """Return the task after a `switch` without a default."""
    title = f"no rule of {name} applies"
    return {"raise": {"error": {"type": NO_CHOICE, "status": 400, "title": title}}}


def move_wait(part: Part, scope: Scope) -> Task:
    """Return a `wait`."""
    del scope
    for name in ("Timestamp", "TimestampPath"):
        if name in part:
            raise NotPortable(
                "a wait until a time cannot be moved; compute the seconds in a tool", name
            )
    if "SecondsPath" in part:
        with at("SecondsPath"):
            seconds = path(part.get("SecondsPath"))
        task: Task = {"wait": f"${{ {{seconds: {seconds}}} }}"}
    else:
        task = {"wait": {"seconds": part.number("Seconds") or 0}}
    return _with_data(part, task, ".", has_result=False)


def move_succeed(part: Part, scope: Scope) -> Task:
    """Return a `set` of the input."""
    del scope
    return _with_data(part, {"set": "${ . }"}, ".", has_result=False)


def move_fail(part: Part, scope: Scope) -> Task:
    """Return a `raise`."""
    del scope
    error: Task = {"type": f"{PREFIX}{part.get('Error', 'States.Fail')}", "status": 500}
    error["title"] = str(part.get("Error", "the state machine failed"))
    if "ErrorPath" in part:
        with at("ErrorPath"):
            name = value(part.get("ErrorPath"))
        error["type"], error["title"] = f'${{ "{PREFIX}\\({name})" }}', f"${{ {name} | tostring }}"
    if "CausePath" in part:
        with at("CausePath"):
            error["detail"] = f"${{ {value(part.get('CausePath'))} | tostring }}"
    elif "Cause" in part:
        error["detail"] = literal(str(part.get("Cause")))
    return {"raise": {"error": error}}


def move_parallel(part: Part, scope: Scope) -> Task:
    """Return a `fork`."""
    branches = part.get("Branches")
    if not isinstance(branches, list) or not branches:
        raise NotPortable(f"{quoted(branches)} is not an array of branches", "Branches")
    moved: list[Task] = []
    for place, each in enumerate(branches):
        if not isinstance(each, dict):
            raise NotPortable(f"{quoted(each)} is not an object", "Branches", place)
        inner = Part(each, part.at("Branches", place), part.report)
        moved.append({f"branch {place + 1}": {"do": scope.tasks(inner)}})
    task: Task = {"fork": {"branches": moved}}
    if "Parameters" in part:
        task["input"] = {"from": _payload(part, "Parameters", _root(part))}
    return _with_data(part, task, ".")


def move_map(part: Part, scope: Scope) -> Task:
    """Return a `for` whose items run at the same time."""
    name = "ItemProcessor" if "ItemProcessor" in part else "Iterator"
    processor = part.object(name)
    config = processor.get("ProcessorConfig", {})
    if isinstance(config, dict) and config.get("Mode") == "DISTRIBUTED":
        reason = "DISTRIBUTED has no counterpart: all items are part of one run"
        part.report.remark(processor.at("ProcessorConfig", "Mode"), reason)
    field = "ItemSelector" if "ItemSelector" in part else "Parameters"
    item: Task = {"set": _payload(part, field) if field in part else "${ $item }"}
    with at("ItemsPath"):
        items = path(part.get("ItemsPath", "$"))
    part.remark("Label", "has no counterpart")
    task: Task = {
        "for": {"each": "item", "at": "index", "in": f"${{ {items} }}"},
        "metadata": {"outlast": {"concurrency": _concurrency(part), "on_error": "fail"}},
        "do": scope.tasks(processor, first=item),
    }
    return _with_data(part, task, ".outputs")


def _concurrency(part: Part) -> int:
    wanted = int(part.number("MaxConcurrency", 0) or 0)
    if wanted > MAX_CONCURRENCY:
        reason = f"{wanted:,} becomes {MAX_CONCURRENCY}, the most"
        part.report.remark(part.at("MaxConcurrency"), reason)
    return min(wanted or UNBOUNDED_CONCURRENCY, MAX_CONCURRENCY)


MOVES: dict[str, Callable[[Part, Scope], Task]] = {
    "Pass": move_pass,
    "Task": move_task,
    "Choice": move_choice,
    "Wait": move_wait,
    "Succeed": move_succeed,
    "Fail": move_fail,
    "Parallel": move_parallel,
    "Map": move_map,
}
"""The types of states."""


def _with_data(part: Part, task: Task, raw: str, *, has_result: bool = True) -> Task:
    """Return a task with the input and the output of a state. `raw` is the result, on the raw output."""
    result = _result(part, raw) if has_result else raw
    output = part.get("OutputPath", "$")
    if output is None:
        result = "{}"
    elif output != "$":
        with at("OutputPath"):
            chosen = path(output)
        result = chosen if result == "." else f"{result} | {chosen}"
    moved: Task = {}
    root = _root(part)
    if root != "." and "input" not in task:
        moved["input"] = {"from": f"${{ {root} }}"}
    moved.update(task)
    if result != ".":
        moved["output"] = {"as": f"${{ {result} }}"}
    return moved


def _result(part: Part, raw: str) -> str:
    """Return the result of a state after ResultSelector and ResultPath."""
    result = raw
    if "ResultSelector" in part:
        with at("ResultSelector"):
            selected = expression(part.get("ResultSelector"))
        result = selected if raw == "." else f"({raw} | {selected})"
    result_path = part.get("ResultPath", "$")
    if result_path is None:
        return "$task.input"
    with at("ResultPath"):
        return with_result("$task.input", reference(result_path), result)


def _root(part: Part) -> str:
    """Return the expression of InputPath on the input of a state."""
    given = part.get("InputPath", "$")
    if given is None:
        return "{}"
    with at("InputPath"):
        return path(given)


def _payload(part: Part, name: str, root: str = ".") -> JsonValue:
    """Return the payload template in a field; without one, the input itself."""
    if name not in part:
        return "${ . }"
    with at(name):
        return _template(part.get(name), root)


def _template(payload: JsonValue, root: str = ".") -> JsonValue:
    """Return a payload template as what a task takes: an object with fields, or an expression."""
    if isinstance(payload, dict) and payload:
        return template(payload, root)
    return f"${{ {expression(payload, root)} }}"


def _add_timeout(part: Part, task: Task) -> None:
    if "TimeoutSecondsPath" in part:
        with at("TimeoutSecondsPath"):
            seconds = path(part.get("TimeoutSecondsPath"))
        task["timeout"] = {"after": f"${{ {{seconds: {seconds}}} }}"}
    elif "TimeoutSeconds" in part:
        task["timeout"] = {"after": {"seconds": part.number("TimeoutSeconds")}}
    for name in ("HeartbeatSeconds", "HeartbeatSecondsPath"):
        part.remark(name, "has no counterpart: the workers of a tool send heartbeats by themselves")
