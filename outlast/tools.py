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
"""An encoded tool result: about 64,000 tokens, more than a model reads well, and far under 2 MB."""

DEFAULT_AUDIENCE = "operators"
"""Who approves an irreversible call of a tool that names nobody."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Tool(Generic[_Arguments, _Result]):
    """A function with what an agent must know of it. Calling it calls the function."""

    function: Callable[_Arguments, _Result]
    spec: ToolSpec
    arguments: type[BaseModel]
    result: TypeAdapter[Any]
    companions: "tuple[Tool[..., Any], ...]" = ()

    @property
    def name(self) -> str:
        """The activity type, and what a model calls it."""
        return self.spec.name

    def __call__(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        """Call the function itself, as in a unit test of it."""
        return self.function(*args, **kwargs)

    async def invoke(self, arguments: dict[str, Any]) -> bytes:
        """Call the function with a model's arguments and return its result as JSON.

        Raises `ToolError` for arguments that its type hints refuse and for a result that is too large,
        `ToolFailed` for a result that its return type refuses. A plain function runs in a thread.
        """
        try:
            accepted = self.arguments.model_validate(arguments)
        except ValidationError as error:
            raise ToolError(f"{self.name}: {explain(error, self.arguments)}") from None
        values = {name: getattr(accepted, name) for name in type(accepted).model_fields}
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
            raise ToolFailed(f"returned what its type forbids: {explain(error)}") from None
        except PydanticSerializationError as error:
            raise ToolFailed(f"returned what cannot be written as JSON: {error}") from None
        if len(encoded) > MAX_RESULT_BYTES:
            raise ToolError(
                f"{self.name} returned {len(encoded):,} bytes; at most {MAX_RESULT_BYTES:,} are "
                "allowed: ask it for less"
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
    """Make a function a tool: its type hints become schemas, its docstring the description.

    `effect` says what a call does to the world: `read` (nothing), `idempotent` (repeats are harmless),
    `write` (repeats are not) or `irreversible`; it sets retries, and whether a person must approve.
    `approval` names the audience that must approve each call (False: nobody, whatever the effect).
    `max_calls` bounds the calls in one run, `timeout` one attempt of one call. `tool_class` says what it
    needs of its workers ("gpu"), by a name that routes have for it. `compensate` is the tool
    that undoes a call when its run does not complete; `verify` tells whether a call happened whose worker
    was lost: it returns its result, or None or False. Both are given those of the call's arguments that
    they have parameters for, and what undoes the `result` too. Raises `DefinitionError` for a function
    that cannot have a schema.
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
                name=_named(tool_name),
                description=_description(function),
                parameters=parameters,
                effect=effect,
                approval=_checked(_approval(approval, effect), parameters, tool_name),
                compensate=_partner(compensate, arguments, tool_name, also=(RESULT,)),
                verify=_partner(verify, arguments, tool_name),
                max_calls=max_calls,
                tool_class=_class_name(tool_class, tool_name),
                timeout_s=timeout.total_seconds(),
                heartbeats=True,
            ),
            arguments=arguments,
            result=TypeAdapter(returns),
            companions=tuple(one for one in (compensate, verify) if one is not None),
        )

    return define


async def _in_thread(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    """Call a plain function in a thread, which nothing can stop.

    Cut off by the end of its worker it has a moment to notice that (`is_worker_shutdown`): the call is
    begun anew elsewhere as soon as it is given up here.
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
"""Less than what a process that ends leaves cancelled activities."""

RESERVED = frozenset({"generate", "notify", "resolve_agent"})
"""Activity types of outlast's own."""


def _named(name: str) -> str:
    if name in RESERVED:
        raise DefinitionError(f"tool {name!r} is an activity of outlast's own; pass another name=")
    if not re.fullmatch(NAME_PATTERN, name):
        raise DefinitionError(
            f"tool {name!r}: a name is letters, digits, '_' and '-', begins with a letter, and has at "
            "most 64 of them; pass name="
        )
    return name


def _class_name(name: str | None, tool_name: str) -> str | None:
    if name is None or re.fullmatch(NAME_PATTERN, name):
        return name
    raise DefinitionError(f"tool {tool_name!r}: tool_class {name!r} is no name such as 'gpu'")


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
            raise DefinitionError(f"tool {name!r}: *{parameter.name} cannot have a schema; name it")
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


def _checked(approval: Approval | None, parameters: Schema, name: str) -> Approval | None:
    """Return an approval whose condition fits the arguments, or raise `DefinitionError`."""
    condition = approval.when if approval else None
    misfit = None if condition is None else condition.misfit(parameters)
    if misfit is not None:
        raise DefinitionError(f"tool {name!r}: when: {misfit}")
    return approval


def _partner(
    companion: Tool[..., Any] | None,
    arguments: type[BaseModel],
    name: str,
    *,
    also: tuple[str, ...] = (),
) -> CompanionTool | None:
    """Return how a tool is called about a call of another; what it must be given has to be there."""
    if companion is None:
        return None
    if not isinstance(companion, Tool):
        raise DefinitionError(f"tool {name!r}: {companion!r} is no tool; decorate it with @tool")
    offered = {*arguments.model_fields, *also}
    takes = companion.arguments.model_fields
    missing = [one for one in takes if takes[one].is_required() and one not in offered]
    if missing:
        raise DefinitionError(
            f"tool {name!r}: {companion.name} takes {missing[0]!r}, which is none of its arguments"
        )
    return CompanionTool(
        tool=companion.name,
        takes=tuple(one for one in takes if one in offered),
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


def _approval(approval: str | Approval | Literal[False] | None, effect: Effect) -> Approval | None:
    if isinstance(approval, str):
        return Approval(audience=approval)
    if isinstance(approval, Approval):
        return approval
    needed = approval is None and effect == "irreversible"
    return Approval(audience=DEFAULT_AUDIENCE) if needed else None
