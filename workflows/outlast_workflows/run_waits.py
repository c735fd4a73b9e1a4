"""The waits of a run in its trace: for people, and of the tasks of a pipeline that take time.

The next activity of the run makes their spans. Without a collector, nothing is kept. Spans hold names and
times only, and no arguments, answers or names of people.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from outlast_activities.telemetry import conventions as names
from outlast_activities.telemetry.waits import CURRENT_TASK, WAIT_LOG, nanoseconds
from temporalio import workflow

from outlast.contracts.human import PendingRequest, SettledRequest


def trace_request(request: PendingRequest, settled: SettledRequest | None) -> None:
    """Add the wait for a person, which has ended, to the trace."""
    attributes = {
        names.REQUEST_ID: request.request_id,
        names.REQUEST_KIND: request.kind,
        names.AUDIENCE: request.audience,
        names.TOOL_NAME: request.tool,
        names.OUTCOME: settled.outcome if settled else "moot",
        names.TASK: CURRENT_TASK.get(),
    }
    name = f"{names.WAIT_FOR_PERSON} {request.audience}"
    _add(name, request.request_id, request.opened_at, attributes)


@contextmanager
def traced_task(kind: str | None, name: str, place: str, started_at: datetime) -> Iterator[None]:
    """Run a task of a pipeline: the spans of what it starts name its place.

    With a `kind`, it is in the trace itself after it has ended, if it took time.
    """
    outer = CURRENT_TASK.get()
    CURRENT_TASK.set(place)
    try:
        yield
    finally:
        CURRENT_TASK.set(outer)  # not `reset`: a coroutine can be closed in another context
        if kind is not None:
            _add(f"{kind} {name}", "", started_at, {names.TASK: place})


def _add(name: str, key: str, began: datetime, attributes: dict[str, str]) -> None:
    """Add a wait to the log. Without a key, its number is its key: a task of a loop can run often."""
    log = WAIT_LOG.get()
    # Not in a workflow: the coroutine is collected after its run left the worker.
    if log is None or not workflow.in_workflow():
        return
    now = workflow.now()
    if now > began:
        log.add(
            name,
            key or f"#{log.count}",
            began_ns=nanoseconds(began),
            ended_ns=nanoseconds(now),
            attributes=attributes,
        )
