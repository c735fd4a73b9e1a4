"""The decorator `@tool`, which makes a function a tool."""

import functools
import inspect
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, cast, overload

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter

from outlast.agents.tool_context import ToolContext, deps_type_of
from outlast.agents.tool_options import (
    EFFECTS,
    checked_approval,
    checked_effect,
    checked_local,
    checked_max_calls,
    checked_name,
    checked_tool_class,
    explained_errors,
    seconds,
)
from outlast.agents.tool_parameters import (
    arguments_model,
    check_type,
    checked_function,
    context_parameter,
    description_of,
    hints_of,
    name_of,
)
from outlast.agents.tools import Tool
from outlast.contracts.agents import ToolSpec
from outlast.contracts.effects import RESULT, CompanionTool, Effect
from outlast.contracts.human import Approval
from outlast.errors import DefinitionError
from outlast.jsonschema.schema_checks import check_derived
from outlast.jsonschema.schemas import Schema
from outlast.jsonschema.type_schemas import schema_of
from outlast.text.hints import hint

_Options = ParamSpec("_Options")
_Made = TypeVar("_Made")
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_CallDeps = TypeVar("_CallDeps")


class ToolDecorator(Protocol):
    """Makes a function a tool. The type of its `ToolContext` says which dependencies the tool needs."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[ToolContext[_CallDeps], _Arguments], _Result], /
    ) -> Tool[_CallDeps, Concatenate[ToolContext[_CallDeps], _Arguments], _Result]: ...

    @overload
    def __call__(
        self, function: Callable[_Arguments, _Result], /
    ) -> Tool[Any, _Arguments, _Result]: ...


def _explained(factory: Callable[_Options, _Made]) -> Callable[_Options, _Made]:
    """Return a decorator factory that explains wrong options, such as `@tool` without any."""

    @functools.wraps(factory)
    def explained(*args: _Options.args, **options: _Options.kwargs) -> _Made:
        known = list(inspect.signature(factory).parameters)
        name = f" {name_of(args[0])!r}" if args and callable(args[0]) else ""
        for option in options:
            if option not in known:
                raise DefinitionError(f"@tool: unknown option {option!r}; {hint(option, known)}")
        if args or "effect" not in options:
            raise DefinitionError(
                f'tool{name}: give its effect: @tool(effect="read"); the effects are {", ".join(EFFECTS)}'
            )
        return factory(*args, **options)

    return explained


@_explained
def tool(  # noqa: PLR0913 the options of a tool, each by name
    *,
    effect: Effect,
    approval: str | Approval | Literal[False] | None = None,
    name: str | None = None,
    max_calls: int | None = None,
    timeout: timedelta = timedelta(minutes=1),
    tool_class: str | None = None,
    compensate: Tool[Any, ..., Any] | None = None,
    verify: Tool[Any, ..., Any] | None = None,
    local: bool = True,
) -> ToolDecorator:
    """Make a function a tool: its type hints become schemas, and its docstring the description.

    - `effect` is what a call changes: `read` (nothing), `idempotent` (a repetition is harmless), `write` (a
      repetition is not) or `irreversible`. It sets the retries, and whether a person must approve.
    - `approval` is the audience that must approve each call, or an `Approval`. With False, no call needs
      approval.
    - `max_calls` limits the calls in one run, and `timeout` limits one attempt of a call.
    - `tool_class` is the kind of worker that the tool needs, such as "gpu". Routes refer to it.
    - `compensate` is the tool that undoes a call if the run does not complete.
    - `verify` is the tool that checks whether a call happened after its worker was lost. It returns the
      result of the call, or None or False.
    - With `local=False`, each call is an ordinary activity. By default, a tool with a short `timeout` that
      changes nothing can run in the process that has the run (docs/agents.md, "Local tools").

    `compensate` and `verify` receive the arguments of the call that they have parameters for; `compensate`
    can also take the `result`. A first parameter of the type `ToolContext` is not an argument: the worker
    passes it. Raises `DefinitionError` for a function that cannot have a schema.
    """

    def define(function: Callable[..., Any]) -> Tool[Any, ..., Any]:
        tool_name = name_of(function) if name is None else name
        with explained_errors(f"tool {tool_name!r}"):
            checked = checked_function(function, tool_name)
            hints = hints_of(checked, tool_name)
            context = context_parameter(checked, hints, tool_name)
            arguments = arguments_model(checked, hints, tool_name)
            parameters = _schema_of_arguments(arguments, tool_name)
            returns = hints["return"]
            check_type(returns, f"the result of tool {tool_name!r}", is_read=False)
            known_effect = checked_effect(effect, tool_name)
            spec = ToolSpec(
                name=checked_name(tool_name),
                description=description_of(checked),
                parameters=parameters,
                effect=known_effect,
                approval=checked_approval(approval, known_effect, parameters, tool_name),
                compensate=_companion_call(compensate, arguments, tool_name, also=(RESULT,)),
                verify=_companion_call(verify, arguments, tool_name),
                max_calls=checked_max_calls(max_calls, tool_name),
                tool_class=checked_tool_class(tool_class, tool_name),
                timeout_s=seconds(timeout, f"tool {tool_name!r}: timeout"),
                heartbeats=True,
                local=checked_local(local, tool_name),
            )
            companions = tuple(other for other in (compensate, verify) if other is not None)
            return Tool(
                function,
                spec,
                arguments,
                _result_adapter(returns),
                companions,
                None if context is None else deps_type_of(hints[context]),
            )

    return cast("ToolDecorator", define)


def _schema_of_arguments(arguments: type[BaseModel], name: str) -> Schema:
    """Return the JSON Schema of a tool's arguments."""
    what = f"the parameters of tool {name!r}"
    schema = schema_of(arguments, what=what)
    schema.pop("title", None)
    properties: Any = schema.setdefault("properties", {})
    for field in properties.values():
        default = field.get("default") if isinstance(field, dict) else None
        if isinstance(default, float) and not math.isfinite(default):
            del field["default"]  # JSON has no such number; the function still gets it
    try:
        check_derived(schema, what, arguments=True)
    except ValueError as error:
        raise DefinitionError(str(error)) from None
    return schema


def _result_adapter(returns: Any) -> TypeAdapter[Any]:
    try:
        # So that a number that JSON does not have is noticed, rather than read as null.
        return TypeAdapter(returns, config=ConfigDict(ser_json_inf_nan="constants"))
    except PydanticUserError:
        return TypeAdapter(returns)  # a model has its own configuration


def _companion_call(
    companion: Tool[Any, ..., Any] | None,
    arguments: type[BaseModel],
    name: str,
    *,
    also: tuple[str, ...] = (),
) -> CompanionTool | None:
    """Return how a companion is called; raises `DefinitionError` if it needs other arguments."""
    if companion is None:
        return None
    if not isinstance(companion, Tool):
        raise DefinitionError(f"tool {name!r}: {companion!r} is not a tool; decorate it with @tool")
    if companion.spec.approval is not None and companion.spec.approval.signed:
        raise DefinitionError(
            f"tool {name!r}: {companion.name} needs signatures, so a run cannot call it by itself"
        )
    offered = {*arguments.model_fields, *also}
    takes = companion.arguments.model_fields
    missing = [field for field in takes if takes[field].is_required() and field not in offered]
    if missing:
        raise DefinitionError(
            f"tool {name!r}: {companion.name} needs {missing[0]!r}, which is not an argument of {name!r}"
        )
    return CompanionTool(
        tool=companion.name,
        takes=tuple(field for field in takes if field in offered),
        effect=companion.spec.effect,
        timeout_s=companion.spec.timeout_s,
    )
