"""The activity that resolves what a run pins: a registered agent, or the tools that a spec names."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from temporalio import activity

from outlast.agents.agent import Agent
from outlast.agents.catalog import Catalog
from outlast.agents.patterns import pattern_tool
from outlast.contracts.agent_patterns import MAX_HANDOFF_BYTES, MAX_HANDOFF_TARGETS, PatternFields
from outlast.contracts.agents import PinnedAgent, Resolved, ResolveInput, ToolSpec
from outlast.contracts.http_tools import HTTP_TOOLS
from outlast.errors import AgentFailed, BadRequest, DefinitionError, NotLocal
from outlast.text.hints import hint
from outlast.text.texts import toml_key
from outlast_activities.instructions import InstructionWriter
from outlast_activities.leg_checks import LegChecks
from outlast_activities.policies.local_tools import LocalTools
from outlast_activities.policies.routes import Routes
from outlast_activities.policies.spec_policy import SpecPolicy


class ColdLegs:
    """Task queues where no worker started a step in time lately. All runs of a process share them.

    This is the only state that workflow code shares with the outside, so it follows three rules:

    1. A workflow calls `note` only while it is not replaying, and the call has no effect on the workflow.
    2. A workflow never reads it. `resolve_agent` does, so a run gets it from its history and replays
       the same.
    3. Workflow threads write while an activity reads. Each step is one dict operation or a copy, which the
       GIL makes atomic, so there is no lock.

    If it is lost, the first steps of later runs wait a little longer.
    """

    def __init__(self) -> None:
        self._until: dict[str, datetime] = {}

    def note(self, task_queue: str, *, until: datetime) -> None:
        """Skip a task queue until then. Workflows call it from their threads."""
        self._until[task_queue] = until

    def current(self, now: datetime) -> dict[str, datetime]:
        """Return the task queues that are still skipped, and until when."""
        for task_queue, until in list(self._until.items()):
            if until <= now:
                self._until.pop(task_queue, None)
        return dict(self._until)


COLD_LEGS = ColdLegs()
"""The cold legs of this process."""


class ResolveActivities:
    """Resolves agents and tools with the catalog and the routes of this worker."""

    def __init__(  # noqa: PLR0913 all of them are named
        self,
        catalog: Catalog,
        *,
        routes: Routes,
        instructions: InstructionWriter | None = None,
        channels: Mapping[str, int] | None = None,
        keys: Mapping[str, Mapping[str, str]] | None = None,
        has_search_attributes: bool = False,
        specs: SpecPolicy | None = None,
        local: LocalTools | None = None,
        legs: LegChecks | None = None,
    ) -> None:
        self._catalog = catalog
        self._hooks = tuple(hooks.name for hooks in catalog.hooks)
        self._tools = _tools_of(catalog)
        self._specs = specs or SpecPolicy()
        self._routes = routes
        self._instructions = instructions
        self._channels = dict(channels or {})
        self._keys = {audience: dict(known) for audience, known in (keys or {}).items()}
        self._has_search_attributes = has_search_attributes
        self._local = local or LocalTools()
        self._legs = legs or LegChecks()

    @activity.defn(name="resolve_agent")
    async def resolve_agent(self, input: ResolveInput) -> Resolved:  # noqa: A002 Temporal's word
        """Return what the run pins.

        Raises `BadRequest` for an unknown name, with a hint, and for an agent that a leg cannot serve.
        """
        if input.agent is None:
            members = (name for pattern in input.patterns for name in pattern.agents)
            self._specs.check_names((*input.tools, *members), input.model)
            tools = (
                *self._signable(self._tool(name) for name in input.tools),
                *map(self._pattern, input.patterns),
            )
            if input.makes_http_calls:
                tools += tuple(map(self._routed, HTTP_TOOLS))
            self._specs.check_audiences(tools)
            self._specs.check_asked(input.audiences)
            self._check_agents(input.agents)
            route = self._routes.of_model(input.model)
            resolved = Resolved(tools=tools, route=route, **self._facts())
            if input.output_schema is not None:
                update = {"output_schema": input.output_schema, "way": input.way}
                with_schema = resolved.model_copy(update={**update, "model": input.model})
                self._check_legs("spec", with_schema)
            return await self._with_handoffs("spec", resolved, input.output_schema)
        agent = self._agent(input.agent)
        resolved = await self._resolved(agent)
        return await self._with_handoffs(f"agent {agent.name!r}", resolved, resolved.output_schema)

    def _agent(self, name: str) -> Agent[Any, Any]:
        agent = self._catalog.agents.get(name)
        if agent is None:
            raise BadRequest(_unknown("agent", name, self._catalog.agents))
        return agent

    async def _resolved(self, agent: Agent[Any, Any]) -> Resolved:
        resolved = Resolved(
            tools=self._signable(self._routed(tool) for tool in agent.tool_specs),
            route=self._routes.of_model(agent.model),
            prompt=agent.prompt,
            output_schema=agent.output_schema,
            checks_output=agent.checks_output,
            model=agent.model,
            way=agent.way,
            effort=agent.effort,
            limits=agent.limits,
            **self._facts(),
        )
        self._check_legs(f"agent {agent.name!r}", resolved)
        return resolved.model_copy(update={"instructions": await self._instructions_of(agent)})

    async def _with_handoffs(
        self, what: str, resolved: Resolved, output_schema: dict[str, Any] | None
    ) -> Resolved:
        """Return what the run pins, with all agents that can take over, directly or after another one.

        Raises `BadRequest` for an unknown agent, for one that answers with another type, and for too many.
        """
        targets: dict[str, Resolved] = {}
        waiting = list(_handoffs_of(resolved))
        while waiting:
            name = waiting.pop()
            if name in targets:
                continue
            agent = self._agent(name)
            if agent.output_schema != output_schema:
                raise BadRequest(
                    f"{what}: agent {name!r} can take over its run, but has another output type"
                )
            if len(targets) == MAX_HANDOFF_TARGETS:
                raise BadRequest(
                    f"{what}: more than {MAX_HANDOFF_TARGETS} agents can take over its run"
                )
            targets[name] = await self._resolved(agent)
            waiting.extend(_handoffs_of(targets[name]))
        size = sum(len(target.model_dump_json().encode()) for target in targets.values())
        if size > MAX_HANDOFF_BYTES:
            raise BadRequest(
                f"{what}: the agents that can take over its run have {size:,} bytes as JSON; at most"
                f" {MAX_HANDOFF_BYTES:,} are allowed: shorten their instructions"
            )
        return resolved.model_copy(update={"handoffs": targets}) if targets else resolved

    def _check_agents(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._catalog.agents:
                raise BadRequest(_unknown("agent", name, self._catalog.agents))

    def _facts(self) -> dict[str, Any]:
        """Return the fields of `Resolved` that are the same for all runs of this worker."""
        return {
            "channels": self._channels,
            "keys": self._keys,
            "has_search_attributes": self._has_search_attributes,
            "cold": COLD_LEGS.current(datetime.now(UTC)),
            "has_audience_attribute": self._has_search_attributes,
            "has_waiting_since_attribute": self._has_search_attributes,
            "hooks": self._hooks,
        }

    def _check_legs(self, what: str, resolved: Resolved) -> None:
        """Raise `BadRequest` if a leg's API cannot take the schemas, as far as this worker knows it."""
        pinned = PinnedAgent(
            name=what,
            instructions="",
            tools=resolved.tools,
            output_schema=resolved.output_schema or {},
            model=resolved.model,
            way=resolved.way,
            route=resolved.route,
        )
        problem = self._legs.problem(pinned)
        if problem is not None:
            raise BadRequest(f"{what}: {problem}")

    async def _instructions_of(self, agent: Agent[Any, Any]) -> str:
        if isinstance(agent.instructions, str):
            return agent.instructions
        if activity.in_activity() and activity.info().is_local:
            # Code of a user may take long, or end the process: an ordinary activity counts its attempts.
            raise NotLocal("a function writes the instructions", retryable=True)
        if self._instructions is None:
            raise AgentFailed(f"no worker here writes the instructions of agent {agent.name!r}")
        return await self._instructions.instructions_of(agent)

    def _tool(self, name: str) -> ToolSpec:
        specs = self._tools.get(name)
        if specs is None:
            raise BadRequest(_unknown("spec.tools", name, self._tools))
        if len(specs) > 1:
            raise BadRequest(
                f"spec.tools: {name!r} stands for {len(specs)} different tools of this worker's agents; "
                "give them different names"
            )
        return self._routed(specs[0])

    def _pattern(self, pattern: PatternFields) -> ToolSpec:
        """Return the tool of a pattern; raises `BadRequest` if the agents here cannot form it."""
        try:
            return pattern_tool(pattern, [self._agent(name) for name in pattern.agents]).spec
        except DefinitionError as error:
            raise BadRequest(f"spec.patterns: {error}") from None

    def _signable(self, tools: Iterable[ToolSpec]) -> tuple[ToolSpec, ...]:
        """Return the tools. Raises `BadRequest` if nobody could sign the decisions about one of them."""
        checked = tuple(tools)
        for tool in checked:
            self._check_audiences(tool)
            approval = tool.approval if tool.approval and tool.approval.signed else None
            for audience in approval.audiences if approval else ():
                if audience not in self._keys:
                    raise BadRequest(
                        f"tool {tool.name!r} requires signatures of {audience!r}, but this worker has no"
                        f" keys for it: set audiences.{toml_key(audience)}.keys in its settings"
                    )
        return checked

    def _check_audiences(self, tool: ToolSpec) -> None:
        """Raise `BadRequest` if a request could pass from people who sign to people who do not."""
        audiences = tool.approval.audiences if tool.approval else ()
        unkeyed = [audience for audience in audiences if audience not in self._keys]
        keyed = [audience for audience in audiences if audience in self._keys]
        if keyed and unkeyed:
            raise BadRequest(
                f"tool {tool.name!r} asks {keyed[0]!r}, which signs its decisions, and {unkeyed[0]!r},"
                f" which has no keys: set audiences.{toml_key(unkeyed[0])}.keys in this worker's settings"
            )

    def _routed(self, tool: ToolSpec) -> ToolSpec:
        if tool.kind != "activity":
            return tool
        routed = tool.model_copy(update={"route": tool.route or self._routes.of_tool(tool)})
        return routed.model_copy(update={"local": self._local.includes(routed)})


def _handoffs_of(resolved: Resolved) -> Iterable[str]:
    return filter(None, (tool.handoff_target for tool in resolved.tools))


def _tools_of(catalog: Catalog) -> dict[str, list[ToolSpec]]:
    """Return the tools that a spec can name. Agents may have different questions of one name."""
    tools: dict[str, list[ToolSpec]] = {}
    for agent in catalog.agents.values():
        for spec in agent.tool_specs:
            unordered = spec.model_copy(update={"begins_run": False})
            known = tools.setdefault(spec.name, [])
            if unordered not in known:
                known.append(unordered)
    return tools | {
        tool.name: [tool.spec.model_copy(update={"begins_run": False})]
        for tool in catalog.tools.values()
    }


def _unknown(field: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    advice = hint(name, names) if names else "start the worker with --agents"
    return f"{field}: {name!r} is not registered with this worker; {advice}"
