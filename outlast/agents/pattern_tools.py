"""Tools that run several agents: what `race`, `quorum`, `hedge` and `map_over` return."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from outlast.contracts.agents import ToolSpec

if TYPE_CHECKING:  # an agent imports this module
    from outlast.agents.agent import Agent


@dataclass(frozen=True)
class PatternTool:
    """A tool that runs agents as children, with the agents that a worker must have for it."""

    agents: "tuple[Agent[Any, Any], ...]"
    spec: ToolSpec

    @property
    def name(self) -> str:
        """The name of the tool for models."""
        return self.spec.name
