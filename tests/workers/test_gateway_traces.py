"""A trace that begins at a client of the gateway, and goes on in the run: for each interface."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
from mcp.client.client import Client as McpClient
from mcp.client.streamable_http import streamable_http_client
from temporalio.client import Client as TemporalClient

from bench.scripted_model_server import Request, Step
from outlast.contracts.names import AGENTS_QUEUE
from tests.conditions import until
from tests.fakes.otlp_receiver import receiving
from tests.workers.test_traces import calling, check_tree, gateway, parent_name, worker

CALLER = "000000000000beef"
"""The span of the client."""


def decided(request: Request) -> Step:
    """Look up an order, and answer."""
    return Step(
        '{"answer":"done"}' if request.assistant_messages else calling("look_up", order="1")
    )


Ask = Callable[[httpx2.AsyncClient], Awaitable[None]]


async def plain(http: httpx2.AsyncClient) -> None:
    await _post(http, "/runs", agent="clerk", input="go")


async def responses(http: httpx2.AsyncClient) -> None:
    await _post(http, "/v1/responses", model="clerk", input="go")


async def streamed_response(http: httpx2.AsyncClient) -> None:
    await _post(http, "/v1/responses", model="clerk", input="go", stream=True)


async def completions(http: httpx2.AsyncClient) -> None:
    messages = [{"role": "user", "content": "go"}]
    await _post(http, "/v1/chat/completions", model="clerk", messages=messages)


async def streamed_completion(http: httpx2.AsyncClient) -> None:
    messages = [{"role": "user", "content": "go"}]
    await _post(http, "/v1/chat/completions", model="clerk", messages=messages, stream=True)


async def agui(http: httpx2.AsyncClient) -> None:
    messages = [{"id": "1", "role": "user", "content": "go"}]
    rest: dict[str, object] = {"tools": [], "context": [], "state": {}, "forwardedProps": {}}
    await _post(http, "/agui/clerk", threadId="agui", runId="1", messages=messages, **rest)


async def ai_sdk(http: httpx2.AsyncClient) -> None:
    message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "go"}]}
    await _post(http, "/ai/clerk", id="ai-sdk", messages=[message], trigger="submit-message")


async def a2a(http: httpx2.AsyncClient) -> None:
    await _a2a(http, "SendMessage")


async def streamed_a2a(http: httpx2.AsyncClient) -> None:
    await _a2a(http, "SendStreamingMessage")


async def mcp(http: httpx2.AsyncClient) -> None:
    await _mcp(http, "auto")


async def legacy_mcp(http: httpx2.AsyncClient) -> None:
    await _mcp(http, "legacy")


async def _post(http: httpx2.AsyncClient, path: str, **body: object) -> None:
    reply = await http.post(path, json=body)
    assert reply.is_success, reply.text


async def _a2a(http: httpx2.AsyncClient, method: str) -> None:
    message = {"messageId": method, "role": "ROLE_USER", "parts": [{"text": "go"}]}
    http.headers["a2a-version"] = "1.0"
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message}}
    await _post(http, "/a2a/clerk", **body)


async def _mcp(http: httpx2.AsyncClient, mode: str) -> None:
    transport = streamable_http_client(f"{http.base_url}/mcp", http_client=http)
    async with McpClient(transport, mode=mode) as client:
        result = await client.call_tool("clerk", {"input": "go"})
    assert not result.is_error, result


INTERFACES: dict[Ask, str] = {
    plain: "POST /runs",
    responses: "POST /v1/responses",
    streamed_response: "POST /v1/responses",
    completions: "POST /v1/chat/completions",
    streamed_completion: "POST /v1/chat/completions",
    agui: "POST /agui/{agent}",
    ai_sdk: "POST /ai/{agent}",
    a2a: "POST /a2a/{agent}",
    streamed_a2a: "POST /a2a/{agent}",
    mcp: "tools/call clerk",
    legacy_mcp: "tools/call clerk",
}
"""How a client of each interface starts a run, and the span that is the parent of the run."""

REQUESTS = {**INTERFACES, mcp: "POST /mcp", legacy_mcp: "POST /mcp"}
"""The spans of the gateway. MCP's SDK makes spans of its own below them."""


async def test_a_run_is_in_the_trace_of_the_client_that_starts_it(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    traces = {ask: f"{number:032x}" for number, ask in enumerate(INTERFACES, 1)}
    with receiving() as collector:
        async with (
            worker(temporal, tmp_path, collector, decided, {}, queue=AGENTS_QUEUE),
            gateway(temporal, tmp_path, collector) as url,
        ):
            for ask, trace_id in traces.items():
                headers = {"traceparent": f"00-{trace_id}-{CALLER}-01"}
                async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as http:
                    await ask(http)
            async with httpx2.AsyncClient(base_url=url) as http:
                await http.post("/hub/answers", json={})  # as workers do, several times a second
            chats = len(traces) * 2
            await until(lambda: len(collector.named("chat")) == chats)
    for ask, trace_id in traces.items():
        spans = [span for span in collector.spans if span.trace_id == trace_id]
        check_tree(spans, CALLER)
        (begun,) = (span for span in spans if span.name.startswith("invoke_agent"))
        assert parent_name(spans, begun) == INTERFACES[ask], ask
        of_run = [span.name for span in spans if parent_name(spans, span) == begun.name]
        assert sorted(of_run) == ["chat scripted", "chat scripted", "execute_tool look_up"], ask
        assert {span.name for span in spans if span.parent_id == CALLER} == {REQUESTS[ask]}
    of_gateway = {span.trace_id for span in collector.spans if span.service == "outlast-gateway"}
    assert of_gateway == set(traces.values())
