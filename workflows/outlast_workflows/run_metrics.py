"""Metrics of runs that only a run knows. The SDK records them once: a replay records nothing.

The process exports them to its collector, with the metrics of the SDK. Labels have few values. So a tenant,
a run and the name of an agent in a `spec` are not labels.
"""

from outlast_activities.telemetry import conventions as names
from temporalio import workflow

from outlast.contracts.human import PendingRequest, SettledRequest
from outlast.contracts.usage import Usage

SPEC = "spec"
"""The label of all agents that came in a request: their names are without number."""


def record_cost(agent: str, usage: Usage) -> None:
    """Record what one model call cost in dollars, by registered agent or `SPEC`, if it used tokens."""
    if not usage.prompt_tokens and not usage.completion_tokens:
        return
    meter = workflow.metric_meter()
    cost = meter.create_histogram_float(names.COST, "Cost of model calls in dollars, by agent.")
    cost.record(float(usage.cost_usd), {"agent": agent})


def count_spillover(task_queue: str) -> None:
    """Count a step that moved on to the next leg, by the task queue that did not serve it."""
    meter = workflow.metric_meter()
    spillovers = meter.create_counter(names.SPILLOVERS, "Steps that moved on to the next leg.")
    spillovers.add(1, {"from_task_queue": task_queue})


def count_request(request: PendingRequest) -> None:
    """Count a request to people that is opened."""
    meter = workflow.metric_meter()
    opened = meter.create_counter(names.REQUESTS_OPENED, "Requests to people that were opened.")
    opened.add(1, {"audience": request.audience, "kind": request.kind})


def record_request(request: PendingRequest, settled: SettledRequest | None) -> None:
    """Record how long a request was open. Without a decision, its outcome is `moot`."""
    if not workflow.in_workflow():  # the coroutine is collected after its run left the worker
        return
    meter = workflow.metric_meter()
    wait = meter.create_histogram_float(
        names.REQUEST_WAIT, "Time from the opening of a request to its outcome."
    )
    outcome = settled.outcome if settled else "moot"
    labels = {"audience": request.audience, "kind": request.kind, "outcome": outcome}
    wait.record((workflow.now() - request.opened_at).total_seconds(), labels)
