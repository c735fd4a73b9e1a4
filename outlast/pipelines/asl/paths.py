"""Paths of JSONPath as expressions of jq."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

MAX_PATH_SHOWN = 60
"""Bytes of a path in a message."""

_SEGMENT = re.compile(
    r"""\.(?P<name>[^\s.\[\]()*@$'",?:]+)
    |\[(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\]
    |\[(?P<index>-?\d{1,9})\]
    |\[(?P<slice>-?\d{0,9}:-?\d{0,9})\]
    |(?P<each>\[\*\]|\.\*)""",
    re.VERBOSE,
)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

_CONTEXT = (
    ("$$.Execution.Input", "$workflow.input"),
    ("$$.Execution.Id", "$workflow.id"),
    ("$$.Execution.Name", "$workflow.id"),
    ("$$.Execution.StartTime", "$workflow.startedAt.iso8601"),
    ("$$.StateMachine.Id", "$workflow.definition.document.name"),
    ("$$.StateMachine.Name", "$workflow.definition.document.name"),
    ("$$.State.Name", "$task.name"),
    ("$$.Map.Item.Value", "$item"),
    ("$$.Map.Item.Index", "$index"),
)
"""What the context object of a state machine has, and its place here."""


class NotPortable(Exception):
    """Raised for a part of a state machine that cannot be moved, with its place below the current one."""

    def __init__(self, reason: str, *place: str | int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = place


@contextmanager
def at(*place: str | int) -> Iterator[None]:
    """Add a place to each `NotPortable` of the block."""
    try:
        yield
    except NotPortable as problem:
        raise NotPortable(problem.reason, *place, *problem.place) from None


def text_literal(text: str) -> str:
    """Return a text as a literal of jq; JSON escapes the backslash of an interpolation."""
    return json.dumps(text, ensure_ascii=False)


def key(name: str) -> str:
    """Return the step of jq to a field."""
    return f".{name}" if _PLAIN.fullmatch(name) else f".{text_literal(name)}"


def path(text: object, root: str = ".") -> str:
    """Return the expression for a path on the value of `root`, which is an expression too.

    `$.a[*].b` has several values: JSONPath returns an array of them, and so does the expression.
    """
    if not isinstance(text, str) or not text.startswith("$"):
        raise NotPortable(f"{_shown(text)} is not a path such as $.name")
    if text.startswith("$$"):
        root, text = _context(text)
    elif re.match(r"\$[A-Za-z_]", text):
        raise NotPortable(f"{_shown(text)} is a variable of `Assign`; pass the data in paths")
    steps, is_many, end = root, False, 1
    while end < len(text):
        match = _SEGMENT.match(text, end)
        if match is None:
            raise NotPortable(
                f"{_shown(text)}: only names, indexes, slices and [*] of JSONPath can be moved"
            )
        end = match.end()
        step = _step(match)
        if is_many or match["each"]:
            is_many = True
        elif match["slice"] and end < len(text):
            step, is_many = step + "[]", True
        steps = _joined(steps, step)
    return f"[{steps}]" if is_many else steps


def reference(text: object) -> list[str]:
    """Return the names of a reference path, such as `$.a.b`, into which a result is written."""
    if not isinstance(text, str) or not text.startswith("$") or text.startswith("$$"):
        raise NotPortable(f"{_shown(text)} is not a path such as $.name")
    names, end = [], 1
    while end < len(text):
        match = _SEGMENT.match(text, end)
        if match is None or not (match["name"] or match["quoted"]):
            raise NotPortable(f"{_shown(text)}: a result can only be written to names, not items")
        names.append(_name(match))
        end = match.end()
    return names


def field(names: list[str]) -> str:
    """Return the expression for the field below these names."""
    steps = "."
    for name in names:
        steps = _joined(steps, key(name))
    return steps


def with_result(target: str, names: list[str], result: str) -> str:
    """Return the expression that writes a result below the names of a value, as `ResultPath` does."""
    if not names:
        return result
    first, *rest = names
    inner = f"{_joined(target, key(first))} // {{}}"
    value = result if not rest else with_result(f"({inner})", rest, result)
    return f"{target} + {{{text_literal(first)}: ({value})}}"


def _name(match: re.Match[str]) -> str:
    if match["name"]:
        return match["name"]
    quoted = match["quoted"][1:-1]
    return re.sub(r"\\(.)", r"\1", quoted)


def _step(match: re.Match[str]) -> str:
    if match["index"]:
        return f"[{match['index']}]"
    if match["slice"]:
        if match["slice"] == ":":
            return "[0:]"
        return f"[{match['slice']}]"
    return "[]" if match["each"] else key(_name(match))


def _joined(steps: str, step: str) -> str:
    """Return an expression with one more step."""
    if steps == ".":
        return step if step.startswith(".") else f".{step}"
    return f"{steps}{step}"


def _context(text: str) -> tuple[str, str]:
    """Return the place of a path into the context object, and the rest of the path after it."""
    for name, place in _CONTEXT:
        rest = text.removeprefix(name)
        if rest != text and (not rest or rest[0] in ".["):
            return place, f"${rest}"
    if text.startswith("$$.Task.Token"):
        raise NotPortable("a task token has no counterpart; map the task to 'ask', or use 'listen'")
    raise NotPortable(f"{_shown(text)} of the context object has no counterpart")


def _shown(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= MAX_PATH_SHOWN else f"{shown[: MAX_PATH_SHOWN - 1]}…"
