"""Checks of the legs of a route before a run starts: whether the API of each can take the agent's schemas.

A worker knows the APIs of the servers in its own settings. A leg whose server it does not know is checked
by the first model call instead, which fails before anything is sent.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from outlast.contracts.agents import Leg, PinnedAgent, Way
from outlast.jsonschema.decision_schema import ANSWER_PREFIX, decision_schema
from outlast.jsonschema.schemas import Schema
from outlast.model_server import ServerOptions
from outlast.text.json_text import to_json
from outlast.weighed_cache import WeighedCache
from outlast_activities.constraints.api_dialects import SchemaDialect
from outlast_activities.constraints.api_parts import NotExpressible
from outlast_activities.constraints.api_schemas import api_schema

MAX_VERDICT_BYTES = 4_000_000
"""Schemas in the cache, with what was found about them: those of each agent and API."""

_ANSWER = ".properties.answer"
_ARGUMENTS = ".properties.tool_calls.items.properties.arguments"
"""Where a decision has the output, and the arguments of a single tool."""


@dataclass(frozen=True)
class ServerRules:
    """The ways of a model, the default first, and the dialect of its schema in the way `decision`.

    Without `ways`, only a probe finds them out. Without a dialect, the model takes every schema.
    """

    ways: tuple[Way, ...] = ()
    schemas: SchemaDialect | None = None


@dataclass(frozen=True)
class KnownServer:
    """A model server in the settings of this worker. `rules` knows its models without a probe."""

    options: ServerOptions
    rules: Callable[[ServerOptions], ServerRules]
    way: Way | None = None


@dataclass(frozen=True)
class LegChecks:
    """Checks agents against the servers that this worker knows, by name.

    `default` serves the legs of `task_queue` that name no server.
    """

    servers: Mapping[str, KnownServer] = field(default_factory=dict)
    default: KnownServer | None = None
    task_queue: str = ""
    _verdicts: WeighedCache[tuple[str, str], str] = field(
        default_factory=lambda: WeighedCache(max_bytes=MAX_VERDICT_BYTES), compare=False
    )

    def problem(self, agent: PinnedAgent) -> str | None:
        """Return why a leg of an agent's route cannot serve it, in one line, or None."""
        for number, leg in enumerate(agent.route.legs, 1):
            server = self._server(leg)
            problem = self._leg_problem(agent, leg, server) if server is not None else None
            if problem is not None:
                return f"leg {number} of its route ({problem}"
        return None

    def _server(self, leg: Leg) -> KnownServer | None:
        if leg.server is not None:
            return self.servers.get(leg.server)
        # The workers of another task queue have a default server of their own.
        return self.default if leg.task_queue == self.task_queue else None

    def _leg_problem(self, agent: PinnedAgent, leg: Leg, server: KnownServer) -> str | None:
        model = leg.model or agent.model or server.options.model
        rules = server.rules(replace(server.options, model=model))
        if not rules.ways:
            return None
        way = leg.way or agent.way or server.way or rules.ways[0]
        name = f"server {leg.server!r}" if leg.server else f"task queue {leg.task_queue!r}"
        place = f"{name}, api {server.options.api!r}, way {way!r})"
        if way not in rules.ways:
            listed = ", ".join(map(repr, rules.ways))
            return f"{place} cannot use this way: model {model!r} takes {listed}"
        if way != "decision" or rules.schemas is None:
            return None
        problem = self._schema_problem(agent, rules.schemas)
        if problem is None:
            return None
        advice = 'change the type, set way = "tools" for the leg, or take the leg out of the route'
        return f"{place} cannot take {problem}; {advice}"

    def _schema_problem(self, agent: PinnedAgent, dialect: SchemaDialect) -> str | None:
        key = to_json([decision_schema(agent), decision_schema(agent, ())])

        def make() -> tuple[str, int]:
            return schema_problem(agent, dialect) or "", len(key)

        return self._verdicts.get_or_make((key, dialect.name), make) or None


def schema_problem(agent: PinnedAgent, dialect: SchemaDialect) -> str | None:
    """Return which schema of an agent has no form in a dialect, with the path, or None."""
    for part in _parts(agent):
        try:
            api_schema(part.schema, dialect)
        except NotExpressible as refusal:
            reason = str(refusal).removeprefix(part.place)
            return f"{part.name}: {reason.replace(f'#/$defs/{part.prefix}.', '')}"
    return None


@dataclass(frozen=True)
class _Part:
    """A part of a decision: its name, its schema, its place there, and the prefix of its definitions."""

    name: str
    schema: Schema
    place: str = ""
    prefix: str = ""


def _parts(agent: PinnedAgent) -> Iterator[_Part]:
    """Yield what a model may have to write: first the parts, then all of it."""
    yield _Part("its output", decision_schema(agent, ()), _ANSWER, ANSWER_PREFIX)
    for tool in agent.tools:
        schema = decision_schema(agent, (tool.name,), answer=False)
        yield _Part(f"the parameters of tool {tool.name!r}", schema, _ARGUMENTS, tool.name)
    yield _Part("all its schemas together", decision_schema(agent))
