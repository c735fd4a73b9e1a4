"""Logs and traces of a process: structlog for every line, OpenTelemetry where there is a collector."""

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from temporalio import activity, workflow
from temporalio.client import Plugin
from temporalio.runtime import LogForwardingConfig, LoggingConfig, TelemetryFilter

if TYPE_CHECKING:
    from temporalio.contrib.opentelemetry import ReplaySafeTracerProvider

SERVICE_NAME = "outlast-worker"

EXPORT_TIMEOUT_S = 5.0
"""One export, its retries included: a collector that is away must not hold spans for long."""

FLUSH_S = 5.0
"""How long the end of a process may wait for its last spans."""

# At level info these say one line for each model call, which has a line of ours already.
_TALKATIVE = ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "urllib3")

_CORE_LEVELS = {"debug": "DEBUG", "info": "WARN", "warning": "WARN", "error": "ERROR"}
"""What the SDK's Rust core may say at each of our levels: its `INFO` is about itself."""


@dataclass(frozen=True)
class Telemetry:
    """What a process started for its logs and traces; `plugins` belong to the Temporal client."""

    plugins: tuple[Plugin, ...] = ()
    _provider: "ReplaySafeTracerProvider | None" = None

    def shutdown(self, *, within_s: float = FLUSH_S) -> None:
        """Send the spans that are left, and wait for it no longer than `within_s`."""
        if self._provider is None:
            return
        # The SDK's own bounds do not hold while an export is under way; a daemon thread's does.
        flush = threading.Thread(target=self._provider.shutdown, name="otel-flush", daemon=True)
        flush.start()
        flush.join(within_s)
        if flush.is_alive():
            log.warning("telemetry.flush_abandoned", within_s=within_s)


log = structlog.get_logger(__name__)


def start_telemetry(
    *,
    log_format: Literal["auto", "console", "json"] = "auto",
    log_level: str = "info",
    otlp_endpoint: str | None = None,
    stream: TextIO | None = None,
) -> Telemetry:
    """Set logging up for the whole process, and tracing where there is an endpoint.

    Called once, before the client connects. `otlp_endpoint` is the base URL of an OTLP/HTTP
    collector; without it OpenTelemetry is not even imported. Lines go to `stream`, by default
    standard error, as JSON unless that is a terminal.
    """
    target = stream or sys.stderr
    json = log_format == "json" or (log_format == "auto" and not target.isatty())
    provider = _trace_provider(otlp_endpoint) if otlp_endpoint else None
    trace_ids = _trace_ids() if provider else None
    _configure_logging(target, log_level, json=json, trace_ids=trace_ids)
    return Telemetry(plugins=_tracing_plugins() if provider else (), _provider=provider)
