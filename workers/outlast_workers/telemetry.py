"""Logs and traces of a process: structlog for every line, OpenTelemetry where there is a collector."""

import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor
from temporalio import activity, workflow
from temporalio.client import Plugin
from temporalio.runtime import (
    LoggingConfig,
    LoggingFormat,
    OpenTelemetryConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

if TYPE_CHECKING:
    from temporalio.contrib.opentelemetry import ReplaySafeTracerProvider

LogFormat = Literal["auto", "console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

SERVICE_NAME = "outlast-worker"

BUSY_REPORTED_EVERY = timedelta(seconds=5)
"""How often a worker tells the server how busy it is; demand is read from that."""

METRICS_EVERY = timedelta(seconds=10)
"""How often a collector is sent metrics."""

EXPORT_TIMEOUT_S = 5.0
"""One export, its retries included: where a collector is away, spans are dropped, not hoarded."""

FLUSH_S = 5.0
"""How long the end of a process may wait for its last spans."""

# At info these say a line for each model call, and there is one of ours already.
TALKATIVE = ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "urllib3")

# What the SDK's Rust core says at INFO is about itself.
_CORE_LEVELS = {"debug": "DEBUG", "info": "WARN", "warning": "WARN", "error": "ERROR"}

# The loggers of temporalio pass these as `extra`.
_DETAILS = ("temporal_workflow", "temporal_activity")
_RENAMED = {"workflow_run_id": "run_id"}
_NOT_ON_CONSOLE = ("activity_id", "logger", "namespace", "run_id", "task_queue", "workflow_type")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Telemetry:
    """What a process started for its logs and traces; `plugins` belong to the Temporal client."""

    plugins: tuple[Plugin, ...] = ()
    _provider: "ReplaySafeTracerProvider | None" = None

    def shutdown(self, *, within_s: float = FLUSH_S) -> None:
        """Send the spans that are left, and wait for it no longer than `within_s`."""
        if self._provider is not None:
            self._flushed(self._provider.shutdown, within_s)

    def flush(self, *, within_s: float = FLUSH_S) -> None:
        """Send the spans so far, where the process may be frozen before it sends more."""
        if self._provider is not None:
            self._flushed(self._provider.force_flush, within_s)

    def _flushed(self, send: Callable[[], object], within_s: float) -> None:
        # The SDK's own bounds do not hold while an export is under way; a daemon thread's does.
        flush = threading.Thread(target=send, name="otel-flush", daemon=True)
        flush.start()
        flush.join(within_s)
        if flush.is_alive():
            log.warning("telemetry.flush_abandoned", within_s=within_s)


def start_telemetry(
    *,
    log_format: LogFormat = "auto",
    log_level: LogLevel = "info",
    otlp_endpoint: str | None = None,
    stream: TextIO | None = None,
) -> Telemetry:
    """Set up logging for the whole process, and tracing where there is an endpoint.

    Called once, before the client connects. `otlp_endpoint` is the base URL of an OTLP/HTTP
    collector; without it OpenTelemetry is not even imported. Lines go to `stream`, by default
    standard error, and are JSON unless that is a terminal.
    """
    out = stream or sys.stderr
    as_json = _is_json(log_format, out)
    extra = [_trace_id_adder()] if otlp_endpoint else []
    processors = [*_common(as_json=as_json), *extra, *_rendering(out, as_json=as_json)]
    _route_logging(out, log_level, processors)
    return _start_tracing(otlp_endpoint) if otlp_endpoint else Telemetry()


def core_runtime(
    log_level: LogLevel = "info",
    *,
    log_format: LogFormat = "auto",
    otlp_endpoint: str | None = None,
) -> Runtime:
    """Return the runtime of a process, whose workers tell the server how busy they are.

    Where there is a collector it is sent the metrics of the SDK: how long steps wait on each task queue,
    how long they take, how many slots are in use.
    """
    metrics = None
    if otlp_endpoint is not None:
        metrics = OpenTelemetryConfig(
            url=f"{otlp_endpoint.rstrip('/')}/v1/metrics",
            http=True,
            metric_periodicity=METRICS_EVERY,
            durations_as_seconds=True,
        )
    logging_config = core_logging(log_level, log_format=log_format)
    return Runtime(
        telemetry=TelemetryConfig(logging=logging_config, metrics=metrics),
        worker_heartbeat_interval=BUSY_REPORTED_EVERY,
    )


def core_logging(log_level: LogLevel = "info", *, log_format: LogFormat = "auto") -> LoggingConfig:
    """Return what a `Runtime` takes for the lines of the SDK's Rust core: same level, same format.

    The core writes them itself, to standard output. Forwarded to Python's logging instead, one that
    comes while the process ends is a deadlock.
    """
    as_json = _is_json(log_format, sys.stderr)
    return LoggingConfig(
        filter=TelemetryFilter(core_level=_CORE_LEVELS[log_level], other_level="ERROR"),
        format=LoggingFormat.JSON if as_json else LoggingFormat.COMPACT,
    )


def _is_json(log_format: LogFormat, out: TextIO) -> bool:
    return log_format == "json" or (log_format == "auto" and not out.isatty())


def _route_logging(out: TextIO, log_level: LogLevel, processors: list[Processor]) -> None:
    """Lead both structlog and the standard library through one handler and one set of processors."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=processors, foreign_pre_chain=[structlog.stdlib.ExtraAdder()]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log_level.upper())
    for name in TALKATIVE:
        logging.getLogger(name).setLevel("NOTSET" if log_level == "debug" else "WARNING")
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
        _spread_temporal_details,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
    ]


def _rendering(out: TextIO, *, as_json: bool) -> list[Processor]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [
        _drop_what_crowds_a_terminal,
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain),
    ]


def _spread_temporal_details(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Make keys of what temporalio's loggers know: workflow and run id, activity type, attempt."""
    details: dict[str, Any] = {}
    for source in _DETAILS:
        details |= event.pop(source, None) or {}
    for name, value in details.items():
        event.setdefault(_RENAMED.get(name, name), value)
    return event


def _drop_what_crowds_a_terminal(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for name in _NOT_ON_CONSOLE:
        event.pop(name, None)
    return event


def _start_tracing(otlp_endpoint: str) -> Telemetry:
    # Imported here, for without a collector nobody should pay for it.
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from temporalio.contrib.opentelemetry import (  # noqa: PLC0415
        OpenTelemetryPlugin,
        create_tracer_provider,
    )

    provider = create_tracer_provider(
        resource=Resource.create({"service.name": SERVICE_NAME}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(
        endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    # The plugin demands that the provider be the global one.
    trace.set_tracer_provider(provider)
    return Telemetry(plugins=(OpenTelemetryPlugin(add_temporal_spans=True),), _provider=provider)


def _trace_id_adder() -> Processor:
    from opentelemetry import trace  # noqa: PLC0415 imported only where there is a collector

    def add_trace_id(_logger: Any, _method: str, event: EventDict) -> EventDict:
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            event["trace_id"] = trace.format_trace_id(context.trace_id)
        return event

    return add_trace_id
