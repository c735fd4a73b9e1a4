"""Dependencies of tools: what a worker opens once and closes when it drains, such as a connection pool."""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar, overload

from outlast.agents.tool_parameters import name_of, place_of
from outlast.errors import DefinitionError

_Provided = TypeVar("_Provided")
_Provided_co = TypeVar("_Provided_co", covariant=True)


class Dependency(Generic[_Provided_co]):
    """A function with `@dependency`. An agent refers to it with `deps=`, and a worker opens it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.name = name_of(function)
        if not callable(function) or isinstance(function, type):
            raise DefinitionError(f"dependency {self.name!r}: {function!r} is not a function")
        needed = [
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        if needed:
            raise DefinitionError(
                f"dependency {self.name!r}: it has a parameter {needed[0]!r}, but the worker passes"
                " nothing: read settings from the environment"
            )

    def __repr__(self) -> str:
        return f"<outlast dependency {self.name!r}>"

    @property
    def place(self) -> str:
        """The module and line of the function."""
        return place_of(self.function)

    @property
    def is_async(self) -> bool:
        """Whether its value belongs to the event loop on which it was opened."""
        return inspect.isasyncgenfunction(self.function) or inspect.iscoroutinefunction(
            self.function
        )

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Any]:
        """Open the dependency, and close it at the end of the block. Plain functions run in a thread."""
        if inspect.isasyncgenfunction(self.function):
            async with contextlib.asynccontextmanager(self.function)() as value:
                yield value
        elif inspect.isgeneratorfunction(self.function):
            manager = contextlib.contextmanager(self.function)()
            value = await asyncio.to_thread(manager.__enter__)
            try:
                yield value
            finally:
                await asyncio.to_thread(manager.__exit__, None, None, None)
        elif inspect.iscoroutinefunction(self.function):
            yield await self.function()
        else:
            yield await asyncio.to_thread(self._called)

    def _called(self) -> Any:
        try:
            return self.function()
        except StopIteration as error:  # a future cannot hold it
            raise RuntimeError("StopIteration") from error


@overload
def dependency(function: Callable[[], AsyncIterator[_Provided]]) -> Dependency[_Provided]: ...


@overload
def dependency(function: Callable[[], Iterator[_Provided]]) -> Dependency[_Provided]: ...


@overload
def dependency(function: Callable[[], Awaitable[_Provided]]) -> Dependency[_Provided]: ...


@overload
def dependency(function: Callable[[], _Provided]) -> Dependency[_Provided]: ...


def dependency(function: Callable[[], Any]) -> Dependency[Any]:
    """Make a function a dependency of agents, which each worker opens once.

    A generator yields the value, and its code after the `yield` closes it when the worker drains. A
    function returns the value. Tools read it as `context.deps` (`ToolContext`). An async dependency is
    opened on the event loop of the async tools. Raises `DefinitionError` for a function with arguments.
    """
    return Dependency(function)
