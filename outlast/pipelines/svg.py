"""Pipelines as SVG: tasks below each other, tasks in tasks as boxes in boxes, and jumps at the right.

A document is a tree of lists, so every size follows from those inside of it. First each list, task and way
gets its size, from the inside out. Then all are drawn, from the outside in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from outlast.pipelines.graph import MAX_LABEL_BYTES, exits_of, inner_lists, kind_of
from outlast.pipelines.svg_canvas import Canvas, Point, width_of
from outlast.pipelines.tasks import (
    AgentCall,
    AskCall,
    Pipeline,
    RaiseBody,
    SwitchBody,
    Task,
    TaskList,
    ToolCall,
)
from outlast.text.texts import cut

MAX_LANES = 12
"""Lines of jumps beside one list. Further jumps are only named, as text beside their task."""

MAX_WAY_BYTES = 30
"""Bytes of the name of a way."""

LINE = 18.0
"""Height of a line of text."""

GAP = 30.0
"""Space between two tasks, for an arrow and the name of its way."""

PAD = 14.0
"""Space between a box and what is in it."""

LANE = 10.0
"""Space between two jumps."""

_STYLES: tuple[tuple[type[object], str], ...] = (
    (AgentCall, "agent"),
    (ToolCall, "tool"),
    (AskCall, "ask"),
    (SwitchBody, "switch"),
    (RaiseBody, "raise"),
)


def svg(pipeline: Pipeline) -> str:
    """Return a pipeline as the text of an SVG file."""
    column = _column(pipeline.tasks, is_outermost=True)
    canvas = Canvas()
    title = f"{pipeline.namespace}/{pipeline.name} {pipeline.version}"
    x = PAD + max(0.0, width_of(title) / 2 - column.center)
    top = PAD + LINE + GAP
    middle = x + column.center
    canvas.text((middle, PAD + LINE), title, "name")
    canvas.arrow([(middle, PAD + LINE + 6), (middle, top)])
    _draw_column(canvas, column, (x, top))
    bottom = top + column.height
    if column.rows[-1].goes_on:
        canvas.arrow([(middle, bottom), (middle, bottom + GAP)])
    canvas.box((middle - 22, bottom + GAP), (44, LINE + 4), "group", "the end", round_px=11)
    canvas.text((middle, bottom + GAP + 15), "end", "kind")
    width = x + max(column.width, width_of(title) / 2 + column.center) + PAD
    return canvas.svg(width, bottom + GAP + LINE + 4 + PAD, title)


@dataclass
class _Part:
    """Tasks in a task, with their title."""

    title: str
    column: "_Column"
    style: str = ""


@dataclass
class _Row:
    """One task of a list: its box, and its ways out. `jumps` has names of ways and their tasks."""

    task: Task
    width: float
    height: float
    parts: list[_Part] = field(default_factory=list)
    next_ways: list[str] = field(default_factory=list)
    jumps: list[tuple[str, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    goes_on: bool = False
    y: float = 0


@dataclass
class _Column:
    """The rows of a list of tasks. With `is_parallel` they stand side by side, without arrows."""

    rows: list[_Row]
    lanes: dict[int, int]
    """The lane of the jumps to each row."""
    is_parallel: bool = False
    center: float = 0
    gutter: float = 0
    """Where the lanes begin."""
    width: float = 0
    height: float = 0


def _column(tasks: TaskList, *, is_outermost: bool = False) -> _Column:
    rows = [_row(task) for task in tasks.tasks]
    for place, row in enumerate(rows):
        _add_ways(row, place, tasks, end="end" if is_outermost else "exit")
    column = _Column(rows, _lanes(rows))
    for row in rows:
        beyond = [jump for jump in row.jumps if jump[1] not in column.lanes]
        row.jumps = [jump for jump in row.jumps if jump[1] in column.lanes]
        row.notes += [_note(way, rows[target].task.name) for way, target in beyond]
        row.height = max(row.height, LINE * (len(row.jumps) + len(row.notes) + 1))
    column.center = max(row.width for row in rows) / 2
    y = 0.0
    for row in rows:
        row.y = y
        y += row.height + GAP
    column.height = y - GAP
    column.gutter = max(column.center + row.width / 2 + _side_width(row) for row in rows) + LANE
    column.width = column.gutter + LANE * max(column.lanes.values(), default=-2) + LANE
    column.width = max(column.width, 2 * column.center)
    return column


def _row(task: Task) -> _Row:
    name, kind = cut(task.name, MAX_LABEL_BYTES), cut(kind_of(task.body), MAX_LABEL_BYTES)
    parts = [
        _Part(title, _beside(tasks) if is_parallel else _column(tasks), style)
        for title, tasks, is_parallel, style in inner_lists(task.body)
    ]
    if not parts:
        return _Row(task, max(width_of(name), width_of(kind)) + 2 * PAD, 2 * LINE + 8)
    inner = sum(part.column.width + 2 * PAD for part in parts) + PAD * (len(parts) - 1)
    width = max(inner, width_of(f"{name}: {kind}") + 2 * PAD)
    height = max(_part_height(part) for part in parts) + LINE + PAD
    return _Row(task, width, height, parts)


def _part_height(part: _Part) -> float:
    return part.column.height + PAD + (LINE + 4 if part.title else 0)


def _beside(tasks: TaskList) -> _Column:
    """Return the branches of a fork."""
    rows = [_row(task) for task in tasks.tasks]
    width = sum(row.width + PAD for row in rows) - PAD
    height = max(row.height for row in rows)
    return _Column(rows, {}, is_parallel=True, center=width / 2, width=width, height=height)


def _add_ways(row: _Row, place: int, tasks: TaskList, *, end: str) -> None:
    for way, target in exits_of(row.task):
        name = cut(way, MAX_WAY_BYTES)
        is_flow = target in ("continue", "exit", "end")
        index = place + 1 if target == "continue" else -1 if is_flow else tasks.index_of(target)
        if index == place + 1:
            row.goes_on = True
            row.next_ways += [name] if name else []
        elif index < 0:
            row.notes.append(_note(name, "end" if target == "end" else end))
        else:
            row.jumps.append((name, index))


def _note(way: str, target: str) -> str:
    return f"{way} \u2192 {cut(target, MAX_WAY_BYTES)}".lstrip()


def _side_width(row: _Row) -> float:
    texts = [*row.notes, *(way for way, _ in row.jumps)]
    return max((width_of(text) + 10 for text in texts), default=0.0)


def _lanes(rows: Sequence[_Row]) -> dict[int, int]:
    """Give each task that others jump to a lane, so that lanes of the same rows differ."""
    spans: dict[int, tuple[int, int]] = {}
    for place, row in enumerate(rows):
        for _, target in row.jumps:
            first, last = spans.get(target, (target, target))
            spans[target] = (min(first, place), max(last, place))
    ends: list[list[tuple[int, int]]] = []
    lanes: dict[int, int] = {}
    for target, span in sorted(spans.items(), key=lambda each: each[1][1] - each[1][0]):
        free = (
            lane
            for lane, used in enumerate(ends)
            if all(span[1] < first or last < span[0] for first, last in used)
        )
        lane = next(free, len(ends))
        if lane >= MAX_LANES:
            continue
        if lane == len(ends):
            ends.append([])
        ends[lane].append(span)
        lanes[target] = lane
    return lanes


def _draw_column(canvas: Canvas, column: _Column, at: Point) -> None:
    x, y = at
    if column.is_parallel:
        for row in column.rows:
            _draw_task(canvas, row, (x, y))
            x += row.width + PAD
        return
    middle = x + column.center
    for place, row in enumerate(column.rows):
        left, top = middle - row.width / 2, y + row.y
        _draw_task(canvas, row, (left, top))
        if row.goes_on and place + 1 < len(column.rows):
            bottom = top + row.height
            canvas.arrow([(middle, bottom), (middle, bottom + GAP)])
            names = cut(", ".join(row.next_ways), MAX_LABEL_BYTES)
            if names:
                canvas.text((middle + 6, bottom + GAP / 2 + 3), names, "way", anchor="start")
        _draw_ways(canvas, column, row, (x, y))


def _draw_ways(canvas: Canvas, column: _Column, row: _Row, at: Point) -> None:
    x, y = at
    right = x + column.center + row.width / 2
    level = y + row.y + LINE + 4
    for way, target in row.jumps:
        aim = column.rows[target]
        lane = x + column.gutter + LANE * column.lanes[target]
        entry = y + aim.y + 8
        canvas.arrow(
            [
                (right, level),
                (lane, level),
                (lane, entry),
                (x + column.center + aim.width / 2, entry),
            ]
        )
        canvas.text((right + 5, level - 3), way, "way", anchor="start")
        level += LINE
    for note in row.notes:
        canvas.text((right + 5, level + 3), note, "way", anchor="start")
        level += LINE


def _draw_task(canvas: Canvas, row: _Row, at: Point) -> None:
    (x, y), task = at, row.task
    name, kind = cut(task.name, MAX_LABEL_BYTES), cut(kind_of(task.body), MAX_LABEL_BYTES)
    middle = x + row.width / 2
    if not row.parts:
        style = next((name for kind, name in _STYLES if isinstance(task.body, kind)), "plain")
        canvas.box(at, (row.width, row.height), style, task.place)
        canvas.text((middle, y + LINE), name, "name")
        canvas.text((middle, y + 2 * LINE), kind, "kind")
        return
    canvas.box(at, (row.width, row.height), "group", task.place)
    canvas.text((middle, y + LINE), f"{name}: {kind}", "name")
    inner = sum(part.column.width + 2 * PAD for part in row.parts) + PAD * (len(row.parts) - 1)
    left, top = x + (row.width - inner) / 2, y + LINE + PAD
    for part in row.parts:
        width = part.column.width + 2 * PAD
        start = top
        if part.title:
            size = (width - PAD, _part_height(part) - 4)
            canvas.box((left + PAD / 2, top - 4), size, part.style, f"{task.place}, {part.title}")
            canvas.text((left + width / 2, top + LINE - 6), part.title, "kind")
            start += LINE
        _draw_column(canvas, part.column, (left + PAD, start))
        left += width + PAD
