"""The trace in the HTTP requests of activities: the span of a request, and its header `traceparent`.

The propagator of OpenTelemetry writes the headers, so `OTEL_PROPAGATORS` configures them. Only activities
send requests, so a replay sends none.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.propagate import get_global_textmap, inject
from opentelemetry.trace import Span, SpanKind, StatusCode

from outlast_activities.telemetry import conventions as names
from outlast_activities.telemetry.spans import Attributes, current_span

if TYPE_CHECKING:
    import httpx2

_PORTS = {"http": 80, "https": 443}


class _TraceHosts:
    """The hosts that get the trace, in the whole process, as the propagator is one for the process."""

    def __init__(self) -> None:
        self._hosts: tuple[str, ...] | None = None

    def limit(self, hosts: Iterable[str] | None) -> None:
        """Send the trace to these hosts and their subdomains only, or to all without a list."""
        self._hosts = None if hosts is None else tuple(map(_plain, hosts))

    def __contains__(self, host: str) -> bool:
        if self._hosts is None:
            return True
        host = _plain(host)
        return any(host == each or host.endswith(f".{each}") for each in self._hosts)


def _plain(host: str) -> str:
    return host.lower().removesuffix(".")


TRACE_HOSTS = _TraceHosts()


def trace_headers(url: str) -> dict[str, str]:
    """Return the headers by which the server of a URL continues the trace; none if it may not get it."""
    headers: dict[str, str] = {}
    if (urlsplit(url).hostname or "") in TRACE_HOSTS:
        inject(headers)
    return headers


def trace_fields() -> frozenset[str]:
    """Return the names of the headers that hold a trace."""
    return frozenset(get_global_textmap().fields)


async def trace_request(request: "httpx2.Request") -> None:
    """Add the headers of the trace to a request. A hook of `httpx2`, which also calls it for a redirect."""
    for name in trace_fields():
        request.headers.pop(name, None)
    request.headers.update(trace_headers(str(request.url)))


class RequestSpan:
    """The span of one HTTP request."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def complete(self, status: int) -> None:
        """Add the status of the response. Those of errors are errors of a client."""
        self._span.set_attribute(names.HTTP_STATUS, status)
        if status >= 400:
            self._span.set_attribute(names.ERROR_TYPE, str(status))
            self._span.set_status(StatusCode.ERROR)


@contextmanager
def request_span(method: str, url: str) -> Iterator[RequestSpan]:
    """Make the span of one request. It has no path and no query, because they can hold data."""
    parts = urlsplit(url)
    attributes: Attributes = {
        names.HTTP_METHOD: method,
        names.SERVER_ADDRESS: parts.hostname or "",
        names.SERVER_PORT: parts.port or _PORTS.get(parts.scheme, 0),
    }
    tracer = trace.get_tracer(names.SCOPE, schema_url=names.SCHEMA_URL)
    span = tracer.start_span(method, kind=SpanKind.CLIENT, attributes=attributes)
    with current_span(span, {}):
        yield RequestSpan(span)
