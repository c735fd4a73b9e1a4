"""Routes of a worker: where model calls and tool calls are served."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from outlast.contracts.agents import Route, ToolSpec


@dataclass(frozen=True)
class Routes:
    """The routes that runs pin when they start. The most specific route wins."""

    generate: Route
    tools: Route
    by_model: Mapping[str, Route] = field(default_factory=dict)
    by_tool: Mapping[str, Route] = field(default_factory=dict)
    by_class: Mapping[str, Route] = field(default_factory=dict)

    def of_model(self, model: str | None) -> Route:
        """Return the route of the model calls of an agent with this model."""
        return self.by_model.get(model or "", self.generate)

    def of_tool(self, tool: ToolSpec) -> Route:
        """Return the route of a tool: by its name, then by its class, then the default."""
        of_class = self.by_class.get(tool.tool_class or "", self.tools)
        return self.by_tool.get(tool.name, of_class)

    def of_generate(self) -> Iterator[Route]:
        """Yield every route of model calls."""
        yield self.generate
        yield from self.by_model.values()

    def of_tools(self) -> Iterator[Route]:
        """Yield every route of tools."""
        yield self.tools
        yield from self.by_class.values()
        yield from self.by_tool.values()
