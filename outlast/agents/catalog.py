"""The catalog: all agents, tools, dependencies and MCP servers of a worker, by name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from outlast.agents.agent import Agent, hint_name, own_tools
from outlast.agents.dependencies import Dependency
from outlast.agents.hooks import Hooks
from outlast.agents.mcp_servers import McpServer
from outlast.agents.pattern_tools import PatternTool
from outlast.agents.tools import Tool
from outlast.errors import DefinitionError


@dataclass(frozen=True)
class Catalog:
    """The agents and tools that a worker serves, by name.

    `dependencies` are those of its tools, by the name of the tool. `agent_dependencies` are those of checks
    and of functions of instructions, by the name of the agent. `hooks` are in the order of the modules.
    """

    agents: dict[str, Agent[Any, Any]]
    tools: dict[str, Tool[Any, ..., Any]]
    dependencies: dict[str, Dependency[Any]] = field(default_factory=dict)
    hooks: tuple[Hooks, ...] = ()
    agent_dependencies: dict[str, Dependency[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, modules: Iterable[ModuleType]) -> "Catalog":
        """Collect the agents and tools of modules and agents; raises `DefinitionError` for a name clash."""
        agents: dict[str, tuple[Agent[Any, Any], str]] = {}
        tools: dict[str, tuple[Tool[Any, ..., Any], str]] = {}
        modules = list(modules)
        waiting = [
            (value, module.__name__) for module in modules for value in vars(module).values()
        ]
        while waiting:
            entry, module = waiting.pop()
            if isinstance(entry, Agent) and _add_new(agents, entry.name, entry, "agents", module):
                waiting.extend((used, module) for used in entry.tools)
            elif isinstance(entry, PatternTool):
                waiting.extend((agent, module) for agent in entry.agents)
            elif isinstance(entry, Tool) and _add_new(
                tools, entry.name, entry, "tools", entry.place
            ):
                waiting.extend((companion, module) for companion in entry.companions)
        both = sorted(agents.keys() & tools.keys())
        if both:
            agent_place, tool_place = agents[both[0]][1], tools[both[0]][1]
            raise DefinitionError(
                f"{both[0]!r} is the name of both an agent and a tool: {agent_place}, and {tool_place}"
            )
        return cls(
            {name: agent for name, (agent, _) in agents.items()},
            {name: tool for name, (tool, _) in tools.items()},
            _dependencies_of(agent for agent, _ in agents.values()),
            _hooks_of(modules),
            {
                name: agent.deps
                for name, (agent, _) in agents.items()
                if agent.deps is not None and agent.needs_deps
            },
        )

    @property
    def mcp_servers(self) -> dict[str, McpServer]:
        """The MCP servers of all agents by name; raises `DefinitionError` for two of one name."""
        servers: dict[str, McpServer] = {}
        for server in (each for agent in self.agents.values() for each in agent.mcp):
            if servers.setdefault(server.name, server) != server:
                raise DefinitionError(
                    f"two MCP servers are named {server.name!r}, with different definitions"
                )
        return servers

    def with_mcp_tools(self, tools: Mapping[str, Sequence[Tool[Any, ..., Any]]]) -> "Catalog":
        """Return the catalog with the tools of its MCP servers, which are listed by server."""
        added = {tool.name: tool for listed in tools.values() for tool in listed}
        for name in sorted(added.keys() & (self.tools.keys() | self.agents.keys())):
            raise DefinitionError(f"two tools are named {name!r}: one is {added[name].place}")
        agents = {
            name: agent.with_specs(
                tool.spec for server in agent.mcp for tool in tools.get(server.name, ())
            )
            for name, agent in self.agents.items()
        }
        return replace(self, agents=agents, tools={**self.tools, **added})

    def check_dependencies(self) -> None:
        """Raise `DefinitionError` for a tool that needs dependencies which no agent here has."""
        for name, tool in self.tools.items():
            if tool.needs_deps and name not in self.dependencies:
                raise DefinitionError(
                    f"tool {name!r} needs dependencies of the type {hint_name(tool.deps_type)}, but no"
                    " agent here with deps= uses it: name the module of its agent too"
                )


def _hooks_of(modules: Iterable[ModuleType]) -> tuple[Hooks, ...]:
    """Return the hooks of modules once each, in their order."""
    found: dict[str, Hooks] = {}
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Hooks) and found.setdefault(value.name, value) is not value:
                raise DefinitionError(
                    f"two hooks are named {value.name!r}; give them different names"
                )
    return tuple(found.values())


def _dependencies_of(agents: Iterable[Agent[Any, Any]]) -> dict[str, Dependency[Any]]:
    """Return the dependency of each tool that needs one: all agents with the tool have the same."""
    found: dict[str, tuple[Dependency[Any], str]] = {}
    names: dict[str, Dependency[Any]] = {}
    for agent in agents:
        users = [tool for tool in own_tools(agent) if tool.needs_deps]
        if agent.deps is None or not (users or agent.needs_deps):
            continue
        if names.setdefault(agent.deps.name, agent.deps) is not agent.deps:
            raise DefinitionError(
                f"two dependencies are named {agent.deps.name!r}: {names[agent.deps.name].place}, and"
                f" {agent.deps.place}"
            )
        for tool in users:
            known, user = found.setdefault(tool.name, (agent.deps, agent.name))
            if known is not agent.deps:
                raise DefinitionError(
                    f"tool {tool.name!r} gets the dependency {known.name!r} in agent {user!r}, and"
                    f" {agent.deps.name!r} in agent {agent.name!r}; it can have only one"
                )
    return {name: dependency for name, (dependency, _) in found.items()}


def _add_new(
    known: dict[str, tuple[Any, str]], name: str, entry: object, kind: str, place: str
) -> bool:
    if name not in known:
        known[name] = (entry, place)
        return True
    known_entry, known_place = known[name]
    if known_entry is entry:
        return False
    places = ", and ".join(sorted((known_place, place)))
    raise DefinitionError(f"two {kind} are named {name!r}: {places}")
