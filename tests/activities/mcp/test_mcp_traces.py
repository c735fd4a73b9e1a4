"""The trace in the requests to an MCP server over HTTP."""

import asyncio

from opentelemetry import context as otel_context
from outlast_activities.mcp.connections import McpConnection
from outlast_activities.telemetry.run_traces import context_of, run_span

from outlast import McpServer
from tests.workers.call_receiver import CallReceiver


async def test_a_connection_has_no_part_in_the_trace_of_the_call_that_opens_it() -> None:
    """It serves the calls of other runs later, and would send the first trace with its own requests."""
    async with CallReceiver().open() as called:
        server = McpServer("notes", url=f"{called.url}/mcp")
        connection = McpConnection(server, asyncio.get_running_loop())
        token = otel_context.attach(context_of(run_span("run", None)))
        try:
            await connection.call("read", {}, {})
        finally:
            otel_context.detach(token)
            await connection.aclose()
    sent = [headers.get("traceparent") for _, headers in called.received]
    assert len(sent) > 1
    assert [each is not None for each in sent] == [False] * (len(sent) - 1) + [True]
