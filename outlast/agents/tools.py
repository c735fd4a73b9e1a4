"""Tools: functions with schemas, which workers call with the arguments of a model."""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from outlast.agents.tool_context import ToolContext
from outlast.agents.tool_parameters import is_async, place_of
from outlast.contracts.agents import ToolSpec
from outlast.contracts.effects import EFFECTFUL
from outlast.errors import Failure, ToolError, ToolFailed
from outlast.text.error_text import clean_text, error_text
from outlast.text.json_text import to_json
from outlast.text.json_values import carried, with_clean_text
from outlast.validation import explain

if TYPE_CHECKING:
    from outlast.agents.openapi.operations import Api

MAX_RESULT_BYTES = 256_000
"""A tool result as JSON: about 64,000 tokens, which is more than a model reads well."""

_Arguments = ParamSpec("_Arguments")

_Result = TypeVar("_Result")

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
    api: "Api | None" = None
    """The HTTP API that it is an operation of, or None for a function."""

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
