"""The trace of a run, as a collector receives it from a real worker process."""

import contextlib
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.trace import StatusCode
from outlast_activities.telemetry.run_traces import span_id_of, trace_id_of
from outlast_workers.local.ports import free_port
from outlast_workers.tracing import MCP_SCOPE, without_texts
from temporalio.client import Client as TemporalClient

from bench.scripted_model_server import Script, ScriptedModelServer, Steps
from outlast import Client
from outlast.contracts.names import AGENTS_QUEUE
from tests.acceptance.processes import ProcessUnderTest, WorkerUnderTest
from tests.conditions import until
from tests.fakes.otlp_receiver import ReceivedSpan, Receiver, receiving

OTHERS = {
    "error.type",
    "server.address",
    "server.port",
    "http.request.method",
    "http.response.status_code",
    "http.route",
}
"""The stable names of OpenTelemetry's general conventions."""

KNOWN = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}


LABELS = {
    *("activity_type", "agent", "error_type", "le", "namespace", "remedy", "service_instance_id"),
    *("service_name", "task_queue", "tool", "workflow_type", "server_address", "server_port"),
    *("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"),
    *("gen_ai_response_model", "gen_ai_token_type"),
}
"""The labels of our metrics: none has a value for each run or tenant."""


def calling(tool: str, **arguments: object) -> str:
    return json.dumps({"tool_calls": [{"tool": tool, "arguments": arguments}]})


ANSWER = '{"answer":"CANARY-ANSWER"}'


@asynccontextmanager
async def worker(
    temporal: TemporalClient,
    tmp_path: Path,
    receiver: Receiver,
    script: Script,
    settings: Mapping[str, str],
    *,
    queue: str,
    agents: str = "tests.workers.traced_agents",
) -> AsyncIterator[ScriptedModelServer]:
    """Run a worker process, and yield its model server."""
    async with ScriptedModelServer(script) as model:
        process = WorkerUnderTest(
            address=temporal.service_client.config.target_host,
            model_url=model.url,
            agents=agents,
            log=tmp_path / "worker.log",
            settings={
                **{f"OUTLAST_QUEUES__{role}": queue for role in ("WORKFLOWS", "GENERATE", "TOOLS")},
                "OUTLAST_OTLP_ENDPOINT": receiver.endpoint,
                **settings,
            },
        )
        await process.start()
        try:
            yield model
        finally:
            await process.terminate()


CALLER = "00-000000000000000000000000c0ffee00-000000000000beef-01"
"""The span of a program that starts a run through the gateway."""


@asynccontextmanager
async def gateway(
    temporal: TemporalClient, tmp_path: Path, receiver: Receiver
) -> AsyncIterator[str]:
    """Run a gateway process, and yield its URL."""
    port = free_port()
    environment = {
        **os.environ,
        "TEMPORAL_ADDRESS": temporal.service_client.config.target_host,
        "OUTLAST_AGENTS": "tests.workers.traced_agents",
        "OUTLAST_GATEWAY__PORT": str(port),
        "OUTLAST_OTLP_ENDPOINT": receiver.endpoint,
        "OUTLAST_LOG_FORMAT": "json",
    }
    log = tmp_path / "gateway.log"
    process = ProcessUnderTest("gateway", environment, log=log, ready="gateway.started")
    await process.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await process.terminate()


def check_names(spans: list[ReceivedSpan]) -> None:
    """Assert that each attribute has a name of the conventions, of Temporal's SDKs, or of ours."""
    for span in spans:
        others = {name for name in span.attributes if not name.startswith(("outlast.", "temporal"))}
        assert others <= KNOWN | OTHERS, span


def check_tree(spans: list[ReceivedSpan], root_parent: str = "") -> None:
    """Assert that spans are one trace, each of them once, with all parents."""
    assert len({span.trace_id for span in spans}) == 1
    known = {span.span_id for span in spans}
    assert len(known) == len(spans)
    assert {span.parent_id for span in spans} <= known | {root_parent}


def check_wait(receiver: Receiver) -> None:
    """Assert that the notice has a link to the wait for a person, whose span came with the outcome."""
    (notified,), (waited,) = receiver.named("notify"), receiver.named("wait_for_person")
    assert notified.links == ((waited.trace_id, waited.span_id),)
    assert waited.started_ns <= notified.started_ns <= waited.ended_ns
    assert waited.attributes["outlast.outcome"] == "approved"
    assert waited.attributes["gen_ai.tool.name"] == "refund"


def parent_name(spans: list[ReceivedSpan], span: ReceivedSpan) -> str:
    return next((each.name for each in spans if each.span_id == span.parent_id), span.parent_id)


SCRIPT = (
    calling("look_up", order="A1"),
    calling("lose", order="A2"),
    calling("helper", input="help"),
    calling("look_up", order="A3"),
    ANSWER,
    calling("refund", order="A4"),
    ANSWER,
)


async def test_a_run_is_one_trace_from_its_caller_to_its_model_server(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    """Through the gateway, with a failing tool, a called agent, a wait for a person, without a cache."""
    settings = {
        "OUTLAST_CONCURRENCY__CACHED_WORKFLOWS": "0",
        "OUTLAST_TRACE_INTERVAL_S": "0.5",
        "OUTLAST_AUDIENCES": json.dumps({"leads": {"log": True}}),
    }
    with receiving() as receiver:
        async with (
            worker(
                temporal, tmp_path, receiver, Steps(*SCRIPT), settings, queue=AGENTS_QUEUE
            ) as model,
            gateway(temporal, tmp_path, receiver) as url,
            httpx2.AsyncClient(base_url=url) as http,
        ):
            body = {"agent": "clerk", "input": "go CANARY-PROMPT"}
            started = await http.post("/runs", json=body, headers={"traceparent": CALLER})
            # What a person sees while the run waits for them, perhaps for days.
            await until(lambda: receiver.named("notify") and len(receiver.named("chat")) == 6)
            await until(lambda: receiver.named("POST"))
            check_tree(receiver.spans, "000000000000beef")
            run = Client(temporal).get(started.json()["id"])
            (
                request,
            ) = await run.pending_requests()  # it still waits: the spans did not need its end
            await run.approve(request, by="ann")
            result = await run.result()
        requests = list(model.requests)
    assert result.output == "CANARY-ANSWER"
    spans = receiver.spans
    check_tree(spans, "000000000000beef")
    assert spans[0].trace_id == "000000000000000000000000c0ffee00"
    assert sorted((span.name, parent_name(spans, span)) for span in spans) == sorted(
        [
            ("POST /runs", "000000000000beef"),
            ("invoke_agent clerk", "POST /runs"),
            ("invoke_agent helper", "invoke_agent clerk"),
            *[("chat scripted", "invoke_agent clerk")] * 5,
            *[("chat scripted", "invoke_agent helper")] * 2,
            ("execute_tool look_up", "invoke_agent clerk"),
            ("execute_tool lose", "invoke_agent clerk"),
            ("execute_tool refund", "invoke_agent clerk"),
            ("execute_tool look_up", "invoke_agent helper"),
            ("notify leads", "invoke_agent clerk"),
            ("wait_for_person leads", "invoke_agent clerk"),
        ]
    )
    check_names(spans)
    check_wait(receiver)
    assert "CANARY" not in repr([(span.attributes, span.message, span.events) for span in spans])

    chat = receiver.named("chat")[0].attributes
    assert chat["gen_ai.operation.name"] == "chat"
    assert chat["gen_ai.agent.name"] == "clerk"
    assert chat["gen_ai.conversation.id"] == chat["temporalWorkflowID"] == run.id
    assert chat["gen_ai.response.finish_reasons"] == ["stop"]
    assert chat["gen_ai.usage.input_tokens"] > 0
    assert chat["gen_ai.usage.output_tokens"] > 0
    assert chat["server.address"] == "127.0.0.1"
    assert f":{chat['server.port']}" in model.url
    assert {span.service for span in spans} == {"outlast-gateway", "outlast-worker"}
    assert len({span.instance for span in spans}) == 2
    (lost,) = receiver.named("execute_tool lose")
    assert lost.failed
    assert lost.attributes["error.type"] == "ToolError"
    assert lost.attributes["gen_ai.tool.call.id"] == "2.1"

    # The spans of a model server, such as vLLM's, are children of the prompts.
    sent = {
        request.headers["traceparent"] for request in requests if "traceparent" in request.headers
    }
    prompts = {f"00-{span.trace_id}-{span.span_id}-01" for span in receiver.named("chat")}
    assert sent == prompts


async def test_a_run_without_a_caller_has_a_trace_that_its_id_gives(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    """Also for a client without tracing, such as the `temporal` CLI. Here, spans hold content."""
    port = free_port()
    content = {"OUTLAST_TRACE_CONTENT": "true", "OUTLAST_METRICS__PORT": str(port)}
    steps = Steps(calling("look_up", order="A1"), "no json", ANSWER)
    with receiving() as receiver:
        async with worker(temporal, tmp_path, receiver, steps, content, queue="traced"):
            run = await Client(temporal).start("clerk", "go CANARY-PROMPT", task_queue="traced")
            await run.result()
            async with httpx2.AsyncClient() as http:
                scraped = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    check_metrics(scraped)
    spans = receiver.spans
    run_id = run.first_execution_run_id or ""
    check_tree(spans)
    check_names(spans)
    (root,) = receiver.named("invoke_agent")
    assert root.trace_id == trace.format_trace_id(trace_id_of(run_id))
    assert root.span_id == trace.format_span_id(span_id_of(run_id))
    assert (root.parent_id, root.links) == ("", ())
    first, second, third = sorted(receiver.named("chat"), key=lambda span: span.started_ns)
    assert [each.attributes["outlast.prompt_number"] for each in (first, second, third)] == [
        1,
        1,
        2,
    ]
    assert "CANARY-INSTRUCTIONS" in first.attributes["gen_ai.system_instructions"]
    assert "CANARY-PROMPT" in first.attributes["gen_ai.input.messages"]
    (answer,) = json.loads(third.attributes["gen_ai.output.messages"])
    assert answer["parts"] == [{"type": "text", "content": ANSWER}]
    (called,) = receiver.named("execute_tool")
    assert called.attributes["gen_ai.tool.call.arguments"] == '{"order":"A1"}'
    assert called.attributes["gen_ai.tool.call.result"] == '"A1 CANARY-RESULT"'


PIPELINE = {
    "document": {"dsl": "1.0.3", "namespace": "test", "name": "triage", "version": "1.0.0"},
    "do": [
        {
            "twice": {
                "for": {"each": "n", "in": "${ [1, 2] }"},
                "do": [{"pause": {"wait": "PT0.01S"}}],
            }
        },
        {"find": {"call": "tool", "with": {"tool": "look_up", "arguments": {"order": "A1"}}}},
        {"skip": {"set": "${ . }"}},
        {"help": {"call": "agent", "with": {"agent": "helper", "input": "help"}}},
    ],
}


async def test_a_pipeline_is_one_trace_with_its_agents(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    steps = Steps(calling("look_up", order="A2"), ANSWER)
    with receiving() as receiver:
        async with worker(temporal, tmp_path, receiver, steps, {}, queue="traced-pipeline"):
            await temporal.execute_workflow(
                "PipelineWorkflow",
                {"pipeline": PIPELINE},
                id="traced-pipeline",
                task_queue="traced-pipeline",
            )
    spans = receiver.spans
    check_tree(spans)
    check_names(spans)
    assert sorted((span.name, parent_name(spans, span)) for span in spans) == sorted(
        [
            ("invoke_agent triage", ""),
            ("for twice", "invoke_agent triage"),
            *[("wait pause", "invoke_agent triage")] * 2,
            ("execute_tool look_up", "invoke_agent triage"),
            ("invoke_agent helper", "invoke_agent triage"),
            ("execute_tool look_up", "invoke_agent helper"),
            *[("chat scripted", "invoke_agent helper")] * 2,
        ]
    )
    # The loop begins before the lookup of the pipeline, which makes this span.
    (root,) = receiver.named("invoke_agent triage")
    assert min(span.started_ns for span in spans) == root.started_ns
    # Each span of the pipeline names its task, also if several have the same name.
    of_tasks = {(span.name, span.attributes.get("outlast.task", "")) for span in spans}
    assert of_tasks == {
        ("invoke_agent triage", ""),
        ("for twice", "/do/0/twice"),
        ("wait pause", "/do/0/twice/do/0/pause"),
        ("execute_tool look_up", "/do/1/find"),
        ("invoke_agent helper", "/do/3/help"),
        ("execute_tool look_up", ""),
        ("chat scripted", ""),
    }


async def test_a_trace_continues_at_an_mcp_server(temporal: TemporalClient, tmp_path: Path) -> None:
    agents = "tests.workers.traced_mcp_agents"
    fails = calling("notes_fail", reason="CANARY-ERROR")
    unknown = calling("notes_read_notes", number="CANARY-NUMBER")
    steps = Steps(calling("notes_show_trace"), fails, unknown, ANSWER)
    with receiving() as receiver:
        async with worker(
            temporal, tmp_path, receiver, steps, {}, queue="traced-mcp", agents=agents
        ) as model:
            run = await Client(temporal).start("writer", "go", task_queue="traced-mcp")
            await run.result()
            told = str(model.requests[1].messages)
    sent = receiver.named("MCP send tools/call show_trace")
    (executed,) = receiver.named("execute_tool notes_show_trace")
    assert [span.parent_id for span in sent] == [executed.span_id]
    assert f"00-{sent[0].trace_id}-{sent[0].span_id}-01" in told
    assert receiver.named("execute_tool notes_fail")[0].failed
    assert "CANARY" not in repr(
        [(one.attributes, one.message, one.events) for one in receiver.spans]
    )


def test_the_text_of_an_error_of_mcps_sdk_is_not_exported() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer(MCP_SCOPE)
    with contextlib.suppress(ValueError), tracer.start_as_current_span("MCP send") as span:
        raise ValueError("CANARY")
    assert isinstance(span, ReadableSpan)
    assert "CANARY" in span.to_json()
    exported = without_texts(span)
    assert "CANARY" not in exported.to_json()
    assert exported.context == span.context
    assert exported.status.status_code is StatusCode.ERROR


def check_metrics(scraped: str) -> None:
    """Assert that the metrics are there, and that no label has a value for each run or tenant."""
    labels: dict[str, set[str]] = {}
    for line in scraped.splitlines():
        if line.startswith(("gen_ai_", "outlast_")):
            name, _, rest = line.partition("{")
            labels.setdefault(name, set()).update(re.findall(r'(\w+)="', rest.rpartition("}")[0]))
    histograms = (
        "gen_ai_client_operation_duration_seconds",
        "gen_ai_client_token_usage",
        "outlast_model_cost_usd",
        "outlast_queue_wait_seconds",
        "outlast_tool_duration_seconds",
    )
    parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}
    assert labels.keys() == parts | {"outlast_prompts_repeated_total"}
    assert all("service_instance_id" in keys for keys in labels.values())
    assert set().union(*labels.values()) == LABELS
