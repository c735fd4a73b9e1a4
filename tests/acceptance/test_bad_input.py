"""What a person types wrong, through the stock `temporal` CLI: each ends soon, by name, and in one line."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue

from outlast import Agent, BadRequest, tool
from outlast.testing import ScriptedModel, answer
from tests.conftest import binary
from tests.stage import Stage, on_stage


@tool(effect="read")
def look() -> str:
    """Look."""
    return "seen"


AGENT = Agent(name="looker", instructions="Look.", tools=[look])

SPEC = {"instructions": "x", "tools": ["look"], "output": {"type": "string"}}

WRONG: list[tuple[str, str, str]] = [
    ("no agent", '{"input":"x"}', "give either 'agent' (a registered name) or 'spec'"),
    ("no input", '{"agent":"looker"}', "input: is required"),
    (
        "an unknown agent",
        '{"agent":"loker","input":"x"}',
        "agent: 'loker' is not registered with this worker; did you mean 'looker'?",
    ),
    (
        "an unknown tool",
        json.dumps({"spec": {**SPEC, "tools": ["lok"]}, "input": "x"}),
        "spec.tools: 'lok' is not registered with this worker; did you mean 'look'?",
    ),
    (
        "an output schema that is none",
        json.dumps({"spec": {**SPEC, "output": {"foo": "bar"}}, "input": "x"}),
        "spec.output: not a JSON Schema: it has 'foo', and needs one of",
    ),
    (
        "an output schema with a wrong type",
        json.dumps({"spec": {**SPEC, "output": {"type": "text"}}, "input": "x"}),
        "spec.output.type: 'text' is not one of array, boolean",
    ),
    (
        "negative limits",
        '{"agent":"looker","input":"x","limits":{"max_turns":-1}}',
        "limits.max_turns: -1: input should be greater than or equal to 1",
    ),
    (
        "a misspelt limit",
        '{"agent":"looker","input":"x","limits":{"max_turn":3}}',
        "limits.max_turn: unknown field; did you mean 'max_turns'?",
    ),
    (
        "text where an object belongs",
        '"looker"',
        "the input of AgentWorkflow: 'looker' is not a JSON object; its fields are 'agent'",
    ),
    (
        "a number that JSON has not",
        '{"agent":"looker","input":1e999}',
        "not JSON (1e999 is too large a number)",
    ),
    (
        "a bound that is no number",
        json.dumps({"spec": {**SPEC, "output": {"type": "integer", "minimum": "x"}}, "input": "x"}),
        "spec.output.minimum: 'x' is not a number",
    ),
    (
        "a reference to nothing",
        json.dumps(
            {"spec": {**SPEC, "output": {"type": "string", "$dynamicRef": "#x"}}, "input": 1}
        ),
        "spec.output.$dynamicRef: '#x' is not a reference",
    ),
    (
        "nesting without end",
        '{"agent":"looker","input":' + "[" * 5_000 + "]" * 5_000 + "}",
        "the input of AgentWorkflow: not JSON (nested too deep",
    ),
    (
        "half a surrogate pair",
        '{"agent":"looker","input":"\\ud800"}',
        "the input of AgentWorkflow: not JSON (half a surrogate pair is not text)",
    ),
    (
        "a tenant that is no fairness key",
        '{"agent":"looker","input":"x","tenant":"' + "é" * 33 + '"}',
        "tenant: ",
    ),
    (
        "a tenant with a control character",
        '{"agent":"looker","input":"x","tenant":"a\\u0000b"}',
        "tenant: 'a\\x00b': has the control or invisible character '\\x00'; remove it",
    ),
    (
        "a number of 5,000 digits",
        '{"agent":"looker","input":' + "1" * 5_000 + "}",
        "not JSON (a number has more than 1,000 digits)",
    ),
    (
        "a budget that overflows",
        '{"agent":"looker","input":"x","limits":{"max_cost_usd":"9e999999"}}',
        "limits.max_cost_usd: '9e999999': ",
    ),
    (
        "a prompt with two inputs",
        json.dumps({"spec": {**SPEC, "prompt": "{input} {input}"}, "input": "x"}),
        "prompt has '{input}' 2 times; the input has one place",
    ),
    (
        "a tool twice",
        json.dumps({"spec": {**SPEC, "tools": ["look", "look"]}, "input": "x"}),
        "has 'look' twice; name each once",
    ),
    (
        "text where limits belong",
        '{"agent":"looker","input":"x","limits":"few"}',
        "limits: 'few' is not a JSON object",
    ),
]


@pytest_asyncio.fixture(scope="module")
async def stage(temporal: Client) -> AsyncIterator[Stage]:
    async with on_stage(temporal, ScriptedModel([answer("x")], repeat_last=True), [AGENT]) as stage:
        yield stage


async def temporal_cli(client: Client, *arguments: str) -> tuple[int, str]:
    """Run the stock CLI against the test's server; return its exit status and all of its output."""
    process = await asyncio.create_subprocess_exec(
        binary("temporal"),
        "--address",
        client.service_client.config.target_host,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def execute(stage: Stage, *typed: str) -> str:
    status, output = await temporal_cli(
        stage.client.temporal,
        *("workflow", "execute", "--type", "AgentWorkflow", "--task-queue", stage.task_queue),
        *typed,
    )
    assert status != 0, output
    assert "StackTrace" not in output
    return output


@pytest.mark.parametrize(
    ("typed", "reason"), [wrong[1:] for wrong in WRONG], ids=[w[0] for w in WRONG]
)
async def test_wrong_input_ends_with_a_line_that_names_the_field(
    stage: Stage, typed: str, reason: str
) -> None:
    output = await execute(stage, "--input", typed)
    lines = [line for line in output.splitlines() if reason in line]
    assert len(lines) == 1, output


async def test_no_input_at_all_says_what_is_required(stage: Stage) -> None:
    assert 'input: is required, such as {"agent"' in await execute(stage)


async def test_two_inputs_are_one_too_many(stage: Stage) -> None:
    output = await execute(stage, "--input", '{"agent":"looker"}', "--input", "2")
    assert "input: give one JSON object, not 2 inputs" in output


@pytest.mark.parametrize(
    "run_id", ["a\nb", "a`b", "```sh", "a\u202eb", "\x1b[2Jx", "a\u200b", "a\tb"]
)
async def test_a_workflow_id_that_is_not_printable_fails_by_name(stage: Stage, run_id: str) -> None:
    request = {"agent": "looker", "input": "x"}
    with pytest.raises(WorkflowFailureError) as failed:
        async with asyncio.timeout(10):
            await stage.client.temporal.execute_workflow(
                "AgentWorkflow", request, id=run_id, task_queue=stage.task_queue
            )
    assert "id: the workflow id has the character" in str(failed.value.cause)
    with pytest.raises(BadRequest, match="use printable text without backticks"):
        await stage.client.start("looker", "x", id=run_id, task_queue=stage.task_queue)


async def test_what_is_not_json_is_refused(stage: Stage) -> None:
    assert "is not valid JSON" in await execute(stage, "--input", "looker, please")
    # The CLI looks at JSON itself; other clients may not.
    client = stage.client.temporal
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b"{not json")
    with pytest.raises(WorkflowFailureError) as failed:
        await client.execute_workflow(
            "AgentWorkflow", RawValue(payload), id="not-json", task_queue=stage.task_queue
        )
    assert "the input of AgentWorkflow: not JSON" in str(failed.value.cause)


async def test_input_that_is_not_encoded_as_json_is_refused(stage: Stage) -> None:
    output = await execute(stage, "--input-meta", "encoding=binary/plain", "--input", "x")
    assert "is encoded as 'binary/plain'; give JSON" in output


async def test_input_of_3_mb_is_refused(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "big.json"
    file.write_text(json.dumps({"agent": "looker", "input": "x" * 3_000_000}))
    assert "exceeds" in await execute(stage, "--input-file", str(file))
    file.write_text(json.dumps({"agent": "looker", "input": "x" * 1_500_000}))
    assert "input: 1,500,032 bytes are too many; at most" in await execute(
        stage, "--input-file", str(file)
    )


async def test_no_workflow_task_is_left_failing(stage: Stage) -> None:
    client = stage.client.temporal
    await asyncio.sleep(1)
    query = f"TaskQueue='{stage.task_queue}' and ExecutionStatus='Running'"
    assert [workflow.id async for workflow in client.list_workflows(query)] == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "give either 'agent'"),
        ({"agent": "a", "spec": SPEC}, "give either 'agent'"),
        ({"agent": "a b"}, "agent: 'a b'"),
        ({"spec": {**SPEC, "output": {"foo": 1}}}, "spec.output: not a JSON Schema"),
        ({"agent": "a", "limits": {"max_turns": -1}}, "limits.max_turns: -1"),
        ({"agent": "a", "limits": "few"}, "limits: 'few'"),
        ({"agent": "a", "input": "x" * 3_000_000}, "bytes are too many"),
        ({"agent": "a", "input": object()}, "input: is not JSON"),
    ],
)
async def test_the_sdk_refuses_the_same_before_it_starts_anything(
    stage: Stage, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadRequest, match="(?s).*") as refused:
        await stage.client.start(id="never", **{"input": "x", **fields})
    assert reason in refused.value.message
    assert [w.id async for w in stage.client.temporal.list_workflows("WorkflowId='never'")] == []


@pytest.mark.parametrize("name", ["pause", "resume", "finish", "say", "decide"])
@pytest.mark.parametrize("inputs", [[], ["--input", "{}", "--input", "{}"], ["--input", "7"]])
async def test_signals_with_wrong_input_harm_nothing(
    stage: Stage, name: str, inputs: list[str]
) -> None:
    client = stage.client.temporal
    run = await stage.client.start("looker", "x", mode="conversation", task_queue=stage.task_queue)
    status, output = await temporal_cli(
        client, "workflow", "signal", "--workflow-id", run.id, "--name", name, *inputs
    )
    assert status == 0, output
    if (name, inputs) == ("pause", []):
        await run.resume()
    if (name, inputs) != ("finish", []):
        await run.finish()
    async with asyncio.timeout(10):
        assert (await run.result()).status == "completed"


async def test_an_update_with_wrong_input_is_refused_in_a_line(stage: Stage) -> None:
    client = stage.client.temporal
    run = await stage.client.start("looker", "x", mode="conversation", task_queue=stage.task_queue)
    update = ("workflow", "update", "execute", "--workflow-id", run.id, "--name", "say")
    for inputs, reason in (
        ([], "text: is required"),
        (["--input", "{}", "--input", "{}"], "say: give one JSON object, not 2 inputs"),
        (["--input", '"hello"'], "the payload of say: 'hello' is not a JSON object"),
        (["--input", '{"txt":"hello"}'], "txt: unknown field; did you mean 'text'?"),
    ):
        status, output = await temporal_cli(client, *update, *inputs)
        assert status != 0
        assert reason in output
    await run.finish()
    assert (await run.result()).status == "completed"
