"""Opening a run: reads what a person typed, pins the agent, or takes over from the run before."""

import asyncio
import functools
from datetime import timedelta

from outlast_activities.resolve import ResolveActivities
from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from outlast.agents import in_opening_order
from outlast.contracts.agents import PinnedAgent, Resolved, ResolveInput
from outlast.contracts.requests import AgentRequest
from outlast.errors import BadRequest, NoWorker
from outlast.start_requests import parse_request
from outlast.transcripts import agent_digest, digest_of, user_message
from outlast_workflows.budget import tighter
from outlast_workflows.payloads import json_of
from outlast_workflows.state import Carried, RunState, Steering, is_carried, unpack
from outlast_workflows.step_failures import cause_of

MAX_SHARED_AGENTS = 256
"""Agents kept for the runs of a worker to share: a thousand runs of one agent hold it once."""

RESOLVE_TIMEOUT = timedelta(seconds=30)
RESOLVE_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=5)
RESOLVE_WAIT = timedelta(hours=1)
"""Looking up an agent takes milliseconds; all its attempts together end well within this."""


async def open_run(request: RawValue, steering: Steering) -> tuple[RunState, Steering]:
    """Return the state to go on from; raises `BadRequest` for what a person typed wrong.

    Raises `TimeoutError` when the request's deadline passes meanwhile.
    """
    data = json_of(request)
    if data is None:
        raise BadRequest('input: is required, such as {"agent": "…", "input": "…"}')
    if workflow.info().continued_run_id is not None and is_carried(data):
        return _taken_over(Carried.model_validate_json(data), steering)
    wanted = parse_request(data)
    async with asyncio.timeout(wanted.limits.deadline_s):
        resolved = await _resolve(wanted)
    agent, digest = shared(pin(wanted, resolved))
    state = RunState(
        agent=agent,
        agent_digest=digest,
        limits=tighter(wanted.limits, wanted.spec.limits if wanted.spec else resolved.limits),
        tenant=wanted.tenant,
        mode=wanted.mode,
        has_search_attributes=resolved.has_search_attributes,
        has_audience_attribute=resolved.has_audience_attribute,
        cold=resolved.cold,
        started_at=workflow.info().start_time,
    )
    if "input" in wanted.model_fields_set:
        prompt = wanted.spec.prompt if wanted.spec else resolved.prompt
        state.add(user_message(wanted.input, prompt))
    return state, steering


def pin(request: AgentRequest, resolved: Resolved) -> PinnedAgent:
    """Return the agent for the life of the run: from the request's spec, or as it was resolved."""
    spec = request.spec
    return PinnedAgent(
        name=spec.name if spec else request.agent or "",
        instructions=spec.instructions if spec else resolved.instructions or "",
        output_schema=spec.output if spec else resolved.output_schema or {},
        tools=in_opening_order(resolved.tools, spec.begin_with) if spec else resolved.tools,
        model=spec.model if spec else resolved.model,
        route=resolved.route,
        channels=resolved.channels,
        keys=resolved.keys,
    )


def shared(agent: PinnedAgent) -> tuple[PinnedAgent, str]:
    """Return an equal agent that the runs of this worker have in common, and its digest."""
    return _decoded(agent.model_dump_json())


@functools.lru_cache(maxsize=MAX_SHARED_AGENTS)
def _decoded(encoded: str) -> tuple[PinnedAgent, str]:
    agent = PinnedAgent.model_validate_json(encoded)
    return agent, agent_digest(agent)


async def _resolve(wanted: AgentRequest) -> Resolved:
    spec = wanted.spec
    try:
        return await workflow.execute_activity_method(
            ResolveActivities.resolve_agent,
            ResolveInput(
                agent=wanted.agent,
                tools=tuple(spec.tools) if spec else (),
                model=spec.model if spec else None,
            ),
            activity_id="resolve",
            start_to_close_timeout=RESOLVE_TIMEOUT,
            schedule_to_close_timeout=RESOLVE_WAIT,
            retry_policy=RESOLVE_RETRY,
            summary=f"resolve {wanted.agent or 'spec'}",
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise asyncio.CancelledError from error
        cause = error.cause
        if isinstance(cause, ApplicationError) and cause.type == BadRequest.__name__:
            raise BadRequest(cause.message) from None
        raise NoWorker(f"the agent could not be looked up: {cause_of(error)}") from None


def _taken_over(carried: Carried, early: Steering) -> tuple[RunState, Steering]:
    """Return the state of the run before, and what people told either of the two."""
    state, steering = carried.state, carried.steering
    state.agent, state.agent_digest = shared(state.agent)
    state.messages = unpack(carried.packed)
    state.digest = digest_of(state.messages)
    steering.inbox.extend(early.inbox)
    steering.paused = steering.paused or early.paused
    steering.finished = steering.finished or early.finished
    return state, steering
