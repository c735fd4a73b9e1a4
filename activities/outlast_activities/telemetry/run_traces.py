"""The trace of a run: its ids come from the run's id, so that each worker knows them without a message.

A span that a workflow holds open is invisible until it ends, and a replay can repeat it. So no workflow
makes spans. The ids of the span `invoke_agent` of a run are computed here. The span is made when the run
begins. The spans of the run's activities are its children, also if it is lost with its worker.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from outlast_activities.telemetry import conventions as names
from outlast_activities.telemetry.waits import Wait

_W3C = TraceContextTextMapPropagator()

SPAN_IDS: ContextVar[SpanContext | None] = ContextVar("span_ids", default=None)
"""The ids of the next span, if they are not random. The id generator of a worker reads it."""


def trace_id_of(workflow_run_id: str) -> int:
    """Return the id of the trace that a run begins if nobody passes one to it."""
    return _number(f"trace {workflow_run_id}", 16)


def span_id_of(workflow_run_id: str) -> int:
    """Return the id of the span `invoke_agent` of a run."""
    return _number(f"span {workflow_run_id}", 8)


def run_span(workflow_run_id: str, caller: SpanContext | None) -> SpanContext:
    """Return the context of a run's span `invoke_agent`, in the trace of its caller if there is one."""
    span_id = span_id_of(workflow_run_id)
    if caller is None or not caller.is_valid:
        sampled = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(
            trace_id_of(workflow_run_id), span_id, is_remote=True, trace_flags=sampled
        )
    return SpanContext(
        caller.trace_id,
        span_id,
        is_remote=True,
        trace_flags=caller.trace_flags,
        trace_state=caller.trace_state,
    )


def wait_span(run: SpanContext, key: str) -> SpanContext:
    """Return the context of the span of a wait, from the span of its run and its key."""
    return SpanContext(
        run.trace_id,
        _number(f"wait {run.span_id:016x} {key}", 8),
        is_remote=True,
        trace_flags=run.trace_flags,
        trace_state=run.trace_state,
    )


def make_wait_span(wait: Wait) -> None:
    """Make the span of a wait that has ended, as a child of the span of its run."""
    run = span_of(wait.traceparent)
    if not run.is_valid:
        return
    tracer = trace.get_tracer(names.SCOPE, schema_url=names.SCHEMA_URL)
    attributes = {
        names.CONVERSATION: wait.workflow_id,
        names.WORKFLOW_ID: wait.workflow_id,
        names.WORKFLOW_RUN_ID: wait.run_id,
        **wait.attributes,
    }
    with span_ids(wait_span(run, wait.key)):
        span = tracer.start_span(
            wait.name, context=context_of(run), attributes=attributes, start_time=wait.began_ns
        )
    span.end(end_time=wait.ended_ns)


def traceparent_of(context: Context) -> str:
    """Return the current span of a context as the text of the header `traceparent`, or an empty text."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context)
    return carrier.get("traceparent", "")


def span_of(traceparent: str) -> SpanContext:
    """Return the span in the text of a header `traceparent`. One that cannot be read is not valid."""
    context = _W3C.extract({"traceparent": traceparent}, Context())
    return trace.get_current_span(context).get_span_context()


def context_of(span: SpanContext | None) -> Context:
    """Return a context whose current span has these ids: what is started in it is its child."""
    if span is None or not span.is_valid:
        return Context()
    return trace.set_span_in_context(NonRecordingSpan(span), Context())


@contextmanager
def span_ids(ids: SpanContext) -> Iterator[None]:
    """Give the span that is started inside these ids."""
    token = SPAN_IDS.set(ids)
    try:
        yield
    finally:
        SPAN_IDS.reset(token)


def _number(text: str, size: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:size]) or 1
