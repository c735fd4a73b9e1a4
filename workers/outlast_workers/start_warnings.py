"""Warnings at the start of a worker: settings that have no effect, because a name in them is unknown."""

from collections.abc import Iterator

import structlog

from outlast.agents.catalog import Catalog
from outlast.contracts.agents import ToolSpec
from outlast.contracts.http_tools import HTTP_TOOLS
from outlast.text.hints import hint
from outlast_workers.settings import Settings

log = structlog.get_logger("outlast.worker")


def warn_at_start(settings: Settings, catalog: Catalog) -> None:
    """Log a warning for a worker without agents, and for each route that nothing uses."""
    needs_agents = [role for role in settings.roles if role != "generate"]
    if needs_agents and not catalog.agents and not catalog.tools:
        log.warning(
            "agents.missing",
            roles=needs_agents,
            reason="this worker has no agents and no tools, so a run that names one fails here: "
            "name modules with --agents (OUTLAST_AGENTS)",
        )
        return
    for key, advice in unused_routes(settings, catalog):
        log.warning("route.unused", route=key, reason=f"nothing here uses it; {advice}")
    for key, name, advice in unknown_names_of_specs(settings, catalog):
        log.warning(
            "specs.unknown_name", setting=key, name=name, reason=f"is unknown here; {advice}"
        )


def unused_routes(settings: Settings, catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Yield the key of each route whose name no agent or tool has, and the nearest or all names."""
    if "workflows" not in settings.roles:
        return
    specs = _tool_specs(catalog)
    routes = settings.routes
    models = {agent.model for agent in catalog.agents.values() if agent.model is not None}
    for table, names, known in (
        ("tool", routes.tool, {spec.name for spec in (*specs, *HTTP_TOOLS)}),
        ("tool_class", routes.tool_class, {spec.tool_class for spec in specs if spec.tool_class}),
        ("model", routes.model, models),
    ):
        for name in names:
            if name not in known:
                yield f"routes.{table}.{name}", hint(name, sorted(known))


def unknown_names_of_specs(settings: Settings, catalog: Catalog) -> Iterator[tuple[str, str, str]]:
    """Yield the key and each name of `[specs]` that no tool or approval has, and the nearest or all names.

    A model is not checked: only its server knows the names of models.
    """
    if "workflows" not in settings.roles or not settings.specs.enabled:
        return
    specs = _tool_specs(catalog)
    audiences = {name for spec in specs if spec.approval for name in spec.approval.audiences}
    for key, names, known in (
        ("specs.tools", settings.specs.tools, {spec.name for spec in specs}),
        ("specs.audiences", settings.specs.audiences, audiences),
    ):
        for name in names or ():
            if name not in known:
                yield key, name, hint(name, sorted(known))


def _tool_specs(catalog: Catalog) -> list[ToolSpec]:
    specs = [spec for agent in catalog.agents.values() for spec in agent.tool_specs]
    return specs + [tool.spec for tool in catalog.tools.values()]
