"""Intrinsic functions of state machines, such as `States.Format`, as expressions of jq."""

import json
import re
from collections.abc import Callable

from outlast.pipelines.asl.paths import NotPortable, path, text_literal

MAX_FUNCTION_DEPTH = 10
"""Functions in functions: the limit of the Amazon States Language."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*')|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<word>true|false|null)\b|(?P<function>States\.[A-Za-z0-9]+)\s*\(
    |(?P<path>\$(?:\[[^\]]*\]|[^\s,()\[\]])*)|(?P<mark>[,)]))\s*""",
    re.VERBOSE,
)


def value(text: object, root: str = ".") -> str:
    """Return the expression for the value of a field whose name ends in `.$`: a path, or a function."""
    if isinstance(text, str) and text.startswith("States."):
        reader = _Reader(text, root)
        found = reader.argument()
        reader.expect_end()
        return found
    return path(text, root)


class _Reader:
    """Reads one expression from left to right."""

    def __init__(self, text: str, root: str) -> None:
        self._text = text
        self._root = root
        self._place = 0
        self._depth = 0

    def expect_end(self) -> None:
        if self._place < len(self._text):
            raise NotPortable(f"{self._text[self._place :]!r} stands after the function")

    def argument(self) -> str:
        """Read a literal, a path or a function."""
        match = self._next()
        if match["text"]:
            return text_literal(_unescaped(match["text"][1:-1]))
        if match["path"]:
            return path(match["path"], self._root)
        if match["function"]:
            return self._call(match["function"].removeprefix("States."))
        if match["mark"]:
            raise NotPortable(f"unexpected {match['mark']!r} in {self._text!r}")
        return match["number"] or match["word"]

    def _next(self) -> re.Match[str]:
        match = _TOKEN.match(self._text, self._place)
        if match is None:
            raise NotPortable(f"{self._text[self._place :]!r} of a function cannot be read")
        self._place = match.end()
        return match

    def _call(self, name: str) -> str:
        self._depth += 1
        if self._depth > MAX_FUNCTION_DEPTH:
            raise NotPortable(f"functions are nested deeper than {MAX_FUNCTION_DEPTH} levels")
        arguments: list[str] = []
        if self._text[self._place : self._place + 1] == ")":
            self._next()
        else:
            while True:  # bounded by the text
                arguments.append(self.argument())
                if self._next()["mark"] == ")":
                    break
        self._depth -= 1
        return _called(name, arguments)


def _called(name: str, arguments: list[str]) -> str:
    if name == "Format":
        return _format(arguments)
    if name == "Array":
        return f"[{', '.join(f'({each})' for each in arguments)}]"
    found = _FUNCTIONS.get(name)
    if found is None:
        raise NotPortable(f"States.{name} has no counterpart; compute it in a tool")
    count, build = found
    if len(arguments) != count:
        raise NotPortable(f"States.{name} takes {count} arguments, and has {len(arguments)}")
    return build(*arguments)


def _format(arguments: list[str]) -> str:
    if not arguments or not arguments[0].startswith('"'):
        raise NotPortable("States.Format needs a text in quotes as its first argument")
    pieces = json.loads(arguments[0]).split("{}")
    if len(pieces) != len(arguments):
        raise NotPortable(f"States.Format has {len(pieces) - 1} places {{}} for its arguments")
    text = text_literal(pieces[0])[1:-1]
    for argument, piece in zip(arguments[1:], pieces[1:], strict=True):
        text += f"\\({argument}){text_literal(piece)[1:-1]}"
    return f'"{text}"'


def _split(text: str, separator: str) -> str:
    if not re.fullmatch(r'"(?:[^"\\]|\\.)"', separator):
        raise NotPortable("States.StringSplit: only a separator of one character can be moved")
    return f"({text} | split({separator}))"


def _merge(first: str, second: str, deep: str) -> str:
    if deep != "false":
        raise NotPortable("States.JsonMerge: only a shallow merge (false) exists")
    return f"(({first}) + ({second}))"


_FUNCTIONS: dict[str, tuple[int, Callable[..., str]]] = {
    "StringToJson": (1, lambda text: f"({text} | fromjson)"),
    "JsonToString": (1, lambda given: f"({given} | tojson)"),
    "ArrayLength": (1, lambda array: f"({array} | length)"),
    "ArrayUnique": (1, lambda array: f"({array} | unique)"),
    "ArrayContains": (2, lambda array, item: f"({item} as $x | any({array} | .[]; . == $x))"),
    "ArrayGetItem": (2, lambda array, index: f"({array} | .[{index}])"),
    "ArrayRange": (3, lambda start, end, step: f"[range({start}; {end} + {step}; {step})]"),
    "MathAdd": (2, lambda one, other: f"({one} + {other})"),
    "StringSplit": (2, _split),
    "JsonMerge": (3, _merge),
}
"""The functions by name: how many arguments they take, and their expression."""


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
