"""Routes of a worker: where what a step needs is served, by the model, the tool or the tool's class."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from outlast.contracts.agents import Route, ToolSpec


@dataclass(frozen=True)
class Routes:
    """The routes that the runs of a worker pin; the most particular one holds."""

    generate: Route
    tools: Route
    by_model: Mapping[str, Route] = field(default_factory=dict)
    by_tool: Mapping[str, Route] = field(default_factory=dict)
    by_class: Mapping[str, Route] = field(default_factory=dict)

    def of_model(self, model: str | None) -> Route:
        """Return where the model calls of an agent are served that asks for this model."""
        return self.by_model.get(model or "", self.generate)

    def of_tool(self, tool: ToolSpec) -> Route:
        """Return where the calls of a tool are served."""
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
