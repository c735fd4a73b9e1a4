import asyncio
import io
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog
import yaml
from outlast_activities.telemetry.conventions import OPERATION_DURATION
from outlast_activities.telemetry.metrics import BUCKETS
from outlast_workers import telemetry
from outlast_workers.local.ports import free_port
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.workers import MetricsSettings
from outlast_workers.telemetry import (
    VERBOSE_LOGGERS,
    Telemetry,
    core_logging,
    core_runtime,
    start_telemetry,
)
from temporalio.client import Client
from temporalio.runtime import LoggingFormat
from temporalio.testing import ActivityEnvironment

from outlast.errors import NotReady
from tests.acceptance.processes import ROOT
from tests.fakes.otlp_receiver import receiving

NOTHING_IMPORTED = """
import sys
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.workers import MetricsSettings
from outlast_workers.telemetry import start_telemetry
start_telemetry(Settings()).shutdown()
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_lines_carry_the_trace_of_the_caller(temporal: Client) -> None:
    """Also those of a workflow that is none of outlast's, in a sandbox and without a cache."""
    address = temporal.service_client.config.target_host
    with receiving() as receiver:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.workers.traced_process", address, receiver.endpoint),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "OTEL_EXPORTER_OTLP_HEADERS": "dd-otlp-source=llmobs"},
        )
        _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()

    assert all(headers["dd-otlp-source"] == "llmobs" for headers in receiver.headers)
    (caller,) = receiver.spans
    trace_id = caller.trace_id

    logged = {line["event"]: line for line in lines(errors.decode()) if "." in line["event"]}
    assert list(logged) == ["process.started", "parcel.received", "parcel.weighed", "parcel.sent"]
    received, weighed = logged["parcel.received"], logged["parcel.weighed"]
    assert "trace_id" not in logged["process.started"]
    assert received["trace_id"] == weighed["trace_id"] == trace_id
    assert received["workflow_id"] == weighed["workflow_id"] == "parcel-1"
    assert received["run_id"] == weighed["run_id"]
    assert (weighed["activity_type"], weighed["attempt"]) == ("weigh", 1)
    assert weighed["grams"] == logged["parcel.sent"]["grams"] == 250
    (parser,) = (each for each in log_operators() if each["type"] == "json_parser")
    parsed = [parser["timestamp"], parser["severity"], *parser["trace"].values()]
    assert {each["parse_from"].removeprefix("attributes.") for each in parsed} <= weighed.keys()
    layout = parser["timestamp"]["layout"]
    assert datetime.strptime(weighed["timestamp"], layout)  # noqa: DTZ007 the layout ends with Z


def log_operators() -> list[dict[str, Any]]:
    """Return the operators of the collector's receiver of logs, as the page has them."""
    page = (ROOT / "docs" / "watching.md").read_text()
    (receivers,) = re.findall(r"```yaml\n(receivers:.*?)```", page, re.DOTALL)
    found: list[dict[str, Any]] = yaml.safe_load(receivers)["receivers"]["file_log"]["operators"]
    return found


async def test_a_collector_is_sent_the_metrics_of_the_sdk(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "METRICS_INTERVAL", timedelta(seconds=0.2))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-honeycomb-team=secret")
    with receiving() as receiver:
        runtime = core_runtime(Settings(otlp_endpoint=receiver.endpoint))
        address = temporal.service_client.config.target_host
        await Client.connect(address, runtime=runtime)
        # As activities record it: with the name and the buckets of the conventions.
        meter = runtime.metric_meter
        meter.create_histogram_float(OPERATION_DURATION, None, "s").record(1, {"error.type": "x"})
        async with asyncio.timeout(30):
            while not {"temporal_request_latency", OPERATION_DURATION} <= receiver.metrics:
                await asyncio.sleep(0.1)
    assert receiver.paths == {"/v1/metrics"}
    assert all(headers["x-honeycomb-team"] == "secret" for headers in receiver.headers)
    assert receiver.bounds[OPERATION_DURATION] == BUCKETS[OPERATION_DURATION]
    assert receiver.labels[OPERATION_DURATION] >= {"error.type"}
    assert all(resource["service.instance.id"] for resource in receiver.resources)


def test_the_metrics_of_each_process_have_a_tag_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a collector merges the series of all pods into one."""
    given: list[Any] = []
    monkeypatch.setattr(telemetry, "Runtime", lambda telemetry, **_: given.append(telemetry))
    core_runtime(Settings())
    core_runtime(Settings(metrics=MetricsSettings(port=1)))
    pushed, scraped = given
    assert str(os.getpid()) in pushed.global_tags["service.instance.id"]
    # The endpoint for Prometheus rejects dots.
    assert str(os.getpid()) in scraped.global_tags["service_instance_id"]


async def test_prometheus_scrapes_the_metrics_that_dashboards_and_alerts_read(
    temporal: Client,
) -> None:
    port = free_port()
    runtime = core_runtime(Settings.model_validate({"metrics": {"port": port}}))
    address = temporal.service_client.config.target_host
    await Client.connect(address, runtime=runtime)
    page = await asyncio.to_thread(_read, f"http://127.0.0.1:{port}/metrics")
    assert "temporal_request_total{" in page
    assert "temporal_request_latency_seconds_bucket{" in page
    assert f'-{os.getpid()}"' in page


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 on loopback
        text: str = response.read().decode()
    return text


def test_a_metrics_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NotReady) as error:
            core_runtime(Settings.model_validate({"metrics": {"port": port}}))
    assert f"127.0.0.1:{port}" in str(error.value)
    assert "set metrics.port (OUTLAST_METRICS__PORT)" in str(error.value)


def test_nothing_of_opentelemetry_is_imported_without_an_endpoint() -> None:
    process = subprocess.run(
        [sys.executable, "-c", NOTHING_IMPORTED],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.stdout == "[]\n", process.stderr


def test_lines_are_json_with_level_logger_and_time() -> None:
    out = io.StringIO()
    start_telemetry(Settings(), stream=out)
    structlog.get_logger("here").info("worker.started", queue="agents")
    logging.getLogger("there").warning("%d of %d", 1, 2, extra={"temporal_activity": None})
    structlog.get_logger("here").debug("nothing.logged")
    ours, theirs = lines(out.getvalue())
    assert ours.pop("timestamp").endswith("Z")
    assert ours == {
        "event": "worker.started", "level": "info", "logger": "here", "queue": "agents"
    }  # fmt: skip
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("1 of 2", "warning", "there")


def test_a_line_of_an_activity_names_its_run_whoever_writes_it() -> None:
    stream = io.StringIO()
    start_telemetry(Settings(), stream=stream)
    log = structlog.get_logger("outlast.tools")
    info = ActivityEnvironment.default_info()
    log.warning("tool.failed")
    ActivityEnvironment().run(lambda: log.warning("tool.failed", attempt="mine"))
    outside, inside = lines(stream.getvalue())
    assert "workflow_id" not in outside
    assert (inside["workflow_id"], inside["run_id"]) == (info.workflow_id, info.workflow_run_id)
    assert (inside["activity_type"], inside["attempt"]) == (info.activity_type, "mine")


def test_an_exception_is_one_json_line() -> None:
    out = io.StringIO()
    start_telemetry(Settings(), stream=out)
    try:
        raise ValueError("it broke")
    except ValueError:
        logging.getLogger("there").exception("worker.failed")
        structlog.get_logger("here").exception("worker.failed")
    for line in lines(out.getvalue()):
        assert line["level"] == "error"
        assert line["exception"].endswith("ValueError: it broke")


def test_a_warning_is_a_json_line() -> None:
    out = io.StringIO()
    start_telemetry(Settings(), stream=out)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old", UserWarning, stacklevel=1)
    [line] = lines(out.getvalue())
    assert line["logger"] == "py.warnings"


def test_a_terminal_gets_short_readable_lines() -> None:
    out = io.StringIO()
    start_telemetry(Settings(log_format="console"), stream=out)
    details = {"workflow_id": "w-1", "run_id": "0123", "task_queue": "agents", "attempt": 2}
    logging.getLogger("there").info("tool_call.approved", extra={"temporal_workflow": details})
    [line] = out.getvalue().splitlines()
    assert "tool_call.approved" in line
    assert "workflow_id=w-1" in line
    assert "0123" not in line


def test_libraries_that_log_urls_and_headers_are_silent_also_at_debug() -> None:
    out = io.StringIO()
    start_telemetry(Settings(), stream=out)
    logging.getLogger("httpx").info("HTTP Request: POST")
    assert out.getvalue() == ""
    start_telemetry(Settings(log_level="debug"), stream=out)
    for name in VERBOSE_LOGGERS:
        logging.getLogger(f"{name}.request").info("POST https://hooks/CANARY")
        logging.getLogger(name).debug("headers: CANARY")
    assert "CANARY" not in out.getvalue()


def test_shutdown_gives_a_hanging_collector_up() -> None:
    is_over = threading.Event()

    class Hanging:
        def shutdown(self) -> None:
            is_over.wait(60)

    out = io.StringIO()
    start_telemetry(Settings(), stream=out)
    started = time.monotonic()
    Telemetry(_provider=Hanging()).shutdown(within_s=0.05)  # type: ignore[arg-type]  # all of it that is called
    assert time.monotonic() - started < 30
    is_over.set()
    assert lines(out.getvalue())[0]["event"] == "telemetry.flush_abandoned"


def test_the_core_writes_json_where_the_process_does() -> None:
    quiet = core_logging(Settings(log_level="error", log_format="json"))
    assert quiet.format is LoggingFormat.JSON
    assert quiet.forwarding is None
    assert core_logging(Settings(log_format="console")).format is LoggingFormat.COMPACT
