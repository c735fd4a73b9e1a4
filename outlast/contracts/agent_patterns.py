"""Patterns of agents: how one tool call runs several agents, and which of their answers count."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from outlast.contracts.base import InputModel, WireModel
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


MAX_PATTERN_TEXT = 2_000
"""Characters of the description of a pattern, which is part of every prompt."""

OPTIONS: dict[PatternKind, tuple[str, ...]] = {
    "race": (),
    "quorum": ("votes",),
    "hedge": ("delay_s",),
    "map": ("concurrency", "max_items"),
    "handoff": (),
}
"""The options of each kind."""


def default_name(kind: PatternKind, agents: Sequence[str]) -> str:
    """Return a name such as `race_fast_good`."""
    return "_".join((kind, *dict.fromkeys(agents)))


class PatternFields(BaseModel):
    """A pattern over registered agents, as JSON. Its options are those of the function of its kind."""

    kind: PatternKind
    agents: Annotated[list[Name], Field(min_length=1, max_length=MAX_PATTERN_AGENTS)]
    name: Name | None = None
    description: Annotated[str, Field(max_length=MAX_PATTERN_TEXT)] = ""
    votes: Annotated[int, Field(ge=2, le=MAX_PATTERN_AGENTS)] | None = None
    delay_s: Seconds | None = None
    concurrency: Annotated[int, Field(ge=1, le=MAX_MAP_CONCURRENCY)] | None = None
    max_items: Annotated[int, Field(ge=1, le=MAX_MAP_ITEMS)] | None = None

    @property
    def tool_name(self) -> str:
        """The name of the tool for models."""
        return self.name or default_name(self.kind, self.agents)

    @property
    def options(self) -> dict[str, float]:
        """The options that are given."""
        values = {name: getattr(self, name) for names in OPTIONS.values() for name in names}
        return {name: value for name, value in values.items() if value is not None}


class PatternSpec(PatternFields, InputModel):
    """A pattern over registered agents in a `spec`."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "PatternSpec":
        for option in self.options:
            if option not in OPTIONS[self.kind]:
                allowed = ", ".join(OPTIONS[self.kind]) or "no option"
                raise ValueError(f"a {self.kind} has no {option!r}; it takes {allowed}")
        if self.kind == "hedge" and self.delay_s is None:
            raise ValueError("a hedge needs 'delay_s', such as 5")
        if self.kind in ("map", "handoff") and len(self.agents) > 1:
            raise ValueError(f"a {self.kind} has one agent, and not {len(self.agents)}")
        return self


class PatternQuery(PatternFields, WireModel):
    """A pattern of a `spec` in the input of the activity that resolves it."""


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
