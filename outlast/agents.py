"""Agents: instructions, tools and a type for the answer."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from outlast.contracts.agents import ToolSpec
from outlast.contracts.limits import Limits
from outlast.contracts.names import NAME_PATTERN
from outlast.contracts.requests import MAX_INSTRUCTIONS
from outlast.errors import DefinitionError
from outlast.jsonschema.schema_checks import check_derived, check_schema
from outlast.jsonschema.schemas import Schema, schema_of
from outlast.tools import RESERVED, Tool

AGENT_PARAMETERS: Schema = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "what the agent is asked to do"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""The argument of an agent that is another agent's tool."""


@dataclass(frozen=True, eq=False)
class Agent:
    """An agent. `output` is the type of its answer: anything pydantic knows, or a JSON Schema.

    A tool may be a function made with `@tool`, another agent, or a `ToolSpec` that names a tool of some
    other worker. A run begins with a call of each tool named in `begin_with`, in that order: until then
    nothing else is admitted, save on the last turn. `prompt` is how an input is put to the model. Raises
    `DefinitionError` for what could not run.
    """

    name: str
    instructions: str
    tools: Sequence["Tool[..., Any] | Agent | ToolSpec"] = ()
    output: Any = str
    begin_with: Sequence[str] = ()
    prompt: str = "{input}"
    description: str = ""
    model: str | None = None
    limits: Limits = field(default_factory=Limits)
    output_schema: Schema = field(init=False, repr=False)
    tool_specs: tuple[ToolSpec, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the definition and derive its schemas."""
        if not re.fullmatch(NAME_PATTERN, self.name):
            raise DefinitionError(
                f"agent {self.name!r}: a name is letters, digits, '_' and '-', begins with a letter, "
                "and has at most 64 of them"
            )
        if not self.instructions.strip():
            raise DefinitionError(f"agent {self.name!r}: its instructions are empty")
        if len(self.instructions) > MAX_INSTRUCTIONS:
            raise DefinitionError(
                f"agent {self.name!r}: instructions of more than {MAX_INSTRUCTIONS:,} characters: let a "
                "tool look things up"
            )
        if "{input}" not in self.prompt:
            raise DefinitionError(f"agent {self.name!r}: its prompt lacks '{{input}}'")
        object.__setattr__(self, "output_schema", _output_schema(self.output, self.name))
        object.__setattr__(self, "tool_specs", _tool_specs(self))


def _output_schema(output: Any, name: str) -> Schema:
    what = f"the output of agent {name!r}"
    written = isinstance(output, dict)
    schema: Schema = output if written else schema_of(output, what=what)
    try:
        (check_schema if written else check_derived)(schema, what)
    except ValueError as error:
        raise DefinitionError(str(error)) from None
    return schema


def _tool_specs(agent: Agent) -> tuple[ToolSpec, ...]:
    specs = tuple(_tool_spec(entry, agent.name) for entry in agent.tools)
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DefinitionError(f"agent {agent.name!r}: two of its tools are named {twice[0]!r}")
    for name in RESERVED & set(names):
        raise DefinitionError(f"agent {agent.name!r}: {name!r} is an activity of outlast's own")
    for name in agent.begin_with:
        if name not in names:
            raise DefinitionError(
                f"agent {agent.name!r}: begin_with names {name!r}, which is not one of its tools"
            )
    return in_opening_order(specs, agent.begin_with)


def in_opening_order(specs: Sequence[ToolSpec], begin_with: Sequence[str]) -> tuple[ToolSpec, ...]:
    """Return the tools with those that a run begins with first, in their order, and marked so."""
    opening = {name: position for position, name in enumerate(begin_with)}
    ordered = sorted(specs, key=lambda spec: opening.get(spec.name, len(opening)))
    return tuple(spec.model_copy(update={"begins_run": spec.name in opening}) for spec in ordered)


def _tool_spec(entry: object, agent_name: str) -> ToolSpec:
    if isinstance(entry, Tool):
        return entry.spec
    if isinstance(entry, ToolSpec):
        _check_parameters(entry)
        return entry
    if isinstance(entry, Agent):
        return ToolSpec(
            name=entry.name,
            description=entry.description or entry.instructions.splitlines()[0],
            parameters=AGENT_PARAMETERS,
            kind="agent",
        )
    raise DefinitionError(
        f"agent {agent_name!r}: {entry!r} is no tool; decorate the function with @outlast.tool(effect=…)"
    )


def _check_parameters(spec: ToolSpec) -> None:
    if spec.kind == "question" and spec.approval is None:
        raise DefinitionError(f"tool {spec.name!r}: a question needs approval=, who is asked")
    try:
        check_schema(spec.parameters, f"the parameters of tool {spec.name!r}", arguments=True)
        if spec.answer_schema is not None:
            check_derived(spec.answer_schema, f"the answer of tool {spec.name!r}")
    except ValueError as error:
        raise DefinitionError(str(error)) from None


@dataclass(frozen=True)
class Catalog:
    """The agents and tools that a worker serves, by name."""

    agents: dict[str, Agent]
    tools: dict[str, Tool[..., Any]]

    @classmethod
    def of(cls, modules: Iterable[ModuleType]) -> "Catalog":
        """Collect what the modules define, and what their agents use. Raises `DefinitionError`."""
        agents: dict[str, Agent] = {}
        tools: dict[str, Tool[..., Any]] = {}
        found = [value for module in modules for value in vars(module).values()]
        while found:
            entry = found.pop()
            if isinstance(entry, Agent) and _added(agents, entry.name, entry, "agents"):
                found.extend(entry.tools)
            elif isinstance(entry, Tool) and _added(tools, entry.name, entry, "tools"):
                found.extend(entry.companions)
        both = sorted(agents.keys() & tools.keys())
        if both:
            raise DefinitionError(f"{both[0]!r} is the name of both an agent and a tool")
        return cls(agents, tools)


def _added(known: dict[str, Any], name: str, entry: object, kind: str) -> bool:
    if known.get(name) is entry:
        return False
    if name in known:
        raise DefinitionError(f"two {kind} are named {name!r}")
    known[name] = entry
    return True
