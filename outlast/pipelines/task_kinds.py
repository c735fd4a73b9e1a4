"""Reading the bodies of tasks, one function for each kind of task."""

from collections.abc import Callable

from outlast.contracts.names import NAME_RULE
from outlast.pipelines.bounds import (
    MAX_BRANCHES,
    MAX_CASES,
    MAX_CONCURRENCY,
    MAX_ITEMS,
)
from outlast.pipelines.calls import read_agent_run, read_call
from outlast.pipelines.catches import read_try
from outlast.pipelines.event_tasks import read_emit, read_listen
from outlast.pipelines.fields import NAME, Fields, array_hint, quoted
from outlast.pipelines.places import below
from outlast.pipelines.task_context import TaskContext
from outlast.pipelines.tasks import (
    Body,
    Case,
    DoBody,
    Duration,
    ForBody,
    ForkBody,
    MapOptions,
    RaiseBody,
    SetBody,
    SwitchBody,
    WaitBody,
)
from outlast.pipelines.templates import Template


def _set(task: TaskContext) -> Body:
    value = task.fields.raw("set")
    is_expression = isinstance(value, str) and "${" in value
    if not is_expression and (not isinstance(value, dict) or not value):
        task.fields.problems.add(
            task.fields.at("set"), f"{quoted(value)} is not an object with at least one field"
        )
    return SetBody(task.fields.template("set", task.variables))


def _switch(task: TaskContext) -> Body:
    fields = task.fields
    cases: list[Case] = []
    has_default = False
    for name, case in _named_items(fields, "switch", MAX_CASES, "a case"):
        when = case.expression("when", task.variables)
        cases.append(Case(name, when, task.directive(case, "then", required=True)))
        case.close()
        if "when" not in case:
            if has_default:
                fields.problems.add(case.place, "is a second default case; give it a 'when'")
            has_default = True
    return SwitchBody(tuple(cases))


def _named_items(fields: Fields, name: str, most: int, what: str) -> list[tuple[str, Fields]]:
    """Return the items of an array of objects with one key each."""
    value, place = fields.raw(name), fields.at(name)
    if not isinstance(value, list) or not value:
        reason = f"{quoted(value)} is not an array with at least one item{array_hint(value)}"
        fields.problems.add(place, reason)
        return []
    if len(value) > most:
        fields.problems.add(place, f"has {len(value):,} items; at most {most:,} are allowed")
        return []
    found = []
    for number, item in enumerate(value):
        at = below(place, number)
        if not isinstance(item, dict) or len(item) != 1:
            fields.problems.add(at, f"{quoted(item)} is not {what}: an object with one name")
            continue
        key = next(iter(item))
        found.append((key, Fields(fields.problems, item[key], below(at, key), what)))
    return found


def _do(task: TaskContext) -> Body:
    return DoBody(task.tasks(task.fields, "do", task.variables))


def _for(task: TaskContext) -> Body:
    fields = task.fields
    loop = Fields(fields.problems, fields.raw("for"), fields.at("for"), "'for'")
    each = loop.matching("each", NAME, NAME_RULE, default="item")
    at = loop.matching("at", NAME, NAME_RULE, default="index")
    loop.raw("in", required=True)
    items = loop.expression("in", task.variables) or Template(None, {})
    loop.close()
    inner = task.variables | {each, at}
    condition = fields.expression("while", inner)
    options = _map_options(fields)
    if options is not None and condition is not None:
        fields.problems.add(
            fields.at("while"), "needs one item after the other; remove metadata.outlast"
        )
    return ForBody(each, at, items, condition, task.tasks(fields, "do", inner), options)


def _map_options(fields: Fields) -> MapOptions | None:
    metadata = fields.raw("metadata")
    if not isinstance(metadata, dict) or "outlast" not in metadata:
        return None
    place = below(fields.at("metadata"), "outlast")
    options = Fields(fields.problems, metadata["outlast"], place, "metadata.outlast")
    concurrency = options.count("concurrency", most=MAX_CONCURRENCY, default=10)
    on_error = options.choice("on_error", ("fail", "collect", "stop_after"), default="fail")
    stop_after = None
    if on_error == "stop_after":
        stop_after = options.count("failures", most=MAX_ITEMS)
    else:
        options.reject("failures", "belongs to on_error 'stop_after'")
    options.close()
    return MapOptions(concurrency, is_tolerant=on_error != "fail", stop_after=stop_after)


def _fork(task: TaskContext) -> Body:
    fields = Fields(task.fields.problems, task.fields.raw("fork"), task.fields.at("fork"), "'fork'")
    branches = task.tasks(fields, "branches", task.variables)
    compete = fields.flag("compete", default=False)
    fields.close()
    if len(branches.tasks) > MAX_BRANCHES:
        fields.problems.add(
            fields.at("branches"), f"has more than {MAX_BRANCHES} branches; use 'for'"
        )
    for branch in branches.tasks:
        if branch.then != "continue":
            fields.problems.add(
                below(branch.place, "then"), "a branch of 'fork' cannot name the next task"
            )
    return ForkBody(branches, compete)


def _wait(task: TaskContext) -> Body:
    return WaitBody(task.fields.duration("wait", task.variables, required=True) or Duration())


def _raise(task: TaskContext) -> Body:
    fields = Fields(
        task.fields.problems, task.fields.raw("raise"), task.fields.at("raise"), "'raise'"
    )
    fields.raw("error", required=True)
    error = task.definitions.fields(fields, "error", "errors", "an error")
    fields.close()
    if error is None:
        return RaiseBody(Template(None, {}))
    error.text("type", required=True)
    status = error.raw("status", required=True)
    if "status" in error and (isinstance(status, bool) or not isinstance(status, int)):
        fields.problems.add(error.at("status"), f"{quoted(status)} is not an integer")
    for name in ("instance", "title", "detail"):
        error.text(name)
    error.close()
    whole = Fields(fields.problems, {"error": error.value}, fields.place, "'raise'")
    return RaiseBody(whole.template("error", task.variables))


def _call(task: TaskContext) -> Body | None:
    return read_call(task)


def _run(task: TaskContext) -> Body | None:
    fields = Fields(task.fields.problems, task.fields.raw("run"), task.fields.at("run"), "'run'")
    return read_agent_run(fields, task.variables)


KINDS: dict[str, Callable[[TaskContext], Body | None]] = {
    "set": _set,
    "switch": _switch,
    "for": _for,
    "fork": _fork,
    "try": read_try,
    "wait": _wait,
    "raise": _raise,
    "emit": read_emit,
    "listen": read_listen,
    "call": _call,
    "run": _run,
    "do": _do,
}
"""The kinds of tasks, by their field. A `for` has a `do` too, so `do` is the last."""
