"""Functions that a run calls besides tools: checks of answers, and functions that write instructions."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_origin, get_type_hints

from outlast.agents.tool_context import RunContext, ToolContext, deps_type_of, is_context
from outlast.agents.tool_parameters import name_of
from outlast.errors import DefinitionError


@dataclass(frozen=True)
class RunFunction:
    """A function of one value, which a `RunContext` may come before."""

    function: Callable[..., Any]
    deps_type: Any = None
    """The type of its dependencies (`type(None)` without any), or None if it takes no `RunContext`."""

    @property
    def name(self) -> str:
        """The name of the function, for messages."""
        return name_of(self.function)

    @property
    def needs_deps(self) -> bool:
        """Whether its context has dependencies."""
        return self.deps_type not in (None, type(None))

    def arguments(self, context: RunContext[Any], value: object) -> tuple[Any, ...]:
        """Return the arguments of a call."""
        return (value,) if self.deps_type is None else (context, value)


def run_function(function: Any, what: str, value: str) -> RunFunction:
    """Return a function with the type of its dependencies; `value` names what it gets.

    Raises `DefinitionError` if it cannot be called with the value, and a `RunContext` before it.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # a function in C does not say what it takes
        return RunFunction(function)
    hint = _hint_of(function, parameters[0].name) if parameters else None
    if (get_origin(hint) or hint) is ToolContext:
        raise DefinitionError(
            f"{what} takes a ToolContext, which only tools get: annotate it with RunContext"
        )
    takes_context = is_context(hint)
    try:
        inspect.signature(function).bind(*(None,) * (2 if takes_context else 1))
    except TypeError:
        raise DefinitionError(
            f"{what} must take {value}, and may take a RunContext as its first parameter"
        ) from None
    return RunFunction(function, deps_type_of(hint) if takes_context else None)


def _hint_of(function: Any, parameter: str) -> Any:
    """Return the type hint of a parameter, or None."""
    code = function if inspect.isroutine(function) else getattr(function, "func", function.__call__)
    try:
        return get_type_hints(inspect.unwrap(code)).get(parameter)
    except (NameError, TypeError, SyntaxError):
        # A hint that is not defined is no context of outlast, unless the text says so.
        written = str(getattr(code, "__annotations__", {}).get(parameter, ""))
        return RunContext if written.startswith(("RunContext", "outlast.RunContext")) else None
