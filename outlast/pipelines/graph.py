"""Pipelines as Mermaid flowcharts: a node for each task, and an arrow for each way to go on."""

from collections.abc import Iterator

from outlast.pipelines.tasks import (
    AgentCall,
    AskCall,
    Body,
    DoBody,
    EmitBody,
    ForBody,
    ForkBody,
    ListenBody,
    Pipeline,
    RaiseBody,
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
    AskCall: "ask",
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
            for label, target in _exits(task):
                arrow = f'-- "{_escaped(label)}" -->' if label else "-->"
                end = {"continue": following, "exit": leads_to, "end": "finish"}.get(target)
                self.line(f"{names[place]} {arrow} {end or names[tasks.index_of(target)]}")
        return names[0] if names else leads_to

    def _task(self, task: Task, name: str) -> None:
        label = _escaped(f"{task.name}: {_kind(task.body)}")
        inner = list(_inner_lists(task.body))
        if not inner:
            shape = f'{{"{label}"}}' if isinstance(task.body, SwitchBody) else f'["{label}"]'
            self.line(f"{name}{shape}")
            return
        self.line(f'subgraph {name}["{label}"]')
        self._indent += 1
        for title, tasks, is_parallel in inner:
            self._inner(title, tasks, is_parallel=is_parallel)
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


def _exits(task: Task) -> Iterator[tuple[str, str]]:
    """Yield the label and the target of each way out of a task."""
    if not isinstance(task.body, SwitchBody):
        yield ("skipped or done" if task.condition and task.then != "continue" else "", task.then)
        return
    for case in task.body.cases:
        yield case.name, case.then
    if all(case.when is not None for case in task.body.cases):
        yield "otherwise", task.then


def _inner_lists(body: Body) -> Iterator[tuple[str, TaskList, bool]]:
    """Yield the title and the tasks of each list in a task, and whether they run at the same time."""
    if isinstance(body, DoBody):
        yield "done", body.tasks, False
    elif isinstance(body, ForBody):
        yield "next item", body.tasks, False
    elif isinstance(body, ForkBody):
        yield "", body.branches, True
    elif isinstance(body, TryBody):
        yield "done", body.tasks, False
        if body.catch.tasks is not None:
            yield "caught", body.catch.tasks, False


def _kind(body: Body) -> str:
    if isinstance(body, AgentCall):
        return f"agent {body.name}"
    if isinstance(body, ToolCall):
        return f"tool {body.tool}"
    if isinstance(body, ForBody) and body.map is not None:
        return f"for, {body.map.concurrency} at a time"
    if isinstance(body, ForkBody) and body.compete:
        return "fork, the first wins"
    return _LABELS[type(body)]


def _escaped(text: str) -> str:
    """Return text for a quoted label: Mermaid reads `#` and `;` as an entity."""
    shown = cut(text, MAX_LABEL_BYTES).replace("#", "#35;").replace('"', "#quot;")
    return shown.replace("<", "#lt;").replace(">", "#gt;")
