"""Spans of the requests that the gateway serves, by OpenTelemetry's conventions of HTTP servers."""

from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.trace import Span, SpanKind, StatusCode
from outlast_activities.telemetry import conventions as names
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNTRACED = ("/healthz", "/hub/answers")
"""Requests of platforms and of workers. Each worker sends several a second while models write."""


class HttpSpans:
    """Makes a span of each request, as a child of the span in its header `traceparent`.

    The span ends when the response begins, because a stream of events can stay open for days. What the
    request starts, such as a run, is part of its trace.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tracer = trace.get_tracer(names.SCOPE, schema_url=names.SCHEMA_URL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        span = self._tracer.start_span(
            scope["method"],
            context=extract(Headers(scope=scope)),
            kind=SpanKind.SERVER,
            attributes={names.HTTP_METHOD: scope["method"]},
        )

        async def send_in_span(message: Message) -> None:
            if message["type"] == "http.response.start":
                _end(span, scope, message["status"])
            await send(message)

        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                await self._app(scope, receive, send_in_span)
        except BaseException as error:
            span.set_attribute(names.ERROR_TYPE, type(error).__name__)
            span.set_status(StatusCode.ERROR)
            raise
        finally:
            if span.is_recording():
                span.end()


def _end(span: Span, scope: Scope, status: int) -> None:
    route = _route(scope)
    if route is not None:
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute(names.HTTP_ROUTE, route)
    span.set_attribute(names.HTTP_STATUS, status)
    if status >= 500:
        span.set_attribute(names.ERROR_TYPE, str(status))
        span.set_status(StatusCode.ERROR)
    span.end()


def _route(scope: Scope) -> str | None:
    """Return the path of a request with the names of its parameters, such as `/v1/runs/{id}`."""
    if "endpoint" not in scope:
        return None
    segments = scope["path"].split("/")
    for name, value in scope.get("path_params", {}).items():
        if str(value) not in segments:
            return None
        segments[segments.index(str(value))] = f"{{{name}}}"
    return "/".join(segments)
