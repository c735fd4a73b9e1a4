"""Patterns of agents: how one tool call runs several agents, and which of their answers count."""

from typing import Literal

from pydantic import Field

from outlast.contracts.base import WireModel
from outlast.contracts.bounds import Seconds
from outlast.contracts.names import Name

MAX_PATTERN_AGENTS = 16
"""Agents of one pattern. They may all run at the same time."""

MAX_MAP_CONCURRENCY = 64
"""Agents that one call of a map runs at the same time."""

MAX_MAP_ITEMS = 200
"""Inputs of one call of a map. Each is some events in the history of its run: a pipeline takes more."""

PatternKind = Literal["race", "quorum", "hedge", "map", "handoff"]
"""`race`: the first answer wins. `quorum`: equal answers decide. `hedge`: an agent starts when those before
it are late. `map`: one agent runs once for each input. `handoff`: another agent goes on in the same run."""

MAX_HANDOFF_TARGETS = 16
"""Agents that can take over a run. The run pins all of them, and carries them when it continues as new."""


MAX_HANDOFF_BYTES = 500_000
"""Definitions of all agents that can take over a run, as JSON: they are part of its history and state."""


class AgentPattern(WireModel):
    """How a tool of the kind `agent` runs agents, and which of their answers count."""

    kind: PatternKind
    agents: tuple[Name, ...] = Field(min_length=1, max_length=MAX_PATTERN_AGENTS)
    """Names of registered agents. One name may stand there several times."""
    votes: int = Field(default=1, ge=1, le=MAX_PATTERN_AGENTS)
    """Equal answers that decide."""
    delay_s: Seconds | None = None
    """How long a `hedge` waits for an answer before it starts the next agent."""
    concurrency: int = Field(default=1, ge=1, le=MAX_MAP_CONCURRENCY)
    """Agents that a `map` runs at the same time."""
    max_items: int = Field(default=MAX_MAP_ITEMS, ge=1, le=MAX_MAP_ITEMS)
    """Inputs that a `map` accepts."""
