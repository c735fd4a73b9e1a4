"""The metrics of activities. The Temporal SDK exports them, by OTLP or to Prometheus.

The endpoint of the SDK for Prometheus rejects dots in names. So metrics of the conventions have two
spellings. Those of outlast have underscores and their unit in the name, as all metrics of the SDK.
"""

import itertools
from collections.abc import Mapping

from temporalio import activity

from outlast_activities.attempt_protocol import waited_s
from outlast_activities.telemetry import conventions as names

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
COSTS = (0.0001, 0.001, 0.01, 0.1, 1, 10, 100)
WAITS = (1, 10, 60, 300, 900, 3600, 14400, 86400, 604800)

Labels = Mapping[str, str | int]


class ModelMetrics:
    """The metrics of the conventions, spelled `for_prometheus` or for OTLP."""

    def __init__(self, *, for_prometheus: bool = False) -> None:
        self._for_prometheus = for_prometheus

    def record_operation(self, seconds: float, labels: Labels) -> None:
        """Record the duration of one prompt."""
        self._record(names.OPERATION_DURATION, "s", seconds, labels)

    def record_tokens(self, prompt: int, completion: int, labels: Labels) -> None:
        """Record the tokens of one prompt and its answer."""
        for kind, count in (("input", prompt), ("output", completion)):
            self._record(names.TOKEN_USAGE, "{token}", count, {**labels, names.TOKEN_TYPE: kind})

    def _record(self, name: str, unit: str, value: float, labels: Labels) -> None:
        if self._for_prometheus:
            name, unit = prometheus_name(name), ""
            # All series of a metric have the same labels there. An empty one counts as absent.
            labels = {
                **_OPTIONAL,
                **{key.replace(".", "_"): value for key, value in labels.items()},
            }
        _record(name, _DESCRIPTIONS[name], value, labels, unit=unit or None)


def prometheus_name(name: str) -> str:
    """Return how Prometheus spells a metric of the conventions."""
    suffix = "_seconds" if name.endswith(".duration") else ""
    return f"{name.replace('.', '_')}{suffix}"


def record_tool(seconds: float, *, tool: str, error_type: str) -> None:
    """Record the duration of one attempt of a tool call; `error_type` is empty if it succeeded."""
    labels = {"tool": tool, "error_type": error_type}
    _record(names.TOOL_DURATION, "Duration of an attempt of a tool call.", seconds, labels)


def record_queue_wait() -> None:
    """Record how long this attempt waited for a worker. A local activity does not wait."""
    if not activity.info().is_local:
        _record(names.QUEUE_WAIT, "Time that an attempt waited for a worker.", waited_s(), {})


def count_repeated_prompt(*, failure: str, remedy: str) -> None:
    """Count a prompt that follows a wrong answer."""
    if not activity.in_activity():
        return
    text = "Prompts that followed a wrong answer, by the class of the failure."
    counter = activity.metric_meter().create_counter(names.PROMPTS_REPEATED, text)
    counter.add(1, {"error_type": failure, "remedy": remedy})


def _record(name: str, text: str, value: float, labels: Labels, *, unit: str | None = None) -> None:
    if activity.in_activity():
        meter = activity.metric_meter()
        meter.create_histogram_float(name, text, unit).record(value, dict(labels))


_OPTIONAL = {
    label.replace(".", "_"): ""
    for label in (names.ERROR_TYPE, names.REQUEST_MODEL, names.RESPONSE_MODEL)
}

_DESCRIPTIONS = {
    spelled: text
    for name, text in (
        (names.OPERATION_DURATION, "GenAI operation duration."),
        (names.TOKEN_USAGE, "Number of input and output tokens used."),
    )
    for spelled in (name, prometheus_name(name))
}

BUCKETS: Mapping[str, tuple[float, ...]] = dict(
    itertools.chain(
        ((each, SECONDS) for each in (names.OPERATION_DURATION, names.TOOL_DURATION)),
        ((prometheus_name(names.OPERATION_DURATION), SECONDS),),
        ((each, TOKENS) for each in (names.TOKEN_USAGE, prometheus_name(names.TOKEN_USAGE))),
        ((names.QUEUE_WAIT, (*SECONDS, 300, 900, 3600)), (names.COST, COSTS)),
        ((names.REQUEST_WAIT, WAITS),),
    )
)
"""The upper bounds of histograms: those of the conventions, and longer ones for waits."""
