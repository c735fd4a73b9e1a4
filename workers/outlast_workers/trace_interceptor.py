"""The trace context of each run: what its caller passes, and what its activities and children get.

They also get the waits of the run that have ended, and an activity makes their spans.

Temporal's own interceptor passes the context of a client. In workflows and activities, `RunTraces` takes
its place: it encodes the context of a run once for all its calls, and makes the span of the run.
`outlast_activities.telemetry.run_traces` computes the ids of this span.
"""

import contextlib
import functools
import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NoReturn

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from outlast_activities.telemetry import conventions as names
from outlast_activities.telemetry.run_traces import (
    context_of,
    make_wait_span,
    run_span,
    span_ids,
    span_of,
    traceparent_of,
)
from outlast_activities.telemetry.spans import error_type
from outlast_activities.telemetry.waits import (
    CURRENT_TASK,
    TASK_HEADER,
    WAIT_LOG,
    WAITS_HEADER,
    WaitLog,
    nanoseconds,
    waits_in,
)
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.client import OutboundInterceptor
from temporalio.common import SearchAttributeKey
from temporalio.contrib.opentelemetry import OpenTelemetryInterceptor
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle, ChildWorkflowHandle

from outlast.contracts.agents import ResolveInput
from outlast.contracts.names import WORKFLOWS
from outlast.temporal.call_headers import text_of, text_payload

TRACE_HEADER: Final = "_tracer-data"
"""Header in which all Temporal SDKs pass the context of a trace, as JSON."""

ORIGIN_HEADER: Final = "outlast-trace-origin"
"""Header of a lookup: what the span of the run is a child of, or linked to."""

LOOKUPS: Final = ("resolve_agent", "check_chain")
"""The first activity of a run, of either kind. Its worker makes the span of the run."""

MAX_CACHED_CONTEXTS: Final = 4_096
"""Contexts of runs that a process keeps decoded. All calls of a run have the same one."""

_AGENT_NAME = SearchAttributeKey.for_keyword("AgentName")
_W3C = TraceContextTextMapPropagator()

Headers = Mapping[str, Payload]


class RunTraces(ClientInterceptor, Interceptor):
    """Makes the activities and children of a run part of its trace, and makes its span `invoke_agent`."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002
        """Return the interceptor of a client: that of Temporal, which passes the current context."""
        return OpenTelemetryInterceptor(add_temporal_spans=False).intercept_client(next)

    def intercept_activity(
        self,
        next: ActivityInboundInterceptor,  # noqa: A002 the SDK's signature
    ) -> ActivityInboundInterceptor:
        """Return the interceptor of one activity."""
        return _ActivityInbound(next)

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002 the SDK's signature
    ) -> type[WorkflowInboundInterceptor]:
        """Return the interceptor of one run."""
        return _RunInbound


class _RunInbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self._calls = _RunOutbound(outbound)
        super().init(self._calls)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        # The tasks of a run begin with a copy of this context, and so with the same log.
        WAIT_LOG.set(self._calls.trace.waits)
        with _attached(self._calls.trace.context):
            return await super().execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:  # noqa: A002
        with _attached(self._calls.trace.context):
            await super().handle_signal(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:  # noqa: A002
        with _attached(self._calls.trace.context):
            return await super().handle_update_handler(input)


class _RunTrace:
    """The context of a run: attached for its log lines, and encoded for its calls."""

    def __init__(self) -> None:
        info = workflow.info()
        caller = _span_in(info.headers)
        self.origin = ""
        if info.workflow_type not in WORKFLOWS:
            span = caller
        else:
            # A run of weeks would be one trace without end, so each run of a chain begins its own.
            is_continued = info.continued_run_id is not None
            # After a reset, the run continues the trace of the run that it repeats.
            span = run_span(info.original_execution_run_id, None if is_continued else caller)
            agent = info.typed_search_attributes.get(_AGENT_NAME) if is_continued else None
            task = text_of(info.headers.get(TASK_HEADER))
            self.origin = _origin(
                caller, info.start_time, is_continued=is_continued, agent=agent, task=task
            )
        self.context = context_of(span)
        carrier = _carrier_of(self.context)
        self._headers = {TRACE_HEADER: _json_payload(carrier)} if carrier else {}
        earlier = info.headers.get(WAITS_HEADER)
        self.waits = WaitLog(
            traceparent_of(self.context),
            info.workflow_id,
            info.run_id,
            waits_in(earlier.data) if earlier else (),
        )

    def headers(self, others: Headers, *, takes_waits: bool = True) -> Headers:
        """Return the headers of a call with the context of the run, and the waits that it takes along."""
        waits = self.waits.take() if takes_waits else b""
        headers = {**others, **self._headers}
        if waits:
            headers[WAITS_HEADER] = Payload(metadata={"encoding": b"json/plain"}, data=waits)
        if task := CURRENT_TASK.get():
            headers[TASK_HEADER] = text_payload(task)
        return headers


class _RunOutbound(WorkflowOutboundInterceptor):
    """Starts what a run starts in the context of the run, also if the handler of a command starts it."""

    @functools.cached_property
    def trace(self) -> _RunTrace:
        """Return the trace of the run. A workflow has its headers only once it runs."""
        return _RunTrace()

    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:  # noqa: A002
        input.headers = self._headers_of(input)
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> ActivityHandle[Any]:  # noqa: A002
        # It takes no waits: if its workflow task is lost, it runs again, and its spans would come twice.
        input.headers = self._headers_of(input, takes_waits=False)
        return super().start_local_activity(input)

    async def start_child_workflow(
        self,
        input: StartChildWorkflowInput,  # noqa: A002
    ) -> ChildWorkflowHandle[Any, Any]:
        input.headers = self.trace.headers(input.headers)
        return await super().start_child_workflow(input)

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:  # noqa: A002
        input.headers = self.trace.headers(input.headers)
        super().continue_as_new(input)

    def _headers_of(
        self,
        input: StartActivityInput | StartLocalActivityInput,  # noqa: A002
        *,
        takes_waits: bool = True,
    ) -> Headers:
        headers = self.trace.headers(input.headers, takes_waits=takes_waits)
        if self.trace.origin and input.activity in LOOKUPS:
            return {**headers, ORIGIN_HEADER: text_payload(self.trace.origin)}
        return headers


class _ActivityInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        header, waits = input.headers.get(TRACE_HEADER), input.headers.get(WAITS_HEADER)
        if TASK_HEADER in input.headers:
            # The task of an activity has a context of its own, so nothing resets it.
            CURRENT_TASK.set(text_of(input.headers[TASK_HEADER]))
        with _attached(_context_in(header.data) if header else Context()):
            if waits is not None and activity.info().attempt == 1:
                for wait in waits_in(waits.data):
                    make_wait_span(wait)
            if ORIGIN_HEADER in input.headers:
                return await self._look_up(input)
            return await super().execute_activity(input)

    async def _look_up(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        """Run the first activity of a run, and make the span of the run."""
        began = time.time_ns()
        origin = json.loads(text_of(input.headers[ORIGIN_HEADER]) or "{}")
        if "began" in origin:
            # Tasks of a pipeline can begin before this lookup. No span begins before its parent.
            began = min(began, nanoseconds(datetime.fromisoformat(origin["began"])))
        wanted = input.args[0] if input.args else None
        agent = origin.get("agent")
        if isinstance(wanted, ResolveInput):
            agent = wanted.agent or wanted.name
        try:
            result = await super().execute_activity(input)
        except ApplicationError as error:
            if error.non_retryable:
                _record_run(origin, agent, began, error)
            raise
        _record_run(origin, agent, began)
        return result


def _record_run(
    origin: dict[str, str], agent: str | None, began: int, error: Exception | None = None
) -> None:
    """Make the span of a run: it begins and ends with the lookup, so that it is visible at once."""
    info = activity.info()
    attributes = {
        names.OPERATION: names.INVOKE_AGENT,
        names.CONVERSATION: info.workflow_id or "",
        names.WORKFLOW_ID: info.workflow_id or "",
        names.WORKFLOW_RUN_ID: info.workflow_run_id or "",
    }
    if agent:
        attributes[names.AGENT_NAME] = agent
    if "task" in origin:
        attributes[names.TASK] = origin["task"]
    previous = span_of(origin.get("link", ""))
    ids = trace.get_current_span().get_span_context()
    tracer = trace.get_tracer(names.SCOPE, schema_url=names.SCHEMA_URL)
    with span_ids(ids):
        span = tracer.start_span(
            f"{names.INVOKE_AGENT} {agent}" if agent else names.INVOKE_AGENT,
            context=context_of(span_of(origin.get("parent", ""))),
            attributes=attributes,
            links=[Link(previous)] if previous.is_valid else [],
            start_time=began,
        )
    if error is not None:
        span.set_attribute(names.ERROR_TYPE, error_type(error))
        span.set_status(StatusCode.ERROR)
    span.end()


def _origin(
    caller: SpanContext, began: datetime, *, is_continued: bool, agent: str | None, task: str
) -> str:
    place = "link" if is_continued else "parent"
    origin = {
        place: traceparent_of(context_of(caller)),
        "agent": agent or "",
        "task": task,
        "began": began.isoformat(),
    }
    return json.dumps({name: value for name, value in origin.items() if value})


def _carrier_of(context: Context) -> dict[str, str]:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context)
    return carrier


def _span_in(headers: Headers) -> SpanContext:
    header = headers.get(TRACE_HEADER)
    context = _context_in(header.data) if header else Context()
    return trace.get_current_span(context).get_span_context()


@functools.lru_cache(maxsize=MAX_CACHED_CONTEXTS)
def _context_in(data: bytes) -> Context:
    """Return the context in a header. One that cannot be read is as none."""
    try:
        carrier = json.loads(data)
    except ValueError:
        return Context()
    if not isinstance(carrier, dict):
        return Context()
    fields = {name: value for name, value in carrier.items() if isinstance(value, str)}
    return _W3C.extract(fields, Context())


def _json_payload(value: object) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(value).encode())


@contextlib.contextmanager
def _attached(context: Context) -> Iterator[None]:
    """Attach a context. An evicted run leaves this block elsewhere, where nothing is to be detached."""
    token = otel_context.attach(context)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            token.var.reset(token)
