"""Opening a run: from the request of a person, or from the state that the run before handed over."""

import json

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import RawValue

from outlast.agents.agent_specs import in_opening_order
from outlast.contracts.agent_patterns import PatternQuery
from outlast.contracts.agents import PinnedAgent, Resolved, ResolveInput
from outlast.contracts.names import run_id_problem
from outlast.contracts.requests import AgentRequest
from outlast.errors import BadRequest, NoWorker
from outlast.start_requests import parse_request
from outlast.text.json_text import from_json
from outlast.transcripts import agent_digest, digest_of, user_message
from outlast.validation import explain
from outlast.weighed_cache import WeighedCache
from outlast_workflows.budget import tighter
from outlast_workflows.calls.call_keys import inherited_key_base, own_key_base
from outlast_workflows.lookups import LOOKUP_WAIT, Lookup, look_up
from outlast_workflows.packing import unpack
from outlast_workflows.payloads import json_of, result_of
from outlast_workflows.state import Carried, InboundState, RunState

MAX_SHARED_AGENT_BYTES = 64_000_000
"""Agents that the runs of a worker share, as JSON: a thousand runs of one agent keep one copy of it."""

_SHARED_AGENTS: WeighedCache[str, PinnedAgent] = WeighedCache(max_bytes=MAX_SHARED_AGENT_BYTES)
"""Equal agents are equal values, so it makes no difference to a run whether its agent is here."""

CHECK_CHAIN_PATCH = "state-handed-over-is-checked"
CHECK_ID_PATCH = "workflow-ids-are-printable"


def restored(request: RawValue) -> tuple[RunState, InboundState] | None:
    """Return the state that the run before handed over, or None in the first run of a chain.

    The workflow calls it in `__init__`, before any handler runs. So a message or command that arrives in
    the first workflow task changes the carried state directly. There is no merge that could lose a field.
    """
    data = request.payload.data
    info = workflow.info()
    # A cron schedule starts each run with the input of the person who started the first one.
    if info.continued_run_id is None or info.cron_schedule or not _is_carried(data):
        return None
    try:
        carried = Carried.model_validate_json(data)
        state = carried.state
        state.agent, state.agent_digest = shared(state.agent)
        state.handoff_targets = _shared_targets(state.handoff_targets)
        state.transcript.messages = unpack(carried.packed)
        state.transcript.digest = digest_of(state.transcript.messages)
    except ValidationError as error:
        raise BadRequest(f"input: is not the state of a run: {explain(error)}") from None
    except (ArithmeticError, RecursionError, UnicodeError) as error:
        raise BadRequest(f"input: is not the state of a run: {error}") from None
    return state, carried.inbound


def mode_of(request: RawValue) -> str:
    """Return the mode that a request asks for, before it is checked: it may be any text."""
    try:
        value = from_json(request.payload.data)
    except ValueError:
        return ""
    return str(value.get("mode", "task")) if isinstance(value, dict) else ""


async def check_restored(state: RunState) -> None:
    """Raise `BadRequest` unless a run of an agent handed the state over.

    A workflow of somebody else can continue as an `AgentWorkflow` too, with any state as its input. The
    server knows which workflow continued, so no secret is needed. Raises `NoWorker` if nobody can ask it.
    """
    if not workflow.patched(CHECK_CHAIN_PATCH):
        return
    left = state.deadline - workflow.now() if state.deadline else LOOKUP_WAIT
    # Handlers of commands run meanwhile. They change the inbound state, which is not read here.
    await check_handed_over(max(0.0, left.total_seconds()))


async def check_handed_over(within_s: float | None) -> None:
    """Raise `BadRequest` unless a run of the same workflow type handed its state over to this run."""
    lookup = Lookup("check_chain", "check_chain", "checks who handed the state over")
    await look_up(lookup, None, within_s=within_s)


async def open_run(request: RawValue) -> RunState:
    """Return the state of a new run.

    Raises `BadRequest` for an invalid request, `NoWorker` if the agent cannot be looked up, and
    `TimeoutError` when the deadline passes meanwhile.
    """
    check_run_id()
    data = json_of(request)
    if data is None:
        raise BadRequest('input: is required, such as {"agent": "…", "input": "…"}')
    checked = parse_request(data)
    wanted = checked.request
    # Handlers of commands run meanwhile. They change the inbound state, which is not read here.
    resolved = await _resolve(wanted)
    agent, digest = shared(pin(wanted, resolved))
    state = RunState(
        agent=agent,
        agent_digest=digest,
        limits=tighter(wanted.limits, wanted.spec.limits if wanted.spec else resolved.limits),
        tenant=wanted.tenant,
        mode=wanted.mode,
        is_spec=wanted.spec is not None,
        has_search_attributes=resolved.has_search_attributes,
        has_audience_attribute=resolved.has_audience_attribute,
        has_waiting_since_attribute=resolved.has_waiting_since_attribute,
        cold=resolved.cold,
        key_base=own_key_base(),
        inherited_key_base=inherited_key_base(),
        handoff_targets=_shared_targets(
            {name: pinned(name, target) for name, target in resolved.handoffs.items()}
        ),
        warnings=list(checked.warnings),
        started_at=workflow.info().start_time,
    )
    for warning in checked.warnings:
        workflow.logger.warning("spec.warning", extra={"warning": warning})
    if "input" in wanted.model_fields_set:
        prompt = wanted.spec.prompt if wanted.spec else resolved.prompt
        message = user_message(wanted.input, prompt)
        state.transcript.add(message)
        # The input of a called agent is the text of a model. People must not take it for a user's words.
        if workflow.info().parent is None:
            state.note_user(message.content)
    return state


def check_run_id() -> None:
    """Raise `BadRequest` for an id that is not printable: people read it in commands and links."""
    problem = run_id_problem(workflow.info().workflow_id)
    if problem is not None and workflow.patched(CHECK_ID_PATCH):
        raise BadRequest(f"id: the workflow id {problem}")


def pin(request: AgentRequest, resolved: Resolved) -> PinnedAgent:
    """Return the agent for the whole run: from the request's spec, or as the lookup returned it."""
    spec = request.spec
    if spec is None:
        return pinned(request.agent or "", resolved)
    return pinned(spec.name, resolved).model_copy(
        update={
            "instructions": spec.instructions,
            "output_schema": spec.output,
            "tools": in_opening_order(resolved.tools, spec.begin_with),
            "model": spec.model,
            "way": spec.way,
            "effort": spec.effort,
        }
    )


def pinned(name: str, resolved: Resolved) -> PinnedAgent:
    """Return an agent as the lookup returned it."""
    return PinnedAgent(
        name=name,
        instructions=resolved.instructions or "",
        output_schema=resolved.output_schema or {},
        tools=resolved.tools,
        model=resolved.model,
        way=resolved.way,
        effort=resolved.effort,
        route=resolved.route,
        channels=resolved.channels,
        keys=resolved.keys,
        checks_output=resolved.checks_output,
        hooks=resolved.hooks,
    )


def shared(agent: PinnedAgent) -> tuple[PinnedAgent, str]:
    """Return an equal agent that the runs of this worker share, and its digest."""
    digest = agent_digest(agent)
    return _SHARED_AGENTS.get_or_make(digest, lambda: (agent, len(agent.model_dump_json()))), digest


def _shared_targets(targets: dict[str, PinnedAgent]) -> dict[str, PinnedAgent]:
    return {name: shared(agent)[0] for name, agent in targets.items()}


async def _resolve(wanted: AgentRequest) -> Resolved:
    spec = wanted.spec
    names = ResolveInput(
        agent=wanted.agent,
        tools=tuple(spec.tools) if spec else (),
        patterns=tuple(PatternQuery(**dict(each)) for each in spec.patterns) if spec else (),
        model=spec.model if spec else None,
        output_schema=spec.output if spec else None,
        way=spec.way if spec else None,
        name=spec.name if spec else None,
    )
    lookup = Lookup("resolve_agent", "resolve", f"resolve {wanted.agent or 'spec'}")
    result = await look_up(lookup, names, within_s=wanted.limits.deadline_s)
    try:
        return result_of(Resolved, result)
    except ValueError as error:
        raise NoWorker(f"the lookup of the agent returned an invalid result: {error}") from None


def _is_carried(data: bytes) -> bool:
    """Tell whether an input is a `Carried`, and not the request of a person."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "packed" in value
