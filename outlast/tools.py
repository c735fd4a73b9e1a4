"""Tools: functions that agents may call, defined with `@tool`."""

import asyncio
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Literal, ParamSpec, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import PydanticSerializationError
from temporalio import activity

from outlast.contracts.agents import ToolSpec
from outlast.contracts.effects import RESULT, CompanionTool, Effect
from outlast.contracts.human import Approval
from outlast.contracts.names import NAME_PATTERN
from outlast.errors import DefinitionError, ToolError, ToolFailed
from outlast.jsonschema.schema_checks import check_derived
from outlast.jsonschema.schemas import Schema, schema_of
from outlast.validation import explain

MAX_RESULT_BYTES = 256_000
"""A tool result as JSON: about 64,000 tokens, which is more than a model reads well."""

DEFAULT_AUDIENCE = "operators"
"""The audience that approves an irreversible call of a tool without `approval=`."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Tool(Generic[_Arguments, _Result]):
    """A function that agents can call, with its schemas. Calling the tool calls the function."""

    function: Callable[_Arguments, _Result]
    spec: ToolSpec
    arguments: type[BaseModel]
    result: TypeAdapter[Any]
    companions: "tuple[Tool[..., Any], ...]" = ()

    @property
    def name(self) -> str:
        """The name of the tool for models, which is also the activity type."""
        return self.spec.name

    def __call__(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        """Call the function itself, for example in a unit test."""
        return self.function(*args, **kwargs)

    async def invoke(self, arguments: dict[str, Any]) -> bytes:
        """Call the function with the arguments of a model, and return its result as JSON.

        Raises `ToolError` if the arguments do not match the type hints, or the result is too large; raises
        `ToolFailed` if the result does not match its type hint. A plain function runs in a thread.
        """
        try:
            valid = self.arguments.model_validate(arguments)
        except ValidationError as error:
            raise ToolError(f"{self.name}: {explain(error, self.arguments)}") from None
        values = {name: getattr(valid, name) for name in type(valid).model_fields}
        function: Callable[..., Any] = self.function
        if inspect.iscoroutinefunction(function):
            result = await function(**values)
        else:
            result = await _in_thread(function, values)
        return self._encoded(result)

    def _encoded(self, result: Any) -> bytes:
        try:
            encoded = self.result.dump_json(self.result.validate_python(result))
        except ValidationError as error:
            raise ToolFailed(f"the result does not match its type: {explain(error)}") from None
        except PydanticSerializationError as error:
            raise ToolFailed(f"the result cannot be written as JSON: {error}") from None
        if len(encoded) > MAX_RESULT_BYTES:
            raise ToolError(
                f"{self.name} returned {len(encoded):,} bytes; at most {MAX_RESULT_BYTES:,} are "
                "allowed: ask for less"
            )
        return encoded


def tool(
    *,
    effect: Effect,
    approval: str | Approval | Literal[False] | None = None,
    name: str | None = None,
    max_calls: int | None = None,
    timeout: timedelta = timedelta(minutes=1),
    tool_class: str | None = None,
    compensate: Tool[..., Any] | None = None,
    verify: Tool[..., Any] | None = None,
) -> Callable[[Callable[_Arguments, _Result]], Tool[_Arguments, _Result]]:
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

    `compensate` and `verify` receive the arguments of the call that they have parameters for; `compensate`
    can also take the `result`. Raises `DefinitionError` for a function that cannot have a schema.
    """

    def define(function: Callable[_Arguments, _Result]) -> Tool[_Arguments, _Result]:
        tool_name = name or function.__name__
        hints = _hints(function, tool_name)
        arguments = _arguments_model(function, hints, tool_name)
        returns = hints["return"]
        parameters = _parameters(arguments, tool_name)
        schema_of(returns, what=f"the result of tool {tool_name!r}", mode="serialization")
        return Tool(
            function=function,
            spec=ToolSpec(
                name=_checked_name(tool_name),
                description=_description(function),
                parameters=parameters,
                effect=effect,
                approval=_approval(approval, effect, parameters, tool_name),
                compensate=_companion(compensate, arguments, tool_name, also=(RESULT,)),
                verify=_companion(verify, arguments, tool_name),
                max_calls=max_calls,
                tool_class=_class_name(tool_class, tool_name),
                timeout_s=timeout.total_seconds(),
                heartbeats=True,
            ),
            arguments=arguments,
            result=TypeAdapter(returns),
            companions=tuple(other for other in (compensate, verify) if other is not None),
        )

    return define


async def _in_thread(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    """Call a plain function in a thread, which cannot be stopped.

    When the worker shuts down, the function has a moment to notice (`is_worker_shutdown`) and return. After
    that another worker repeats the call.
    """
    running = asyncio.ensure_future(asyncio.to_thread(function, **values))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if activity.in_activity() and activity.is_worker_shutdown():
            await asyncio.wait([running], timeout=THREAD_ENDS_WITHIN_S)
        if running.done():
            return running.result()
        running.cancel()
        raise


THREAD_ENDS_WITHIN_S = 3.0
"""Less than the time that a worker gives cancelled activities when it shuts down."""

RESERVED = frozenset({"generate", "notify", "resolve_agent"})
"""Activity types of outlast itself."""


def _checked_name(name: str) -> str:
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


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise DefinitionError(f"tool {name!r}: a type hint is not defined: {error}") from None
    if "return" not in hints:
        raise DefinitionError(f"tool {name!r}: its result has no type hint; add '-> …'")
    return hints


def _arguments_model(
    function: Callable[..., Any], hints: dict[str, Any], name: str
) -> type[BaseModel]:
    documented = _documented_arguments(function)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise DefinitionError(
                f"tool {name!r}: *{parameter.name} cannot have a schema; use named parameters"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise DefinitionError(f"tool {name!r}: {parameter.name!r} must not be positional-only")
        if parameter.name not in hints:
            raise DefinitionError(f"tool {name!r}: parameter {parameter.name!r} has no type hint")
        schema_of(hints[parameter.name], what=f"parameter {parameter.name!r} of tool {name!r}")
        default = ... if parameter.default is parameter.empty else parameter.default
        description = documented.get(parameter.name)
        fields[parameter.name] = (
            hints[parameter.name],
            Field(default, description=description) if description else default,
        )
    return create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)


def _parameters(arguments: type[BaseModel], name: str) -> Schema:
    what = f"the parameters of tool {name!r}"
    schema = schema_of(arguments, what=what)
    schema.pop("title", None)
    schema.setdefault("properties", {})
    try:
        check_derived(schema, what, arguments=True)
    except ValueError as error:
        raise DefinitionError(str(error)) from None
    return schema


def _companion(
    companion: Tool[..., Any] | None,
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


def _description(function: Callable[..., Any]) -> str:
    return re.split(r"\n\s*(?:Args|Arguments|Returns|Raises):", inspect.getdoc(function) or "")[
        0
    ].strip()


def _documented_arguments(function: Callable[..., Any]) -> dict[str, str]:
    section = re.search(
        r"\n(?:Args|Arguments):\n(.*?)(?:\n\S|\Z)", inspect.getdoc(function) or "", re.DOTALL
    )
    if section is None:
        return {}
    entries = re.findall(
        r"^\s+(\w+)(?: \([^)]*\))?: (.+?)(?=^\s+\w+(?: \([^)]*\))?: |\Z)",
        section[1] + "\n",
        re.DOTALL | re.MULTILINE,
    )
    return {name: " ".join(text.split()) for name, text in entries}


def _approval(
    approval: str | Approval | Literal[False] | None, effect: Effect, parameters: Schema, name: str
) -> Approval | None:
    if isinstance(approval, str):
        return Approval(audience=approval)
    if not isinstance(approval, Approval):
        is_needed = approval is None and effect == "irreversible"
        return Approval(audience=DEFAULT_AUDIENCE) if is_needed else None
    mismatch = None if approval.when is None else approval.when.mismatch(parameters)
    if mismatch is not None:
        raise DefinitionError(f"tool {name!r}: when: {mismatch}")
    return approval
