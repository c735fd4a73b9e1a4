"""The syntax tree of an expression. `parser` makes it, and `evaluation` evaluates it."""

from dataclasses import dataclass

from pydantic import JsonValue


class Node:
    """A part of an expression: it turns one value into a stream of values."""


@dataclass(frozen=True)
class Identity(Node):
    """`.`, the value itself."""


@dataclass(frozen=True)
class Literal(Node):
    """A number, a text without interpolation, or `true`, `false` and `null`."""

    value: JsonValue


@dataclass(frozen=True)
class Text(Node):
    r"""A text with interpolations: `"Hello \(.name)"`."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Variable(Node):
    """`$name`."""

    name: str


@dataclass(frozen=True)
class Index(Node):
    """`target.name`, `target["name"]` or `target[0]`."""

    target: Node
    key: Node


@dataclass(frozen=True)
class Slice(Node):
    """`target[start:end]`."""

    target: Node
    start: Node | None
    end: Node | None


@dataclass(frozen=True)
class Each(Node):
    """`target[]`: all values of an array or object."""

    target: Node


@dataclass(frozen=True)
class Try(Node):
    """`body?`, or `try body catch handler`."""

    body: Node
    handler: Node | None


@dataclass(frozen=True)
class Pipe(Node):
    """`left | right`."""

    left: Node
    right: Node


@dataclass(frozen=True)
class Binding(Node):
    """`source as $name | body`."""

    source: Node
    name: str
    body: Node


@dataclass(frozen=True)
class Comma(Node):
    """`first, second, …`: the values of all parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Alternative(Node):
    """`left // right`: the values of `left` that are neither false nor null, or else those of `right`."""

    left: Node
    right: Node


@dataclass(frozen=True)
class Logic(Node):
    """`left and right`, or `left or right`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Binary(Node):
    """Arithmetic, or a comparison."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Negation(Node):
    """`-operand`."""

    operand: Node


@dataclass(frozen=True)
class Condition(Node):
    """`if test then yes elif … else no end`."""

    test: Node
    yes: Node
    no: Node


@dataclass(frozen=True)
class Array(Node):
    """`[items]`."""

    items: Node | None


@dataclass(frozen=True)
class Object(Node):
    """`{key: value, …}`."""

    entries: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True)
class Call(Node):
    """A call of a function."""

    name: str
    arguments: tuple[Node, ...]


def depth_of(node: Node) -> int:
    """Return the number of levels of a syntax tree."""
    layer, depth = [node], 0
    while layer:  # bounded by the size of the tree
        depth += 1
        layer = [child for each in layer for child in _children(each)]
    return depth


def _children(node: Node) -> list[Node]:
    found: list[Node] = []
    waiting = list(vars(node).values())
    while waiting:
        value = waiting.pop()
        if isinstance(value, Node):
            found.append(value)
        elif isinstance(value, tuple):
            waiting.extend(value)
    return found
