"""Tracing of a process with a collector: the provider and the exporter of spans, and Temporal's plugin."""

from collections.abc import Sequence
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Status
from outlast_activities.telemetry.run_traces import SPAN_IDS
from temporalio.client import Plugin
from temporalio.plugin import SimplePlugin

from outlast_workers.telemetry import instance_id
from outlast_workers.trace_interceptor import RunTraces

EXPORT_TIMEOUT_S = 5.0
"""Bounds one export with its retries. While the collector is down, spans are dropped."""

MCP_SCOPE = "mcp-python-sdk"
"""The scope of the spans that MCP's SDK makes."""


def open_provider(otlp_endpoint: str, service_name: str, *, interval_s: float) -> TracerProvider:
    """Set the global provider of OpenTelemetry, which exports spans every `interval_s`, and return it."""
    resource = Resource.create(
        {
            "service.name": service_name,
            "service.version": version("outlast"),
            "service.instance.id": instance_id(),
        }
    )
    # Not Temporal's provider, which is safe in a replay and slower: no workflow makes spans.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=_RunIds())
    spans = SpanExporter(
        endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S
    )
    provider.add_span_processor(BatchSpanProcessor(spans, schedule_delay_millis=interval_s * 1000))
    trace.set_tracer_provider(provider)
    return provider


def plugins() -> tuple[Plugin, ...]:
    """Return the plugin of a Temporal client and its workers that passes and begins traces."""
    return (SimplePlugin("OutlastTraces", interceptors=[RunTraces()]),)


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
