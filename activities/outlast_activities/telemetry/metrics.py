"""The metrics of activities. The Temporal SDK exports them, by OTLP or to Prometheus.

The endpoint of the SDK for Prometheus rejects dots in names. So metrics of the conventions have two
spellings. Those of outlast have underscores and their unit in the name, as all metrics of the SDK.
"""

import itertools
from collections.abc import Mapping

from temporalio import activity
from temporalio.common import MetricHistogramFloat

from outlast_activities.attempt_protocol import waited_s
from outlast_activities.telemetry import conventions as names

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
COSTS = (0.0001, 0.001, 0.01, 0.1, 1, 10, 100)
WAITS = (1, 10, 60, 300, 900, 3600, 14400, 86400, 604800)

Labels = Mapping[str, str | int]


MAX_SERIES = 4_096
"""Series of metrics that a worker keeps at hand. With more, it begins anew: none is lost."""


class ActivityMetrics:
    """Records the metrics of a worker's activities, spelled `for_prometheus` or for OTLP.

    The SDK makes a meter for each activity. An instrument with its labels is the larger part of the cost of
    a record, so this class makes each only once.
    """

    def __init__(self, *, for_prometheus: bool = False) -> None:
        self._for_prometheus = for_prometheus
        self._series: dict[object, MetricHistogramFloat] = {}

    def record_operation(self, seconds: float, labels: Labels) -> None:
        """Record the duration of one prompt."""
        self._record(names.OPERATION_DURATION, seconds, labels)

    def record_tokens(self, prompt: int, completion: int, labels: Labels) -> None:
        """Record the tokens of one prompt and its answer."""
        for kind, count in (("input", prompt), ("output", completion)):
            self._record(names.TOKEN_USAGE, count, {**labels, names.TOKEN_TYPE: kind})

    def record_tool(self, seconds: float, *, tool: str, error_type: str) -> None:
        """Record the duration of one attempt of a tool call; `error_type` is empty if it succeeded."""
        self._record(names.TOOL_DURATION, seconds, {"tool": tool, "error_type": error_type})

    def record_queue_wait(self) -> None:
        """Record how long this attempt waited for a worker. A local activity does not wait."""
        if not activity.info().is_local:
            self._record(names.QUEUE_WAIT, waited_s(), {})

    def _record(self, name: str, value: float, labels: Labels) -> None:
        if not activity.in_activity():
            return
        info = activity.info()
        key = (info.activity_type, info.task_queue, name, *labels.items())
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= MAX_SERIES:
                self._series.clear()
            series = self._series[key] = self._new_series(name, labels)
        series.record(value)

    def _new_series(self, name: str, labels: Labels) -> MetricHistogramFloat:
        unit, text = _DESCRIPTIONS[name]
        if self._for_prometheus and "." in name:
            name, unit = prometheus_name(name), None
            # All series of a metric have the same labels there. An empty one counts as absent.
            spelled = {key.replace(".", "_"): value for key, value in labels.items()}
            labels = {**_OPTIONAL, **spelled}
        histogram = activity.metric_meter().create_histogram_float(name, text, unit)
        return histogram.with_additional_attributes(dict(labels))


def prometheus_name(name: str) -> str:
    """Return how Prometheus spells a metric of the conventions."""
    suffix = "_seconds" if name.endswith(".duration") else ""
    return f"{name.replace('.', '_')}{suffix}"


def count_repeated_prompt(*, failure: str, remedy: str) -> None:
    """Count a prompt that follows a wrong answer."""
    if not activity.in_activity():
        return
    text = "Prompts that followed a wrong answer, by the class of the failure."
    counter = activity.metric_meter().create_counter(names.PROMPTS_REPEATED, text)
    counter.add(1, {"error_type": failure, "remedy": remedy})


_OPTIONAL = {
    label.replace(".", "_"): ""
    for label in (names.ERROR_TYPE, names.REQUEST_MODEL, names.RESPONSE_MODEL)
}

_DESCRIPTIONS: Mapping[str, tuple[str | None, str]] = {
    names.OPERATION_DURATION: ("s", "GenAI operation duration."),
    names.TOKEN_USAGE: ("{token}", "Number of input and output tokens used."),
    names.TOOL_DURATION: (None, "Duration of an attempt of a tool call."),
    names.QUEUE_WAIT: (None, "Time that an attempt waited for a worker."),
}
"""The unit and the text of each histogram. Units of outlast's own metrics are in their names."""

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
