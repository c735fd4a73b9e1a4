"""Opening a pipeline: from the request of a person, or from the state that the run before handed over."""

import json

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import RawValue

from outlast.contracts.agents import PinnedAgent, Resolved, ResolveInput
from outlast.contracts.limits import RunLimits
from outlast.errors import BadRequest, NoWorker
from outlast.pipelines.jq.evaluation import LANGUAGE_VERSION
from outlast.pipelines.requests import parse_pipeline_request
from outlast.pipelines.tasks import Pipeline
from outlast.validation import explain
from outlast_workflows.calls.call_keys import own_key_base
from outlast_workflows.calls.effect_calls import OUTLIVES_PATCH
from outlast_workflows.lookups import Lookup, look_up
from outlast_workflows.payloads import json_of, result_of
from outlast_workflows.pipelines.calls import CHECK_ARGUMENTS_PATCH
from outlast_workflows.pipelines.state import CarriedPipeline, PipelineState
from outlast_workflows.run_start import check_run_id
from outlast_workflows.state import InboundState, RunState

STRANDS_PATCH = "branches-number-their-calls"


def restored_pipeline(request: RawValue) -> tuple[PipelineState, InboundState] | None:
    """Return the state that the run before handed over, or None in the first run of a chain."""
    info, data = workflow.info(), request.payload.data
    if info.continued_run_id is None or info.cron_schedule or not _is_carried(data):
        return None
    try:
        carried = CarriedPipeline.model_validate_json(data)
    except ValidationError as error:
        raise BadRequest(f"input: is not the state of a pipeline: {explain(error)}") from None
    except (ArithmeticError, RecursionError, UnicodeError) as error:
        raise BadRequest(f"input: is not the state of a pipeline: {error}") from None
    return carried.pipeline_state, carried.inbound


def _is_carried(data: bytes) -> bool:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "pipeline_state" in value


async def open_pipeline(request: RawValue) -> tuple[PipelineState, Pipeline]:
    """Return the state of a new run, and its compiled document.

    Raises `BadRequest` for an invalid request or document, and `NoWorker` if its tools cannot be looked up.
    """
    check_run_id()
    data = json_of(request)
    if data is None:
        raise BadRequest('input: is required, such as {"pipeline": {…}, "input": {…}}')
    wanted, pipeline = parse_pipeline_request(data)
    has_strands = _take_patches(pipeline)
    # The handlers of `decide` and `event` run meanwhile. They change what is not read here.
    resolved = await _resolve(pipeline)
    agent = PinnedAgent(
        name=pipeline.name,
        instructions="",
        output_schema={},
        tools=resolved.tools,
        route=resolved.route,
        channels=resolved.channels,
        keys=resolved.keys,
        hooks=resolved.hooks,
    )
    run = RunState(
        agent=agent,
        agent_digest="",
        limits=RunLimits(),
        tenant=wanted.tenant,
        has_search_attributes=resolved.has_search_attributes,
        has_audience_attribute=resolved.has_audience_attribute,
        has_waiting_since_attribute=resolved.has_waiting_since_attribute,
        cold=resolved.cold,
        key_base=own_key_base(),
        started_at=workflow.info().start_time,
        status="acting",
    )
    state = PipelineState(
        run=run,
        document=wanted.pipeline,
        language=LANGUAGE_VERSION,
        raw_input=wanted.input,
        has_strands=has_strands,
    )
    return state, pipeline


def _take_patches(pipeline: Pipeline) -> bool:
    """Return whether branches number their calls apart, and take the patches that the first task may need.

    This is before the lookup. If a query repeats the workflow task of a local activity, the SDK takes what
    follows the activity for a replay. Then `patched` returns False, also in a new run.
    """
    has_strands = workflow.patched(STRANDS_PATCH)
    if has_strands and pipeline.tools:
        workflow.patched(OUTLIVES_PATCH)
        workflow.patched(CHECK_ARGUMENTS_PATCH)
    return has_strands


async def _resolve(pipeline: Pipeline) -> Resolved:
    names = ResolveInput(
        tools=tuple(pipeline.tools),
        agents=tuple(pipeline.agents),
        audiences=tuple(pipeline.audiences),
        makes_http_calls=pipeline.makes_http_calls,
        name=pipeline.name,
    )
    lookup = Lookup("resolve_agent", "resolve", f"resolve {pipeline.name}")
    try:
        result = await look_up(lookup, names, within_s=None)
    except BadRequest as error:
        raise BadRequest(_placed(str(error.message), pipeline)) from None
    try:
        return result_of(Resolved, result)
    except ValueError as error:
        raise NoWorker(f"the lookup of the tools returned an invalid result: {error}") from None


def _placed(reason: str, pipeline: Pipeline) -> str:
    """Return the reason of a rejected name with the name's place in the document."""
    for field, places in (("spec.tools", pipeline.tools), ("agent", pipeline.agents)):
        for name, place in places.items():
            start = f"{field}: {name!r} "
            if reason.startswith(start):
                return f"{place}: {name!r} {reason.removeprefix(start)}"
    return reason
