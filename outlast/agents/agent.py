"""Agents: instructions, tools and the type of the answer."""

import copy
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypedDict, Unpack, get_args, overload

from pydantic import JsonValue, TypeAdapter
from typing_extensions import TypeForm, TypeVar

from outlast.agents.agent_specs import (
    AGENT_PARAMETERS,
    check_parameters,
    in_opening_order,
    output_schema_of,
    unique_names,
)
from outlast.agents.dependencies import Dependency
from outlast.agents.mcp_servers import McpServer
from outlast.agents.pattern_tools import PatternTool
from outlast.agents.run_functions import RunFunction, run_function
from outlast.agents.tool_context import RunContext
from outlast.agents.tool_options import RESERVED, explained_errors
from outlast.agents.tool_parameters import name_of
from outlast.agents.tools import Tool
from outlast.contracts.agents import Effort, ToolSpec, Way
from outlast.contracts.limits import Limits
from outlast.contracts.names import NAME_PATTERN
from outlast.contracts.requests import AgentRequest, instructions_problem, prompt_problem
from outlast.errors import DefinitionError
from outlast.jsonschema.schemas import Schema
from outlast.jsonschema.type_schemas import is_fully_described

Deps_contra = TypeVar("Deps_contra", contravariant=True, default=None)
"""The type of the dependencies that an agent needs; None without any."""

Output_co = TypeVar("Output_co", covariant=True, default=str)
"""The type of the answers of an agent."""

Instructions: TypeAlias = (
    str
    | Callable[[AgentRequest], str | Awaitable[str]]
    | Callable[[RunContext[Deps_contra], AgentRequest], str | Awaitable[str]]
)
"""Instructions of an agent: text, or a function of the request that returns it."""

_Answer_contra = TypeVar("_Answer_contra", contravariant=True)
_Needed_contra = TypeVar("_Needed_contra", contravariant=True)


class _Check(Protocol[_Answer_contra]):
    """A function that checks an answer."""

    def __call__(self, answer: _Answer_contra, /) -> Awaitable[None] | None: ...


class _CheckInContext(Protocol[_Answer_contra, _Needed_contra]):
    """A function that checks an answer with the dependencies of its agent."""

    def __call__(
        self, context: RunContext[_Needed_contra], answer: _Answer_contra, /
    ) -> Awaitable[None] | None: ...


class AgentOptions(TypedDict, total=False):
    """The options of an `Agent` that have no influence on its types."""

    begin_with: Sequence[str]
    prompt: str
    description: str
    model: str | None
    way: Way | None
    effort: Effort | None
    limits: Limits
    mcp: Sequence[McpServer]


class Agent(Generic[Deps_contra, Output_co]):
    """An agent.

    - `instructions` are text, or a function of the `AgentRequest` that returns it. The function runs once
      in each run, on a worker of the role `workflows`, and may be async. It can take a `RunContext` first.
    - `tools` are functions with `@tool`, other agents, patterns over agents (`race`, `quorum`, `hedge`,
      `map_over`, `handoff`), or `ToolSpec`s of tools of another worker.
    - `output` is the type of the answer: a type that pydantic supports, or a JSON Schema.
    - `begin_with` names the tools that each run calls first, in this order. Only the last turn of a run can
      skip them.
    - `prompt` is the text of the first message; `{input}` stands for the input of the run.
    - `way` is how its model decides (`native`, `tools` or `decision`), and `effort` how much it thinks
      (`none` to `max`). By default the model server has both.
    - `deps` is the `@dependency` function that opens the dependencies of its tools, of its checks and of
      the function of its instructions.
    - `mcp` are the MCP servers whose tools it may call, too.

    Raises `DefinitionError` for a definition that cannot run.
    """

    @overload
    def __init__(
        self: "Agent[Any, JsonValue]",
        name: str,
        instructions: Instructions[Any],
        tools: "Sequence[Tool[Any, ..., Any] | Agent[Any, Any] | PatternTool | ToolSpec]" = ...,
        *,
        output: Schema,
        deps: Dependency[Any] = ...,
        **options: Unpack[AgentOptions],
    ) -> None: ...

    @overload
    def __init__(
        self,
        name: str,
        instructions: Instructions[Deps_contra],
        tools: "Sequence[Tool[Deps_contra, ..., Any] | Agent[Any, Any] | PatternTool | ToolSpec]" = ...,
        output: TypeForm[Output_co] = ...,
        *,
        deps: Dependency[Deps_contra] = ...,
        **options: Unpack[AgentOptions],
    ) -> None: ...

    def __init__(  # noqa: PLR0913, PLR0917 definitions name them
        self,
        name: str,
        instructions: Instructions[Any],
        tools: "Sequence[Tool[Any, ..., Any] | Agent[Any, Any] | PatternTool | ToolSpec]" = (),
        output: Any = str,
        begin_with: Sequence[str] = (),
        prompt: str = "{input}",
        description: str = "",
        model: str | None = None,
        way: Way | None = None,
        effort: Effort | None = None,
        limits: Limits | None = None,
        deps: Dependency[Any] | None = None,
        mcp: Sequence[McpServer] = (),
    ) -> None:
        self.name = name
        self.instructions = instructions
        self.tools = tools
        self.output = output
        self.begin_with = begin_with
        self.prompt = prompt
        self.description = description
        self.model = model
        self.way: Way | None = way
        self.effort: Effort | None = effort
        self.limits = Limits() if limits is None else limits
        self.deps = deps
        self.checks: list[RunFunction] = []
        self.mcp = mcp
        with explained_errors(f"agent {name!r}"):
            self._check()
            self.instructions_function = _instructions_function(instructions, name)
            self.output_schema = output_schema_of(output, name)
            self.tool_specs = _tool_specs(self)
            _check_deps(self)
            self.output_type: TypeAdapter[Any] = TypeAdapter(
                JsonValue if isinstance(output, dict) else output
            )

    def __repr__(self) -> str:
        return f"<outlast.Agent {self.name!r}>"

    @overload
    def check(self, function: _Check[Output_co]) -> _Check[Output_co]: ...

    @overload
    def check(
        self, function: _CheckInContext[Output_co, None]
    ) -> _CheckInContext[Output_co, None]: ...

    @overload
    def check(
        self, function: _CheckInContext[Output_co, Deps_contra]
    ) -> _CheckInContext[Output_co, Deps_contra]: ...

    def check(self, function: Any) -> Any:
        """Register a check of answers, as a decorator: the function raises `Retry("why")` to reject one.

        It gets a value of the output type, and a `RunContext` if its first parameter has this type. It runs
        on a worker of the role `workflows`, and may be async. The model reads the reason and answers again.
        After three such answers in a row the run fails with `AnswerRejected`. Checks run in the order of
        their definition. Raises `DefinitionError` for a function that cannot be called so.
        """
        if not callable(function):
            raise DefinitionError(f"agent {self.name!r}: the check {function!r} is not a function")
        what = f"agent {self.name!r}: its check {name_of(function)!r}"
        check = run_function(function, what, "an answer")
        _check_own_deps(self, check, what)
        self.checks.append(check)
        return function

    @property
    def needs_deps(self) -> bool:
        """Whether a check, or the function of its instructions, needs the dependencies."""
        own = [self.instructions_function] if self.instructions_function else []
        return any(function.needs_deps for function in (*own, *self.checks))

    @property
    def summary(self) -> str:
        """What other agents and clients read about it, in one line."""
        written = self.instructions if isinstance(self.instructions, str) else ""
        written = written or inspect.getdoc(self.instructions) or self.name
        return self.description or written.strip().splitlines()[0]

    def with_specs(self, specs: Iterable[ToolSpec]) -> "Agent[Deps_contra, Output_co]":
        """Return the agent with more tools: those of its MCP servers, which a worker lists.

        Raises `DefinitionError` if two tools have one name.
        """
        more = copy.copy(self)
        more.tool_specs = (*self.tool_specs, *specs)
        unique_names(more.tool_specs, self.name)
        return more

    @property
    def checks_output(self) -> bool:
        """Whether more than the JSON Schema checks answers: a `check`, or validators of the type."""
        if self.checks:
            return True
        return not (isinstance(self.output, dict) or is_fully_described(self.output_type))

    def _check(self) -> None:
        if not re.fullmatch(NAME_PATTERN, self.name):
            raise DefinitionError(
                f"agent {self.name!r}: a name is a letter, then at most 63 letters, digits, '_' and '-'"
            )
        problem = instructions_problem(self.instructions)
        if problem is not None and not callable(self.instructions):
            raise DefinitionError(f"agent {self.name!r}: its instructions {problem}")
        problem = prompt_problem(self.prompt)
        if problem is not None:
            raise DefinitionError(f"agent {self.name!r}: its prompt {problem}")
        for field_name, value, known in (
            ("way", self.way, get_args(Way)),
            ("effort", self.effort, get_args(Effort)),
        ):
            if value is not None and value not in known:
                raise DefinitionError(
                    f"agent {self.name!r}: {field_name} {value!r} must be one of {', '.join(known)}"
                )
        for server in self.mcp:
            if not isinstance(server, McpServer):
                raise DefinitionError(f"agent {self.name!r}: mcp: {server!r} is not an McpServer")
        if not isinstance(self.limits, Limits):
            raise DefinitionError(f"agent {self.name!r}: limits {self.limits!r} must be Limits(…)")


def _instructions_function(instructions: Instructions[Any], name: str) -> RunFunction | None:
    if isinstance(instructions, str):
        return None
    what = f"agent {name!r}: the function {name_of(instructions)!r} of its instructions"
    return run_function(instructions, what, "an AgentRequest")


def _tool_specs(agent: Agent[Any, Any]) -> tuple[ToolSpec, ...]:
    specs = tuple(_tool_spec(entry, agent.name) for entry in agent.tools)
    names = unique_names(specs, agent.name)
    for entry in agent.tools:
        if isinstance(entry, PatternTool):
            _check_handoff(entry, agent)
    for name in RESERVED & set(names):
        raise DefinitionError(
            f"agent {agent.name!r}: {name!r} is the name of an activity of outlast"
        )
    for name in agent.begin_with:
        if name not in names:
            raise DefinitionError(
                f"agent {agent.name!r}: begin_with names {name!r}, which is not one of its tools"
            )
    return in_opening_order(specs, agent.begin_with)


def _check_handoff(tool: PatternTool, agent: Agent[Any, Any]) -> None:
    """Raise `DefinitionError` if an agent takes over the run that would answer with another type."""
    if tool.spec.handoff_target == agent.name:
        raise DefinitionError(f"agent {agent.name!r}: {tool.name!r} hands over to the agent itself")
    target = tool.agents[0] if tool.spec.handoff_target and tool.agents else agent
    if target.output_schema != agent.output_schema:
        raise DefinitionError(
            f"agent {agent.name!r}: {tool.name!r} hands over to {target.name!r}, which has another output"
            " type; the answer of a run must have one type"
        )


def _check_deps(agent: Agent[Any, Any]) -> None:
    """Raise `DefinitionError` for functions that need dependencies which the agent does not have."""
    if agent.deps is not None and not isinstance(agent.deps, Dependency):
        raise DefinitionError(
            f"agent {agent.name!r}: deps {agent.deps!r} is not a dependency; decorate its function with"
            " @outlast.dependency"
        )
    for tool in own_tools(agent):
        _check_own_deps(agent, tool, f"agent {agent.name!r}: its tool {tool.name!r}")
    own = agent.instructions_function
    if own is not None:
        what = f"agent {agent.name!r}: the function {own.name!r} of its instructions"
        _check_own_deps(agent, own, what)


def _check_own_deps(
    agent: Agent[Any, Any], user: Tool[Any, ..., Any] | RunFunction, what: str
) -> None:
    if agent.deps is None and user.needs_deps:
        raise DefinitionError(
            f"{what} needs dependencies of the type {hint_name(user.deps_type)}; give deps=, with a"
            " @dependency function that opens them"
        )


def own_tools(agent: Agent[Any, Any]) -> Iterator[Tool[Any, ..., Any]]:
    """Yield the tools of an agent that are functions, and those that undo and verify their calls."""
    waiting = [entry for entry in agent.tools if isinstance(entry, Tool)]
    while waiting:
        tool = waiting.pop()
        yield tool
        waiting.extend(tool.companions)


def hint_name(annotation: Any) -> str:
    """Return the name of a type, for messages."""
    return getattr(annotation, "__name__", None) or repr(annotation)


def _tool_spec(entry: object, agent_name: str) -> ToolSpec:
    if isinstance(entry, Tool | PatternTool):
        return entry.spec
    if isinstance(entry, ToolSpec):
        check_parameters(entry)
        return entry
    if isinstance(entry, Agent):
        return ToolSpec(
            name=entry.name,
            description=entry.summary,
            parameters=AGENT_PARAMETERS,
            kind="agent",
        )
    raise DefinitionError(
        f"agent {agent_name!r}: {entry!r} is not a tool; decorate the function with @outlast.tool(effect=…)"
    )
