"""Patterns over agents, as tools of another agent: `race`, `quorum`, `hedge`, `map_over` and `handoff`."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from outlast.agents.agent import Agent
from outlast.agents.agent_specs import AGENT_PARAMETERS
from outlast.agents.pattern_tools import PatternTool
from outlast.agents.tool_options import checked_name, seconds
from outlast.contracts.agent_patterns import (
    MAX_MAP_CONCURRENCY,
    MAX_MAP_ITEMS,
    MAX_PATTERN_AGENTS,
    AgentPattern,
    PatternFields,
    default_name,
)
from outlast.contracts.agents import ToolSpec
from outlast.errors import DefinitionError
from outlast.jsonschema.schemas import Schema
from outlast.text.texts import shown
from outlast.validation import explain

DEFAULT_CONCURRENCY = 4
"""Agents that `map_over` runs at the same time by default."""

DEFAULT_MAX_ITEMS = 100
"""Inputs that one call of `map_over` accepts by default."""

HANDOFF_PARAMETERS: Schema = {
    "type": "object",
    "properties": {"reason": {"type": "string", "description": "why the other agent goes on"}},
    "required": ["reason"],
    "additionalProperties": False,
}
"""The parameters of a handoff. The other agent reads the whole transcript, so it needs no task."""

FREE_TEXT: Schema = {"type": "string"}
"""The schema of the output type `str`."""


def race(*agents: Agent[Any, Any], name: str | None = None, description: str = "") -> PatternTool:
    """Return a tool that runs agents at the same time on one input; the first answer wins.

    The other agents are cancelled, and what they used counts. The model reads `{"answer": …, "agents":
    […]}`, or one error that names each agent if none answers. One agent may be given several times.
    Raises `DefinitionError` for fewer than two agents, or for different output types.
    """
    what = _what("race", name)
    _check_group(agents, what)
    about = f"Run {_names(agents)} on the same input; the first answer counts."
    return _tool(
        what, agents, AgentPattern(kind="race", agents=_of(agents)), name, description or about
    )


def quorum(
    *agents: Agent[Any, Any],
    votes: int | None = None,
    name: str | None = None,
    description: str = "",
) -> PatternTool:
    """Return a tool that runs agents at the same time on one input, until enough answers are equal.

    `votes` is how many equal answers decide; the default is a majority. Answers are compared as JSON:
    the order of keys does not count. As soon as a quorum is reached or impossible, the other agents are
    cancelled, and what they used counts. The model reads `{"answer": …, "agents": […]}`, or the outcome
    `no_quorum` with all answers. Raises `DefinitionError` for fewer than two agents, more votes than
    agents, different output types, or free text as the output type.
    """
    what = _what("quorum", name)
    _check_group(agents, what)
    if agents[0].output_schema == FREE_TEXT:
        raise DefinitionError(
            f"{what}: its agents answer with free text, which is seldom equal; give them an output type,"
            ' such as Literal["yes", "no"]'
        )
    needed = len(agents) // 2 + 1 if votes is None else votes
    if type(needed) is not int or not 2 <= needed <= len(agents):
        raise DefinitionError(
            f"{what}: votes {shown(votes)} must be a whole number from 2 to {len(agents)}, the number of"
            " its agents"
        )
    about = f"Run {_names(agents)} on the same input; {needed} equal answers decide."
    pattern = AgentPattern(kind="quorum", agents=_of(agents), votes=needed)
    return _tool(what, agents, pattern, name, description or about)


def hedge(
    *agents: Agent[Any, Any],
    delay: timedelta,
    name: str | None = None,
    description: str = "",
) -> PatternTool:
    """Return a tool that starts the first agent, and the next one when there is no answer after `delay`.

    If all agents that were started have failed, the next one starts at once. The first answer wins; the
    others are cancelled, and what they used counts. The model reads the same as with `race`. Raises
    `DefinitionError` for fewer than two agents, different output types, or a wrong delay.
    """
    what = _what("hedge", name)
    _check_group(agents, what)
    pattern = AgentPattern(
        kind="hedge", agents=_of(agents), delay_s=seconds(delay, f"{what}: delay")
    )
    about = (
        f"Run {agents[0].name}, and {_names(agents[1:])} if it is late; the first answer counts."
    )
    return _tool(what, agents, pattern, name, description or about)


def map_over(
    agent: Agent[Any, Any],
    *,
    concurrency: int = DEFAULT_CONCURRENCY,
    max_items: int = DEFAULT_MAX_ITEMS,
    name: str | None = None,
    description: str = "",
) -> PatternTool:
    """Return a tool that runs an agent once for each of its `inputs`, `concurrency` at the same time.

    The model reads `outputs` in the order of the inputs, and `errors` with the index of each input that has
    no output. Raises `DefinitionError` for something other than an agent, or for a number out of bounds.
    """
    what = _what("map_over", name)
    _check_agents((agent,), what)
    for option, value, most in (
        ("concurrency", concurrency, MAX_MAP_CONCURRENCY),
        ("max_items", max_items, MAX_MAP_ITEMS),
    ):
        if type(value) is not int or not 1 <= value <= most:
            raise DefinitionError(
                f"{what}: {option} {shown(value)} must be a whole number from 1 to {most}"
            )
    pattern = AgentPattern(
        kind="map", agents=(agent.name,), concurrency=concurrency, max_items=max_items
    )
    about = f"Run {agent.name} once for each input. {agent.summary}"
    return _tool(what, (agent,), pattern, name, description or about)


def handoff(
    agent: Agent[Any, Any] | str, *, name: str | None = None, description: str = ""
) -> PatternTool:
    """Return a tool with which another agent takes over the run, with its transcript.

    From the next turn on, the instructions, tools and model are those of `agent`. The limits are those of
    the run. Both agents must have the same output type. Give the name of an agent if two agents refer to
    each other: a run looks it up when it starts. Raises `DefinitionError` for anything else.
    """
    what = _what("handoff", name)
    agents: tuple[Agent[Any, Any], ...] = ()
    if isinstance(agent, str):
        target, about = checked_name(agent), ""
    else:
        _check_agents((agent,), what)
        agents, target, about = (agent,), agent.name, f" {agent.summary}"
    pattern = AgentPattern(kind="handoff", agents=(target,))
    about = f"Hand the conversation over to {target}.{about}"
    return _tool(what, agents, pattern, name, description or about)


def pattern_tool(spec: PatternFields, agents: Sequence[Agent[Any, Any]]) -> PatternTool:
    """Return the tool that a `spec` describes in JSON; raises `DefinitionError` as its function does."""
    about: Any = {"name": spec.name, "description": spec.description}
    if spec.kind == "hedge":
        return hedge(*agents, delay=timedelta(seconds=spec.delay_s or 0), **about)
    functions: dict[str, Callable[..., PatternTool]] = {
        "race": race,
        "quorum": quorum,
        "map": map_over,
        "handoff": handoff,
    }
    return functions[spec.kind](*agents, **spec.options, **about)


def _tool(
    what: str,
    agents: tuple[Agent[Any, Any], ...],
    pattern: AgentPattern,
    name: str | None,
    description: str,
) -> PatternTool:
    try:
        spec = ToolSpec(
            name=_default_name(what, pattern) if name is None else checked_name(name),
            description=description,
            parameters=_parameters(pattern),
            kind="agent",
            pattern=pattern,
        )
    except ValidationError as error:
        raise DefinitionError(f"{what}: {explain(error)}") from None
    if spec.name in pattern.agents:
        raise DefinitionError(f"{what}: it has the name of one of its agents; pass another name=")
    return PatternTool(agents, spec)


def _parameters(pattern: AgentPattern) -> Schema:
    if pattern.kind == "handoff":
        return HANDOFF_PARAMETERS
    if pattern.kind != "map":
        return AGENT_PARAMETERS
    return {
        "type": "object",
        "properties": {
            "inputs": {
                "type": "array",
                "description": "the tasks of the agent, one for each of its runs",
                "items": {"type": "string"},
                "minItems": 1,
                "maxItems": pattern.max_items,
            }
        },
        "required": ["inputs"],
        "additionalProperties": False,
    }


def _default_name(what: str, pattern: AgentPattern) -> str:
    try:
        return checked_name(default_name(pattern.kind, pattern.agents))
    except DefinitionError:
        raise DefinitionError(f"{what}: the names of its agents are too long; pass name=") from None


def _check_group(agents: Sequence[Any], what: str) -> None:
    _check_agents(agents, what)
    if not 2 <= len(agents) <= MAX_PATTERN_AGENTS:
        raise DefinitionError(
            f"{what}: has {len(agents)} agents; give from 2 to {MAX_PATTERN_AGENTS}, such as"
            f" {what.split(maxsplit=1)[0]}(fast, good)"
        )
    first = agents[0]
    for agent in agents:
        if agent.output_schema != first.output_schema:
            raise DefinitionError(
                f"{what}: {first.name!r} and {agent.name!r} have different output types; its answers must"
                " have one type"
            )


def _check_agents(agents: Sequence[Any], what: str) -> None:
    for agent in agents:
        if isinstance(agent, PatternTool):
            raise DefinitionError(
                f"{what}: {agent.name!r} is a pattern, not an agent; give it to an agent as a tool"
            )
        if not isinstance(agent, Agent):
            raise DefinitionError(f"{what}: {shown(agent)} is not an Agent")


def _what(function: str, name: object) -> str:
    return function if name is None else f"{function} {shown(name)}"


def _of(agents: Sequence[Agent[Any, Any]]) -> tuple[str, ...]:
    return tuple(agent.name for agent in agents)


def _names(agents: Sequence[Agent[Any, Any]]) -> str:
    return ", ".join(_of(agents))
