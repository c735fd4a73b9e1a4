"""An OTLP/HTTP collector that keeps what it receives, and refuses what the protocol does not allow.

The rules are those of the protocol's files of `opentelemetry-proto` 1.45.2: bodies of the generated types,
ids of 16 and 8 bytes that are not all zero, an end that is not before the start, names that are not empty,
no attribute twice, and a resource with `service.name`. Prometheus needs `service.instance.id` too, to tell
processes apart.
"""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it arrived."""

    service: str
    instance: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    events: tuple[str, ...]
    failed: bool
    message: str
    started_ns: int
    ended_ns: int


class Receiver(ThreadingHTTPServer):
    """The collector. `delay_s` makes it one that hangs."""

    def __init__(self, delay_s: float = 0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.delay_s = delay_s
        self.paths: set[str] = set()
        self.headers: list[dict[str, str]] = []
        self.spans: list[ReceivedSpan] = []
        self.metrics: set[str] = set()
        self.labels: dict[str, set[str]] = {}
        self.resources: list[dict[str, Any]] = []
        self.bounds: dict[str, tuple[float, ...]] = {}
        self.problems: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def named(self, prefix: str) -> list[ReceivedSpan]:
        return [span for span in list(self.spans) if span.name.startswith(prefix)]

    def keep_metrics(self, body: bytes) -> None:
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            self.resources.append(
                {each.key: plain(each.value) for each in resource.resource.attributes}
            )
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self._refuse_if(not metric.name, "a metric without a name")
                    self.metrics.add(metric.name)
                    kind = metric.WhichOneof("data")
                    self._refuse_if(kind is None, f"{metric.name} has no data")
                    points = getattr(metric, kind or "").data_points
                    keys = {each.key for point in points for each in point.attributes}
                    self.labels.setdefault(metric.name, set()).update(keys)
                    if kind == "histogram":
                        self.bounds[metric.name] = tuple(points[0].explicit_bounds)

    def keep_spans(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            of_resource = {each.key: plain(each.value) for each in resource.resource.attributes}
            for name in ("service.name", "service.instance.id"):
                self._refuse_if(not of_resource.get(name), f"a resource without {name}")
            for scope in resource.scope_spans:
                self.spans += [self._span(of_resource, span) for span in scope.spans]

    def _span(self, resource: dict[str, Any], span: Any) -> ReceivedSpan:
        self._refuse_if(len(span.trace_id) != 16 or not any(span.trace_id), "a wrong trace id")
        self._refuse_if(len(span.span_id) != 8 or not any(span.span_id), "a wrong span id")
        self._refuse_if(len(span.parent_span_id) not in (0, 8), "a wrong parent id")
        self._refuse_if(not span.name, "a span without a name")
        self._refuse_if(
            span.end_time_unix_nano < span.start_time_unix_nano, "an end before the start"
        )
        keys = [each.key for each in span.attributes]
        self._refuse_if(len(keys) != len(set(keys)), "an attribute twice")
        return ReceivedSpan(
            service=resource["service.name"],
            instance=resource["service.instance.id"],
            name=span.name,
            kind=span.kind,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            attributes={each.key: plain(each.value) for each in span.attributes},
            links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
            events=tuple(event.name for event in span.events),
            failed=span.status.code == 2,
            message=span.status.message,
            started_ns=span.start_time_unix_nano,
            ended_ns=span.end_time_unix_nano,
        )

    def _refuse_if(self, is_wrong: bool, problem: str) -> None:
        if is_wrong:
            self.problems.append(problem)
            raise ValueError(problem)


def plain(value: AnyValue) -> Any:
    """Return a value of an attribute as Python's own."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None


class Handler(BaseHTTPRequestHandler):
    server: Receiver
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        server = self.server
        server.paths.add(self.path)
        server.headers.append({name.lower(): value for name, value in self.headers.items()})
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        status = 200
        try:
            if self.headers["Content-Type"] != "application/x-protobuf":
                raise ValueError(f"a body of type {self.headers['Content-Type']}")
            {"/v1/metrics": server.keep_metrics, "/v1/traces": server.keep_spans}[self.path](body)
        except (ValueError, KeyError) as error:
            server.problems.append(repr(error))
            status = 400
        time.sleep(server.delay_s)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def receiving(delay_s: float = 0) -> Iterator[Receiver]:
    with Receiver(delay_s) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()
    assert not receiver.problems
