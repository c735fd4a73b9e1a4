"""Pipelines as Mermaid flowcharts: a node for each task, and an arrow for each way to go on."""

from collections.abc import Iterator

from outlast.pipelines.tasks import (
    A2aCall,
    AgentCall,
    AskCall,
    Body,
    Catch,
    DoBody,
    EmitBody,
    ForBody,
    ForkBody,
    HttpCall,
    ListenBody,
    MapOptions,
    OpenApiCall,
    Pipeline,
    RaiseBody,
    RetryPolicy,
    SetBody,
    SwitchBody,
    Task,
    TaskList,
    ToolCall,
    TryBody,
    WaitBody,
)
from outlast.text.texts import cut

MAX_LABEL_BYTES = 60
"""Bytes of the label of a node."""

_LABELS: dict[type[Body], str] = {
    SetBody: "set",
    SwitchBody: "switch",
    DoBody: "do",
    ForBody: "for",
    ForkBody: "fork",
    TryBody: "try",
    WaitBody: "wait",
    RaiseBody: "raise",
    EmitBody: "emit",
    ListenBody: "listen",
}


def mermaid(pipeline: Pipeline) -> str:
    """Return a pipeline as the text of a Mermaid flowchart."""
    graph = _Graph()
    graph.lines.append("flowchart TD")
    graph.line('start(["start"])')
    graph.line('finish(["end"])')
    entry = graph.scope(pipeline.tasks, leads_to="finish")
    graph.line(f"start --> {entry}")
    return "\n".join(graph.lines) + "\n"


class _Graph:
    """The lines of one flowchart, and the numbers of its nodes."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._nodes = 0
        self._indent = 1

    def line(self, text: str) -> None:
        """Add a line at the current level."""
        self.lines.append("    " * self._indent + text)

    def _name(self) -> str:
        self._nodes += 1
        return f"n{self._nodes}"

    def scope(self, tasks: TaskList, *, leads_to: str) -> str:
        """Draw a list of tasks, whose end is followed by a node. Return the first node."""
        names = [self._name() for _ in tasks.tasks]
        for place, task in enumerate(tasks.tasks):
            self._task(task, names[place])
            following = names[place + 1] if place + 1 < len(names) else leads_to
            for label, target in exits_of(task):
                arrow = f'-- "{_escaped(label)}" -->' if label else "-->"
                end = {"continue": following, "exit": leads_to, "end": "finish"}.get(target)
                self.line(f"{names[place]} {arrow} {end or names[tasks.index_of(target)]}")
        return names[0] if names else leads_to

    def _task(self, task: Task, name: str) -> None:
        label = _escaped(f"{task.name}: {kind_of(task.body)}")
        inner = list(inner_lists(task.body))
        if not inner:
            shape = f'{{"{label}"}}' if isinstance(task.body, SwitchBody) else f'["{label}"]'
            self.line(f"{name}{shape}")
            return
        self.line(f'subgraph {name}["{label}"]')
        self._indent += 1
        end = "next item" if isinstance(task.body, ForBody) else "done"
        for title, tasks, is_parallel, _ in inner:
            self._inner("caught" if title == "catch" else end, tasks, is_parallel=is_parallel)
        self._indent -= 1
        self.line("end")

    def _inner(self, title: str, tasks: TaskList, *, is_parallel: bool) -> None:
        if is_parallel:
            for task in tasks.tasks:
                self._task(task, self._name())
            return
        end = self._name()
        self.scope(tasks, leads_to=end)
        self.line(f'{end}(("{title}"))')


def exits_of(task: Task) -> Iterator[tuple[str, str]]:
    """Yield the name and the target of each way out of a task. The only way has no name."""
    is_conditional = task.condition is not None
    if isinstance(task.body, SwitchBody):
        for case in task.body.cases:
            yield case.name, case.then
        if all(case.when is not None for case in task.body.cases):
            yield "otherwise", task.then
    elif not isinstance(task.body, RaiseBody):
        has_two = is_conditional and task.then != "continue"
        yield "done" if has_two else "", task.then
        is_conditional = has_two
    if is_conditional:
        yield "skipped", "continue"


def inner_lists(body: Body) -> Iterator[tuple[str, TaskList, bool, str]]:
    """Yield the lists in a task: title, tasks, whether they run at the same time, and style."""
    if isinstance(body, DoBody | ForBody):
        yield "", body.tasks, False, ""
    elif isinstance(body, ForkBody):
        yield "", body.branches, True, ""
    elif isinstance(body, TryBody):
        has_catch = body.catch.tasks is not None
        yield "try" if has_catch else "", body.tasks, False, "group"
        if body.catch.tasks is not None:
            yield "catch", body.catch.tasks, False, "catch"


def kind_of(body: Body) -> str:
    """Return what a task does, in a few words."""
    match body:
        case AgentCall():
            kind = f"agent {body.name}"
        case ToolCall():
            kind = f"tool {body.tool}"
        case AskCall():
            kind = f"ask {body.audience}"
        case HttpCall():
            kind = f"HTTP {body.method}"
        case OpenApiCall():
            kind = f"OpenAPI {body.operation_id}"
        case A2aCall():
            kind = f"A2A {body.method}"
        case ForBody(map=MapOptions(concurrency=count)):
            kind = f"for, {count} at a time"
        case ForkBody(compete=True):
            kind = "fork, the first wins"
        case TryBody(catch=Catch(retry=RetryPolicy(count=count))):
            kind = f"try, {count} {'retry' if count == 1 else 'retries'}"
        case _:
            kind = _LABELS[type(body)]
    return kind


def _escaped(text: str) -> str:
    """Return text for a quoted label: Mermaid reads `#` and `;` as an entity."""
    shown = cut(text, MAX_LABEL_BYTES).replace("#", "#35;").replace('"', "#quot;")
    return shown.replace("<", "#lt;").replace(">", "#gt;")
