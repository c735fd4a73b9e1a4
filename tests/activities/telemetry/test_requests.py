"""Which hosts get the trace, and the headers and spans of requests."""

import asyncio
import contextlib
from collections.abc import Iterator

import httpx2
import pytest
from opentelemetry import context as otel_context
from outlast_activities.telemetry.requests import (
    TRACE_HOSTS,
    trace_headers,
    trace_request,
)
from outlast_activities.telemetry.run_traces import context_of, run_span
from outlast_activities.telemetry.spans import error_type
from temporalio.testing import ActivityEnvironment


@pytest.fixture(autouse=True)
def in_a_run() -> Iterator[None]:
    """Run a test in the trace of a run."""
    token = otel_context.attach(context_of(run_span("run", None)))
    yield
    otel_context.detach(token)
    TRACE_HOSTS.limit(None)


@pytest.mark.parametrize(
    ("hosts", "url", "gets_it"),
    [
        (None, "https://api.example.com/v1", True),
        ((), "https://api.example.com/v1", False),
        (("example.com",), "https://example.com", True),
        (("example.com",), "https://api.example.com:8443/v1?q=1", True),
        (("Example.com",), "https://API.example.COM", True),
        (("example.com",), "https://example.com.", True),
        (("api.example.com",), "https://example.com", False),
        (("example.com",), "https://notexample.com", False),
        (("example.com",), "https://other.test/example.com", False),
        (("10.0.0.1",), "http://10.0.0.1:8000/v1", True),
        (("::1",), "http://[::1]:8000/v1", True),
    ],
)
def test_a_host_gets_the_trace_if_it_or_its_parent_is_listed(
    hosts: tuple[str, ...] | None, url: str, *, gets_it: bool
) -> None:
    TRACE_HOSTS.limit(hosts)
    assert ("traceparent" in trace_headers(url)) == gets_it


async def test_a_redirect_to_another_host_loses_the_trace() -> None:
    """`httpx2` calls the hook for each request of a chain, with the headers of the one before."""
    TRACE_HOSTS.limit(("own.test",))
    seen: dict[str, bool] = {}

    def answered(request: httpx2.Request) -> httpx2.Response:
        seen[request.url.host] = "traceparent" in request.headers
        if request.url.host == "own.test":
            return httpx2.Response(307, headers={"location": "https://other.test/"})
        return httpx2.Response(200)

    async with httpx2.AsyncClient(
        transport=httpx2.MockTransport(answered),
        event_hooks={"request": [trace_request]},
        follow_redirects=True,
    ) as http:
        await http.get("https://own.test/")
    assert seen == {"own.test": True, "other.test": False}


async def kind_of_end(within_s: float) -> str:
    """Return the type of the error that ends a request."""
    kind = ""
    with contextlib.suppress(TimeoutError, asyncio.CancelledError):
        async with asyncio.timeout(within_s):
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError as error:
                kind = error_type(error)
                raise
    return kind


async def test_a_timeout_and_a_cancelled_activity_differ() -> None:
    assert await ActivityEnvironment().run(kind_of_end, 0.01) == "timeout"
    environment = ActivityEnvironment()
    running = asyncio.ensure_future(environment.run(kind_of_end, 30))
    await asyncio.sleep(0.01)
    environment.cancel()
    assert await running == "cancelled"
