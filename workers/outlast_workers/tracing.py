"""Tracing of a process with a collector: providers, exporters, and the context of each run.

Temporal's own plugin passes the context of a caller through Temporal, without spans of its own: a span that
a workflow holds open is invisible while the run waits, and may be made twice. `RunTraces` adds the span of
the run. `outlast_activities.telemetry.run_traces` computes its ids.
"""

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, NoReturn

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, SpanContext, Status, StatusCode
from outlast_activities.telemetry import conventions as names
from outlast_activities.telemetry.run_traces import SPAN_IDS, context_of, run_span, span_ids
from outlast_activities.telemetry.spans import error_type
from temporalio import activity, workflow
from temporalio.client import Plugin
from temporalio.common import SearchAttributeKey
from temporalio.contrib.opentelemetry import (
    OpenTelemetryPlugin,
    ReplaySafeTracerProvider,
    create_tracer_provider,
)
from temporalio.exceptions import ApplicationError
from temporalio.plugin import SimplePlugin
from temporalio.worker import (
    ActivityInboundInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
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
from outlast.contracts.names import AGENT_WORKFLOW
from outlast.temporal.call_headers import text_of, text_payload
from outlast_workers.telemetry import instance_id

SPANS_INTERVAL_S = 2.0
"""How often a process exports spans. A run that waits is visible after this time."""

EXPORT_TIMEOUT_S = 5.0
"""Bounds one export with its retries. While the collector is down, spans are dropped."""

MCP_SCOPE = "mcp-python-sdk"
"""The scope of the spans that MCP's SDK makes."""

ORIGIN_HEADER = "outlast-trace-origin"
"""Header of a lookup: what the span of the run is a child of, or linked to."""

LOOKUPS = ("resolve_agent", "check_chain")
"""The first activity of a run, of either kind. Its worker makes the span of the run."""

_AGENT_NAME = SearchAttributeKey.for_keyword("AgentName")


def open_provider(otlp_endpoint: str, service_name: str) -> ReplaySafeTracerProvider:
    """Set the global provider of OpenTelemetry, which exports spans to a collector, and return it."""
    resource = Resource.create(
        {
            "service.name": service_name,
            "service.version": version("outlast"),
            "service.instance.id": instance_id(),
        }
    )
    provider = create_tracer_provider(
        resource=resource, shutdown_on_exit=False, id_generator=_RunIds()
    )
    spans = SpanExporter(
        endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S
    )
    provider.add_span_processor(
        BatchSpanProcessor(spans, schedule_delay_millis=SPANS_INTERVAL_S * 1000)
    )
    trace.set_tracer_provider(provider)
    return provider


def plugins() -> tuple[Plugin, ...]:
    """Return the plugins of a Temporal client and its workers that pass and begin traces.

    The order matters: what `RunTraces` sets, the plugin before it passes on.
    """
    return (
        OpenTelemetryPlugin(add_temporal_spans=False),
        SimplePlugin("OutlastTraces", interceptors=[RunTraces()]),
    )


class SpanExporter(OTLPSpanExporter):
    """Exports spans without the texts of errors that MCP's SDK adds to its own: they can contain data."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans to the collector."""
        return super().export([without_texts(span) for span in spans])


def without_texts(span: ReadableSpan) -> ReadableSpan:
    """Return a span of MCP's SDK without the text of its error, and any other span as it is."""
    scope = span.instrumentation_scope
    if scope is None or scope.name != MCP_SCOPE:
        return span
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=scope,
    )


class _RunIds(RandomIdGenerator):
    """Generates random ids, and those of a run for its span."""

    def generate_trace_id(self) -> int:
        ids = SPAN_IDS.get()
        return ids.trace_id if ids else super().generate_trace_id()

    def generate_span_id(self) -> int:
        ids = SPAN_IDS.get()
        return ids.span_id if ids else super().generate_span_id()


class RunTraces(Interceptor):
    """Makes the activities and children of a run part of its trace, and makes its span `invoke_agent`."""

    def intercept_activity(
        self,
        next: ActivityInboundInterceptor,  # noqa: A002 the SDK's signature
    ) -> ActivityInboundInterceptor:
        """Return the interceptor of one activity."""
        return _LookupInbound(next)

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
        info = workflow.info()
        if info.workflow_type != AGENT_WORKFLOW:
            return await super().execute_workflow(input)
        caller = trace.get_current_span().get_span_context()
        # A run of weeks would be one trace without end, so each run of a chain begins its own.
        is_continued = info.continued_run_id is not None
        # After a reset, the run continues the trace of the run that it repeats.
        context = context_of(
            run_span(info.original_execution_run_id, None if is_continued else caller)
        )
        agent = info.typed_search_attributes.get(_AGENT_NAME) if is_continued else None
        self._calls.context = context
        self._calls.origin = _origin(caller, is_continued=is_continued, agent=agent)
        with _attached(context):
            return await super().execute_workflow(input)


class _RunOutbound(WorkflowOutboundInterceptor):
    """Starts what a run starts in the context of the run, also if the handler of a command starts it."""

    context: Context | None = None
    origin = ""

    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:  # noqa: A002
        self._add_origin(input)
        with _attached(self.context):
            return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> ActivityHandle[Any]:  # noqa: A002
        self._add_origin(input)
        with _attached(self.context):
            return super().start_local_activity(input)

    async def start_child_workflow(
        self,
        input: StartChildWorkflowInput,  # noqa: A002
    ) -> ChildWorkflowHandle[Any, Any]:
        with _attached(self.context):
            return await super().start_child_workflow(input)

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:  # noqa: A002
        with _attached(self.context):
            super().continue_as_new(input)

    def _add_origin(self, input: StartActivityInput | StartLocalActivityInput) -> None:  # noqa: A002
        if self.context is not None and input.activity in LOOKUPS:
            input.headers = {**input.headers, ORIGIN_HEADER: text_payload(self.origin)}


class _LookupInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        if ORIGIN_HEADER not in input.headers:
            return await super().execute_activity(input)
        began = time.time_ns()
        origin = json.loads(text_of(input.headers[ORIGIN_HEADER]) or "{}")
        wanted = input.args[0] if input.args else None
        agent = wanted.agent if isinstance(wanted, ResolveInput) else origin.get("agent")
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
    previous = _span_of(origin.get("link"))
    ids = trace.get_current_span().get_span_context()
    tracer = trace.get_tracer(names.SCOPE, schema_url=names.SCHEMA_URL)
    with span_ids(ids):
        span = tracer.start_span(
            f"{names.INVOKE_AGENT} {agent}" if agent else names.INVOKE_AGENT,
            context=context_of(_span_of(origin.get("parent"))),
            attributes=attributes,
            links=[Link(previous)] if previous.is_valid else [],
            start_time=began,
        )
    if error is not None:
        span.set_attribute(names.ERROR_TYPE, error_type(error))
        span.set_status(StatusCode.ERROR)
    span.end()


def _origin(caller: SpanContext, *, is_continued: bool, agent: str | None) -> str:
    carrier: dict[str, str] = {}
    inject(carrier, context_of(caller))
    place = "link" if is_continued else "parent"
    origin = {place: carrier.get("traceparent", ""), "agent": agent or ""}
    return json.dumps({name: value for name, value in origin.items() if value})


def _span_of(traceparent: str | None) -> SpanContext:
    context = extract({"traceparent": traceparent or ""}, Context())
    return trace.get_current_span(context).get_span_context()


@contextlib.contextmanager
def _attached(context: Context | None) -> Iterator[None]:
    """Attach a context. An evicted run leaves this block elsewhere, where nothing is to be detached."""
    if context is None:
        yield
        return
    token = otel_context.attach(context)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            token.var.reset(token)
