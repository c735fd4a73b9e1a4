"""Tools: functions that agents may call, defined with `@tool`."""

import asyncio
import functools
import inspect
import json
import math
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import (
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    get_args,
    overload,
)

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from outlast.agents.tool_context import ToolContext, deps_type_of
from outlast.agents.tool_parameters import (
    arguments_model,
    check_type,
    checked_function,
    context_parameter,
    description_of,
    hints_of,
    is_async,
    name_of,
    place_of,
)
from outlast.contracts.agents import ToolSpec
from outlast.contracts.effects import EFFECTFUL, RESULT, CompanionTool, Effect
from outlast.contracts.human import MAX_AUDIENCE, MAX_WAIT_S, Approval
from outlast.contracts.names import NAME_PATTERN
from outlast.errors import DefinitionError, Failure, ToolError, ToolFailed
from outlast.jsonschema.schema_checks import check_derived
from outlast.jsonschema.schemas import Schema
from outlast.jsonschema.type_schemas import schema_of
from outlast.text.error_text import clean_text, error_text
from outlast.text.hints import hint
from outlast.text.json_text import to_json
from outlast.text.json_values import carried, with_clean_text
from outlast.validation import explain

MAX_RESULT_BYTES = 256_000
"""A tool result as JSON: about 64,000 tokens, which is more than a model reads well."""

DEFAULT_AUDIENCE = "operators"
"""The audience that approves an irreversible call of a tool without `approval=`."""

EFFECTS: tuple[Effect, ...] = get_args(Effect)

_Options = ParamSpec("_Options")
_Made = TypeVar("_Made")
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_CallDeps = TypeVar("_CallDeps")
_NeededDeps_contra = TypeVar("_NeededDeps_contra", contravariant=True)


@dataclass(frozen=True)
class Tool(Generic[_NeededDeps_contra, _Arguments, _Result]):
    """A function that agents can call, with its schemas. Calling the tool calls the function."""

    function: Callable[_Arguments, _Result]
    spec: ToolSpec
    arguments: type[BaseModel]
    result: TypeAdapter[Any]
    companions: "tuple[Tool[Any, ..., Any], ...]" = ()
    deps_type: Any = None
    """The type of its dependencies (`type(None)` without any), or None if it takes no `ToolContext`."""

    @property
    def name(self) -> str:
        """The name of the tool for models, which is also the activity type."""
        return self.spec.name

    def __call__(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        """Call the function itself, for example in a unit test."""
        return self.function(*args, **kwargs)

    @property
    def is_async(self) -> bool:
        """Whether the function is async, also in a decorator or a `functools.partial`."""
        return is_async(self.function)

    @property
    def needs_deps(self) -> bool:
        """Whether its context has dependencies."""
        return self.deps_type not in (None, type(None))

    @property
    def place(self) -> str:
        """The module and line of the function."""
        return place_of(self.function)

    async def invoke(
        self, arguments: dict[str, Any], context: ToolContext[Any] | None = None
    ) -> bytes:
        """Call the function with the arguments of a model, and return its result as JSON.

        Raises `ToolError` if the arguments do not match the type hints, or JSON cannot carry the result;
        raises `ToolFailed` if the result does not match its type hint. A plain function runs in a thread.
        """
        data = json.dumps(arguments).encode()
        if self.is_async:
            return await self.invoke_async(data, context)
        result = await asyncio.to_thread(self.invoke_plain, data, context)
        return result if isinstance(result, bytes) else self.encoded(await result)

    async def invoke_async(
        self, arguments: bytes, context: ToolContext[Any] | None = None
    ) -> bytes:
        """Call an async function with arguments as JSON, and return its result as JSON."""
        result = self._call(arguments, context)
        return self.encoded(await result if inspect.isawaitable(result) else result)

    def invoke_plain(
        self, arguments: bytes, context: ToolContext[Any] | None = None
    ) -> bytes | Awaitable[Any]:
        """Call a plain function with arguments as JSON, and return its result as JSON.

        If the function returns an awaitable, this returns it: the caller awaits it, and calls `encoded`.
        """
        result = self._call(arguments, context)
        return result if inspect.isawaitable(result) else self.encoded(result)

    def _call(self, arguments: bytes, context: ToolContext[Any] | None) -> Any:
        function: Callable[..., Any] = self.function
        values = self._values(arguments)
        if self.deps_type is None:
            return function(**values)
        return function(ToolContext() if context is None else context, **values)

    def _values(self, arguments: bytes) -> dict[str, Any]:
        try:
            # As JSON: strict types take text for a date then, which they do not from Python.
            valid = self.arguments.model_validate_json(arguments)
        except ValidationError as error:
            reason = explain(error, self.arguments)
            raise ToolError(clean_text(f"{self.name}: {reason}")) from None
        return {name: getattr(valid, name) for name in type(valid).model_fields}

    def encoded(self, result: Any) -> bytes:
        """Return a result as JSON.

        After a call with an effect, a result that cannot be returned is replaced: the call has happened, so
        that it must not look like one that failed.
        """
        try:
            return self._encoded(result)
        except Failure as error:
            if self.spec.effect not in EFFECTFUL:
                raise
            return to_json({"happened": True, "error": error_text(error)}).encode()

    def _encoded(self, result: Any) -> bytes:
        try:
            clean = with_clean_text(result)
        except (ValueError, RecursionError) as error:
            raise ToolError(f"{self.name} returned {error}: ask for less") from None
        try:
            value = self.result.dump_python(self.result.validate_python(clean), mode="json")
        except ValidationError as error:
            reason = error_text(ValueError(explain(error)))
            raise ToolFailed(f"the result does not match its type: {reason}") from None
        except (ValueError, TypeError, RecursionError) as error:
            reason = error_text(error)
            raise ToolFailed(f"the result cannot be written as JSON: {reason}") from None
        try:
            encoded = to_json(carried(value)).encode()
        except (ValueError, RecursionError) as error:
            raise ToolError(f"{self.name} returned {error}: ask for something else") from None
        if len(encoded) > MAX_RESULT_BYTES:
            raise ToolError(
                f"{self.name} returned {len(encoded):,} bytes; at most {MAX_RESULT_BYTES:,} are "
                "allowed: ask for less"
            )
        return encoded


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
        if args or "effect" not in options:
            raise DefinitionError(
                f'tool{name}: give its effect: @tool(effect="read"); the effects are {", ".join(EFFECTS)}'
            )
        for option in options:
            if option not in known:
                raise DefinitionError(f"@tool: unknown option {option!r}; {hint(option, known)}")
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
            known_effect = _checked_effect(effect, tool_name)
            spec = ToolSpec(
                name=_checked_name(tool_name),
                description=description_of(checked),
                parameters=parameters,
                effect=known_effect,
                approval=_approval(approval, known_effect, parameters, tool_name),
                compensate=_companion(compensate, arguments, tool_name, also=(RESULT,)),
                verify=_companion(verify, arguments, tool_name),
                max_calls=_checked_max_calls(max_calls, tool_name),
                tool_class=_class_name(tool_class, tool_name),
                timeout_s=seconds(timeout, f"tool {tool_name!r}: timeout"),
                heartbeats=True,
                local=_checked_local(local, tool_name),
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


@contextmanager
def explained_errors(what: str) -> Iterator[None]:
    """Turn whatever a definition raises into a `DefinitionError`: types and defaults may raise anything."""
    try:
        yield
    except DefinitionError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error_text(error)[:300]}"
        raise DefinitionError(f"{what} cannot be defined: {reason}") from error


def seconds(duration: object, what: str) -> float:
    """Return a duration of code in seconds; raises `DefinitionError` for one that is none, or too long."""
    if not isinstance(duration, timedelta):
        number = duration if type(duration) in (int, float) else 30
        raise DefinitionError(
            f"{what}: {duration!r} is not a timedelta; give timedelta(seconds={number})"
        )
    if not 0 < duration.total_seconds() <= MAX_WAIT_S:
        raise DefinitionError(
            f"{what}: {duration!r} must be longer than nothing, and at most a year"
        )
    return duration.total_seconds()


def _checked_effect(effect: object, tool_name: str) -> Effect:
    for known in EFFECTS:
        if effect == known:
            return known
    raise DefinitionError(f"tool {tool_name!r}: effect {effect!r}; {hint(str(effect), EFFECTS)}")


def _checked_max_calls(max_calls: object, tool_name: str) -> int | None:
    if max_calls is None or (type(max_calls) is int and max_calls >= 1):
        return max_calls
    raise DefinitionError(
        f"tool {tool_name!r}: max_calls {max_calls!r} must be a whole number of at least 1, or None"
    )


def _checked_local(local: object, tool_name: str) -> bool:
    if isinstance(local, bool):
        return local
    raise DefinitionError(f"tool {tool_name!r}: local {local!r} must be True or False")


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


RESERVED = frozenset({"check_chain", "check_output", "generate", "notify", "resolve_agent"})
"""Activity types of outlast itself."""


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise DefinitionError(f"tool {name!r}: its name must be text; pass name=")
    if name in RESERVED:
        raise DefinitionError(
            f"tool {name!r} has the name of an activity of outlast; pass another name="
        )
    if not re.fullmatch(NAME_PATTERN, name):
        raise DefinitionError(
            f"tool {name!r}: a name is a letter, then at most 63 letters, digits, '_' and '-'; pass name="
        )
    return name


def _class_name(name: str | None, tool_name: str) -> str | None:
    if name is None or re.fullmatch(NAME_PATTERN, name):
        return name
    raise DefinitionError(f"tool {tool_name!r}: tool_class {name!r} is not a name such as 'gpu'")


def _companion(
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


def _approval(
    approval: str | Approval | Literal[False] | None, effect: Effect, parameters: Schema, name: str
) -> Approval | None:
    if isinstance(approval, str):
        if not 0 < len(approval) <= MAX_AUDIENCE:
            raise DefinitionError(
                f"tool {name!r}: approval: an audience has 1 to {MAX_AUDIENCE} characters"
            )
        return Approval(audience=approval)
    if not isinstance(approval, Approval):
        if approval is not None and approval is not False:
            raise DefinitionError(
                f"tool {name!r}: approval {approval!r} must be an audience's name, an Approval, or False"
            )
        is_needed = approval is None and effect == "irreversible"
        return Approval(audience=DEFAULT_AUDIENCE) if is_needed else None
    mismatch = None if approval.when is None else approval.when.mismatch(parameters)
    if mismatch is not None:
        raise DefinitionError(f"tool {name!r}: when: {mismatch}")
    return approval
