"""MCP's own conformance suite: against the gateway's `/mcp`, and against runs that call MCP tools."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from outlast_workers.local.ports import free_port
from pydantic import BaseModel
from temporalio.client import Client as TemporalClient

from outlast import Agent, ask_human, tool
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer, call, calls
from outlast.turns import ResultsTurn, UserTurn
from tests.loopback import listening
from tests.npm.conformance.suite_client import ADDRESS
from tests.npm.conformance.suite_proxy import suite_proxy
from tests.workers.gateway.doors import doors

HERE = Path(__file__).parent / "conformance"

ROOT = HERE.parents[2]

SUITE = HERE / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"

NODE = HERE / "node_modules" / "node" / "bin" / "node"

pytestmark = pytest.mark.skipif(
    not (SUITE.is_file() and NODE.is_file()), reason="the suite is missing: make test-npm"
)


@tool(effect="read")
async def wait(seconds: float) -> str:
    """Wait."""
    await asyncio.sleep(seconds)
    return "waited"


@tool(effect="read")
def break_down() -> str:
    """Fail."""
    raise RuntimeError("broken on purpose")


class Form(BaseModel):
    """The answer of a person. The suite sends either field."""

    confirm: bool = False
    name: str = ""


TOOLS: list[Any] = [wait, break_down, ask_human(Form)]

NAMES = (
    *(
        "greet",
        "slow_compute",
        "failing_job",
        "protocol_error_job",
        "confirm_delete",
        "multi_input",
    ),
    *("test_tool_with_task", "test_simple_text", "test_error_handling"),
)


def acting(prompt: Prompt) -> Any:
    """Do what the suite expects of the tool with the name of the agent."""
    first = prompt.turns[0]
    assert isinstance(first, UserTurn)
    given = json.loads(first.text)
    if any(isinstance(turn, ResultsTurn) for turn in prompt.turns):
        return answer(f"{prompt.agent} is done.")
    if prompt.agent == "slow_compute" and given.get("seconds"):
        return call("wait", seconds=given["seconds"])
    if prompt.agent in {"failing_job", "protocol_error_job", "test_error_handling"}:
        return call("break_down")
    question = call("ask_human", question="Confirm?")
    if prompt.agent in {"confirm_delete", "test_tool_with_task"}:
        return question
    if prompt.agent == "multi_input":
        return calls(question, question)
    return answer(f"Hello, {given.get('name', 'you')}!")


async def checks_of(folder: Path, *arguments: str, **variables: str) -> list[tuple[str, str]]:
    """Run a scenario, and return its checks: id, and status with the reason of a failure. Ids repeat."""
    process = await asyncio.create_subprocess_exec(
        *(str(NODE), str(SUITE), *arguments, "--output-dir", str(folder), "--timeout", "60000"),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(100):
        output, _ = await process.communicate()
    found = list(folder.rglob("checks.json"))
    assert found, output.decode()[-2_000:]
    checks = json.loads(found[-1].read_text())
    return [
        (check["id"], f"{check['status']} {check.get('errorMessage') or ''}".strip())
        for check in checks
        if check["status"] != "INFO"
    ]


SCENARIOS = (
    *("server-initialize", "ping", "tools-list", "tools-call-simple-text", "tools-call-error"),
    *("server-stateless", "http-header-validation", "dns-rebinding-protection", "caching"),
    *("tasks-lifecycle", "tasks-capability-negotiation", "tasks-wire-fields", "tasks-mrtr-input"),
    *("tasks-request-state-removal", "tasks-request-headers", "tasks-dispatch-and-envelope"),
)

EXPECTED: dict[str, str] = {
    **dict.fromkeys(
        (
            *("tasks-sync-tool-call", "tasks-headers-tolerate-mcp-method-on-tools-call"),
            "sep-2663-legacy-task-param-ignored",
            "tasks-result-type-complete-on-non-task-responses",
        ),
        "an agent is always a task for a client with the extension; the suite wants a tool that never is",
    ),
    "sep-2663-tasks-get-status-failed": "a run that fails is a tool error, which the model reads",
    **dict.fromkeys(
        ("sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400"),
        "needs a tool that samples; the gateway never samples",
    ),
    **dict.fromkeys(
        (
            "sep-2549-prompts-list-caching-hints",
            "sep-2549-resources-list-caching-hints",
            "sep-2549-resources-templates-list-caching-hints",
        ),
        "the gateway has no prompts and resources",
    ),
}
"""The checks that fail, with the reason: docs/mcp.md has the same list."""


@pytest.mark.timeout(600)
async def test_the_gateway_passes_the_conformance_suite(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    agents = [Agent(name, "Serve the suite.", tools=TOOLS) for name in NAMES]
    model, port, passed = ScriptedModel([acting], repeat_last=True), free_port(), 0
    failed: dict[str, str] = {}
    async with (
        doors(temporal, model, agents, tokens={}) as gateway,
        suite_proxy(gateway.url, frozenset(NAMES)) as app,
        listening(app, port),
    ):
        for scenario in SCENARIOS:
            url = f"http://127.0.0.1:{port}/mcp"
            where = ("server", "--url", url, "--scenario", scenario)
            checks = await checks_of(tmp_path / scenario, *where)
            failed |= {check: text for check, text in checks if text.startswith("FAILURE")}
            passed += sum(text == "SUCCESS" for _, text in checks)
    assert passed > len(failed)
    assert failed.keys() == EXPECTED.keys(), json.dumps(failed, indent=1)


CLIENT_SCENARIOS = (
    *("initialize", "tools_call", "tools_call@2026-07-28", "request-metadata"),
    *("sep-2322-client-request-state", "http-standard-headers", "http-custom-headers"),
    *("http-invalid-tool-headers", "json-schema-ref-no-deref", "json-schema-2020-12-preservation"),
)
"""Scenarios for clients, with the version of the protocol where it is not the scenario's own."""


@pytest.mark.timeout(600)
async def test_a_run_passes_the_conformance_suite_for_clients(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    command = f"{sys.executable} -m tests.npm.conformance.suite_client"
    address = temporal.service_client.config.target_host
    for scenario in CLIENT_SCENARIOS:
        name, _, version = scenario.partition("@")
        versions = ("--spec-version", version) if version else ()
        where = ("client", "--command", command, "--scenario", name, *versions)
        checks = await checks_of(tmp_path / scenario, *where, **{ADDRESS: address})
        statuses = {text.partition(" ")[0] for _, text in checks}
        assert "SUCCESS" in statuses, (scenario, checks)
        assert statuses <= {"SUCCESS", "SKIPPED"}, (scenario, checks)
