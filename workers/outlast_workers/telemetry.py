"""Logs, traces and metrics of a process: structlog for logs, OpenTelemetry if there is a collector."""

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TextIO

import structlog
from outlast_activities.telemetry.metrics import BUCKETS
from structlog.typing import EventDict, Processor
from temporalio import activity, workflow
from temporalio.client import Plugin
from temporalio.runtime import (
    LoggingConfig,
    LoggingFormat,
    OpenTelemetryConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from outlast.errors import NotReady
from outlast.text.safe_text import escaped
from outlast_workers.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from starlette.types import ASGIApp

SERVICE_NAME = "outlast-worker"

HEARTBEAT_INTERVAL = timedelta(seconds=5)
"""How often a worker reports its busy slots to the server. The demand service reads these reports."""

METRICS_INTERVAL = timedelta(seconds=10)
"""How often a process exports metrics to the collector."""

FLUSH_S = 5.0
"""Bounds the export of the last spans when a process ends."""

# These libraries log every model call at level info, and URLs, headers and prompts at level debug. URLs of
# webhooks are secrets.
VERBOSE_LOGGERS = ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "urllib3")

# At INFO, the SDK's Rust core logs only about itself.
_CORE_LEVELS = {"debug": "DEBUG", "info": "WARN", "warning": "WARN", "error": "ERROR"}

# temporalio's loggers pass these keys as `extra`.
_TEMPORAL_KEYS = ("temporal_workflow", "temporal_activity")
_ACTIVITY_KEYS = (
    *("activity_id", "activity_type", "attempt", "namespace", "task_queue"),
    *("workflow_id", "workflow_run_id", "workflow_type"),
)
_RENAMED_KEYS = {"workflow_run_id": "run_id"}
_HIDDEN_ON_CONSOLE = ("activity_id", "logger", "namespace", "run_id", "task_queue", "workflow_type")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Telemetry:
    """The telemetry of a process. Pass `plugins` to the Temporal client."""

    plugins: tuple[Plugin, ...] = ()
    _provider: "TracerProvider | None" = None

    def with_spans(self, app: "ASGIApp") -> "ASGIApp":
        """Return an application that makes a span of each request, if there is a collector."""
        if self._provider is None:
            return app
        # Imported here, because only a collector needs it.
        from outlast_workers.http_spans import HttpSpans  # noqa: PLC0415

        return HttpSpans(app)

    def shutdown(self, *, within_s: float = FLUSH_S) -> None:
        """Export the remaining spans, for at most `within_s`."""
        if self._provider is not None:
            self._run_bounded(self._provider.shutdown, within_s)

    def flush(self, *, within_s: float = FLUSH_S) -> None:
        """Export the spans so far, for at most `within_s`. For platforms that can freeze the process."""
        if self._provider is not None:
            self._run_bounded(self._provider.force_flush, within_s)

    def _run_bounded(self, send: Callable[[], object], within_s: float) -> None:
        # The SDK does not apply its own timeout to an export in progress, so use a daemon thread.
        flush = threading.Thread(target=send, name="otel-flush", daemon=True)
        flush.start()
        flush.join(within_s)
        if flush.is_alive():
            log.warning("telemetry.flush_abandoned", within_s=within_s)


def start_telemetry(
    settings: Settings, *, stream: TextIO | None = None, service_name: str = SERVICE_NAME
) -> Telemetry:
    """Set up logging for the whole process, and traces and metrics if `otlp_endpoint` is set.

    Call it once, before the client connects. Without an endpoint, OpenTelemetry is not imported. Log
    lines go to `stream`, by default standard error, and are JSON unless the stream is a terminal.
    """
    out = stream or sys.stderr
    as_json = _is_json(settings, out)
    extra = [_trace_id_adder()] if settings.otlp_endpoint else []
    processors = [*_common(as_json=as_json), *extra, *_rendering(out, as_json=as_json)]
    _route_logging(out, settings.log_level, processors)
    if not settings.otlp_endpoint:
        return Telemetry()
    return _start_tracing(settings, settings.otlp_endpoint, service_name)


def core_runtime(settings: Settings) -> Runtime:
    """Return the SDK's runtime for a process. Its workers report their busy slots to the server.

    The runtime serves the SDK's metrics at `metrics.port`, or exports them to `otlp_endpoint`: the wait on
    each task queue, the duration of activities, the slots in use. Raises `NotReady` without the port.
    """
    try:
        return Runtime(
            telemetry=TelemetryConfig(
                logging=core_logging(settings),
                metrics=_core_metrics(settings),
                global_tags=_instance_tags(settings),
            ),
            worker_heartbeat_interval=HEARTBEAT_INTERVAL,
        )
    except ValueError as error:
        if settings.metrics.port is None:
            raise
        raise NotReady(
            f"the metrics cannot be served on {settings.metrics.host}:{settings.metrics.port} ({error}):"
            " set metrics.port (OUTLAST_METRICS__PORT) to a free port, and metrics.host to an address"
        ) from None


def _core_metrics(settings: Settings) -> OpenTelemetryConfig | PrometheusConfig | None:
    if settings.metrics.port is not None:
        host = (
            f"[{settings.metrics.host}]" if ":" in settings.metrics.host else settings.metrics.host
        )
        return PrometheusConfig(
            bind_address=f"{host}:{settings.metrics.port}",
            counters_total_suffix=True,
            unit_suffix=True,
            durations_as_seconds=True,
            histogram_bucket_overrides=BUCKETS,
        )
    if settings.otlp_endpoint is None:
        return None
    return OpenTelemetryConfig(
        url=f"{settings.otlp_endpoint.rstrip('/')}/v1/metrics",
        http=True,
        metric_periodicity=METRICS_INTERVAL,
        durations_as_seconds=True,
        histogram_bucket_overrides=BUCKETS,
    )


def _instance_tags(settings: Settings) -> dict[str, str]:
    """Return the tags of all metrics: labels for Prometheus, attributes of a resource for a collector."""
    if settings.metrics.port is not None:
        return {"service_instance_id": instance_id()}
    return {"service.instance.id": instance_id(), "service.name": SERVICE_NAME}


def instance_id() -> str:
    """Return what tells this process from others: a collector merges series that have equal labels."""
    return f"{socket.gethostname()}-{os.getpid()}"


def core_logging(settings: Settings) -> LoggingConfig:
    """Return the logging configuration of the SDK's Rust core, with the same level and format.

    The core writes its lines to standard output itself. If it forwarded them to Python's logging, a line
    that arrives while the process ends would cause a deadlock.
    """
    as_json = _is_json(settings, sys.stderr)
    return LoggingConfig(
        filter=TelemetryFilter(core_level=_CORE_LEVELS[settings.log_level], other_level="ERROR"),
        format=LoggingFormat.JSON if as_json else LoggingFormat.COMPACT,
    )


def _is_json(settings: Settings, out: TextIO) -> bool:
    return settings.log_format == "json" or (settings.log_format == "auto" and not out.isatty())


def _route_logging(out: TextIO, log_level: str, processors: list[Processor]) -> None:
    """Send the logs of structlog and the standard library through one handler and the same processors."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=processors, foreign_pre_chain=[structlog.stdlib.ExtraAdder()]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log_level.upper())
    for name in VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel("WARNING")
    logging.captureWarnings(capture=True)
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _common(*, as_json: bool) -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(
            fmt="iso" if as_json else "%H:%M:%S", utc=as_json, key="timestamp"
        ),
        _flatten_temporal_details,
        _add_activity,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
    ]


def _rendering(out: TextIO, *, as_json: bool) -> list[Processor]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [
        _drop_hidden_keys,
        _escape_texts,
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain),
    ]


def _flatten_temporal_details(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Turn the details of temporalio's loggers into keys: workflow and run id, activity type, attempt."""
    details: dict[str, Any] = {}
    for source in _TEMPORAL_KEYS:
        details |= event.pop(source, None) or {}
    for name, value in details.items():
        event.setdefault(_RENAMED_KEYS.get(name, name), value)
    return event


def _add_activity(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Add the ids of the activity in which a line is written, as temporalio's own loggers do."""
    if not activity.in_activity():
        return event
    info = activity.info()
    for name in _ACTIVITY_KEYS:
        event.setdefault(_RENAMED_KEYS.get(name, name), getattr(info, name))
    return event


def _escape_texts(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Make each character visible: values may hold commands of a terminal, or lines of their own."""
    for name, value in list(event.items()):
        if name == "exception":
            event[name] = escaped(str(value), keep="\n")
        elif name not in ("exc_info", "stack_info", "timestamp", "level"):
            is_plain = value is None or isinstance(value, bool | int | float)
            text = value if isinstance(value, str) else repr(value)
            event[name] = value if is_plain else escaped(text)
    return event


def _drop_hidden_keys(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for name in _HIDDEN_ON_CONSOLE:
        event.pop(name, None)
    return event


def _start_tracing(settings: Settings, otlp_endpoint: str, service_name: str) -> Telemetry:
    # Imported here, because the imports take time and only a collector needs them.
    from outlast_activities.telemetry.requests import TRACE_HOSTS  # noqa: PLC0415

    from outlast_workers.tracing import open_provider, plugins  # noqa: PLC0415

    TRACE_HOSTS.limit(settings.trace_hosts)
    provider = open_provider(otlp_endpoint, service_name, interval_s=settings.trace_interval_s)
    return Telemetry(plugins=plugins(), _provider=provider)


def _trace_id_adder() -> Processor:
    from opentelemetry import trace  # noqa: PLC0415 only with a collector

    def add_trace_id(_logger: Any, _method: str, event: EventDict) -> EventDict:
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            event["trace_id"] = trace.format_trace_id(context.trace_id)
            event["span_id"] = trace.format_span_id(context.span_id)
        return event

    return add_trace_id
