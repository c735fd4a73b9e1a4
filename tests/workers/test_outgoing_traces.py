"""The header `traceparent` of each call that leaves a worker, as the servers receive it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry import trace
from outlast_activities.telemetry.run_traces import trace_id_of
from temporalio.client import Client as TemporalClient

from bench.scripted_model_server import ScriptedModelServer, Steps
from outlast import Client
from tests.acceptance.processes import WorkerUnderTest
from tests.fakes.otlp_receiver import ReceivedSpan, Receiver, receiving
from tests.stage import pending
from tests.workers.call_receiver import CallReceiver
from tests.workers.test_traces import ANSWER, calling, check_names

CLIENT = 3
"""`SPAN_KIND_CLIENT` of OTLP."""

OWN = "00-11111111111111111111111111111111-2222222222222222-01"
"""The `traceparent` that a document sets itself."""


@dataclass
class Site:
    """A worker process, its model server, the servers that its runs call, and its collector."""

    temporal: TemporalClient
    queue: str
    model: ScriptedModelServer
    called: CallReceiver
    collector: Receiver

    def url(self, path: str) -> str:
        return f"{self.called.url}{path}"

    async def run_agent(self) -> str:
        """Run the agent; return the id of the run."""
        run = await Client(self.temporal).start("caller", "go", task_queue=self.queue)
        request = await pending(run)
        async with asyncio.timeout(30):
            while "hook" not in self.called.paths:
                await asyncio.sleep(0.05)
        await run.approve(request, by="ann")
        await run.result()
        return run.first_execution_run_id or ""

    async def run_pipeline(self, *tasks: dict[str, Any]) -> str:
        """Run a pipeline; return the id of the run."""
        header = {"dsl": "1.0.3", "namespace": "test", "name": "caller", "version": "1.0.0"}
        handle = await self.temporal.start_workflow(
            "PipelineWorkflow",
            {"pipeline": {"document": header, "do": list(tasks)}},
            id=f"{self.queue}-pipeline",
            task_queue=self.queue,
        )
        await handle.result()
        return handle.first_execution_run_id or ""


@asynccontextmanager
async def site(
    temporal: TemporalClient, tmp_path: Path, queue: str, **settings: str
) -> AsyncIterator[Site]:
    steps = Steps(calling("listPets"), calling("notes_read"), calling("refund", order="A1"), ANSWER)
    with receiving() as collector:
        async with CallReceiver().open() as called, ScriptedModelServer(steps) as model:
            worker = WorkerUnderTest(
                address=temporal.service_client.config.target_host,
                model_url=model.url,
                agents="tests.workers.calling_agents",
                log=tmp_path / "worker.log",
                settings={
                    **{f"OUTLAST_QUEUES__{role}": queue for role in ("WORKFLOWS", "GENERATE")},
                    "OUTLAST_QUEUES__TOOLS": queue,
                    "OUTLAST_OTLP_ENDPOINT": collector.endpoint,
                    "OUTLAST_AUDIENCES": json.dumps({"leads": {"webhook": f"{called.url}/hook"}}),
                    "OUTLAST_HTTP__HOSTS": called.url,
                    "RECEIVER_URL": called.url,
                    **settings,
                },
            )
            await worker.start()
            called.received.clear()  # the lists of tools of MCP: no run made these calls
            try:
                yield Site(temporal, queue, model, called, collector)
            finally:
                await worker.terminate()


def http(uri: str, **more: Any) -> dict[str, Any]:
    return {"call": "http", "with": {"method": "get", "endpoint": uri, **more}}


def pipeline_of(on: Site) -> list[dict[str, Any]]:
    """Return tasks that make a call of each kind."""
    document = {"endpoint": on.url("/openapi.json")}
    message = {"parts": [{"kind": "text", "text": "hello"}]}
    to_agent = {"agentCard": {"endpoint": on.url("/card")}, "parameters": {"message": message}}
    to_server = {"server": "notes", "method": "tools/call", "parameters": {"name": "read"}}
    missing = {"try": [{"get": http(on.url("/missing"))}], "catch": {}}
    return [
        {"plain": http(on.url("/pets/list"))},
        {"moved": http(on.url("/moved"), redirect=True)},
        {"missing": missing},
        {"openapi": {"call": "openapi", "with": {"document": document, "operationId": "listPets"}}},
        {"ask": {"call": "a2a", "with": {"method": "message/send", **to_agent}}},
        {"notes": {"call": "mcp", "with": to_server}},
    ]


def parents_of(on: Site) -> list[tuple[str, ReceivedSpan]]:
    """Return the path of each request to the servers, with the span that its header names."""
    spans = {(span.trace_id, span.span_id): span for span in on.collector.spans}
    found: list[tuple[str, ReceivedSpan]] = []
    for path, headers in on.called.received:
        version, trace_id, span_id, flags = headers["traceparent"].split("-")
        assert (version, flags) == ("00", "01")
        found.append((path, spans[trace_id, span_id]))
    return found


async def test_each_call_of_an_agent_carries_the_trace_of_its_run(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    async with site(temporal, tmp_path, "outgoing-agent") as on:
        run_id = await on.run_agent()
    assert on.called.paths == {"pets", "mcp", "hook"}
    parents = parents_of(on)
    assert {span.trace_id for _, span in parents} == {trace.format_trace_id(trace_id_of(run_id))}
    assert {(path, span.name) for path, span in parents} == {
        ("/pets/list", "GET"),
        ("/mcp", "MCP send tools/call read"),
        ("/hook", "notify leads"),
    }
    (meta,) = on.called.metas
    (sent,) = {headers["traceparent"] for path, headers in on.called.received if path == "/mcp"}
    assert meta["traceparent"] == sent
    prompts = [
        each.headers["traceparent"] for each in on.model.requests if "traceparent" in each.headers
    ]
    chats = {f"00-{span.trace_id}-{span.span_id}-01" for span in on.collector.named("chat")}
    assert set(prompts) == chats
    assert len(chats) == 4


async def test_each_call_of_a_pipeline_carries_the_trace_of_its_run(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    async with site(temporal, tmp_path, "outgoing-pipeline") as on:
        run_id = await on.run_pipeline(*pipeline_of(on))
    assert on.called.paths == {"pets", "moved", "missing", "openapi.json", "card", "rpc", "mcp"}
    parents = parents_of(on)
    assert {span.trace_id for _, span in parents} == {trace.format_trace_id(trace_id_of(run_id))}
    assert {span.kind for _, span in parents} == {CLIENT}
    by_id = {span.span_id: span for span in on.collector.spans}
    calls = {path: by_id[span.parent_id].name for path, span in parents}
    assert calls == {
        "/pets/list": "execute_tool call_http_read",
        "/moved": "execute_tool call_http_read",
        "/missing": "execute_tool call_http_read",
        "/openapi.json": "execute_tool find_openapi_operation",
        "/card": "execute_tool find_a2a_agent",
        "/rpc": "execute_tool call_a2a_idempotent",
        "/mcp": "execute_tool notes_read",
    }
    tasks = {path: by_id[span.parent_id].attributes["outlast.task"] for path, span in parents}
    assert tasks == {
        "/pets/list": "/do/3/openapi",
        "/moved": "/do/1/moved",
        "/missing": "/do/2/missing/try/0/get",
        "/openapi.json": "/do/3/openapi",
        "/card": "/do/4/ask",
        "/rpc": "/do/4/ask",
        "/mcp": "/do/5/notes",
    }
    # A call of an agent has two activities or more, and waits in between.
    (asked,) = on.collector.named("call ask")
    assert asked.attributes["outlast.task"] == "/do/4/ask"
    (missing,) = [span for path, span in parents if path == "/missing"]
    assert missing.failed
    assert missing.attributes["error.type"] == "404"
    assert missing.attributes["http.response.status_code"] == 404
    assert missing.attributes["server.address"] == "127.0.0.1"
    assert missing.attributes["server.port"] == on.called.port
    check_names([span for _, span in parents if not span.name.startswith("MCP")])


async def test_a_document_sets_the_header_itself(temporal: TemporalClient, tmp_path: Path) -> None:
    async with site(temporal, tmp_path, "outgoing-own") as on:
        await on.run_pipeline({"own": http(on.url("/pets/list"), headers={"traceparent": OWN})})
    assert [headers["traceparent"] for _, headers in on.called.received] == [OWN]


async def test_hosts_that_are_not_listed_get_no_trace(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    """The spans of the worker are complete nevertheless."""
    hosts = {"OUTLAST_TRACE_HOSTS": "example.com, 10.0.0.1"}
    async with site(temporal, tmp_path, "outgoing-limited", **hosts) as on:
        run_id = await on.run_agent()
        await on.run_pipeline(*pipeline_of(on))
    assert on.called.paths > {"pets", "mcp", "hook", "rpc"}
    requests = [
        *(headers for _, headers in on.called.received),
        *(each.headers for each in on.model.requests),
    ]
    sent = {name for headers in requests for name in headers}
    assert not sent & {"traceparent", "tracestate", "baggage"}
    assert not any({"traceparent", "tracestate"} & meta.keys() for meta in on.called.metas)
    assert len(on.called.metas) == 2
    spans = on.collector.named("MCP send tools/call read") + on.collector.named("GET")
    assert trace.format_trace_id(trace_id_of(run_id)) in {span.trace_id for span in spans}


async def test_another_propagator_takes_its_place(temporal: TemporalClient, tmp_path: Path) -> None:
    """`none` is one that all installations have."""
    async with site(temporal, tmp_path, "outgoing-none", OTEL_PROPAGATORS="none") as on:
        run_id = await on.run_agent()
    assert not any("traceparent" in headers for _, headers in on.called.received)
    assert {span.trace_id for span in on.collector.named("chat")} == {
        trace.format_trace_id(trace_id_of(run_id))
    }
