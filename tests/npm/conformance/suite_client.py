"""The client that MCP's conformance suite tests: a run of an agent with the tools of the suite's server.

The suite starts `python -m tests.npm.conformance.suite_client URL` for each scenario. Worker, activities
and workflow are the real ones. The model is scripted, as is the person who answers the server's questions.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from outlast_workers.mcp_catalog import with_mcp_tools
from temporalio.client import Client as TemporalClient

from outlast import Agent, McpServer
from outlast.contracts.human import HumanDecision
from outlast.errors import NotReady
from outlast.temporal.plugin import OutlastPlugin
from outlast.testing import ScriptedModel, answer, call
from tests.stage import Stage, catalog_of, on_stage, pending

ADDRESS = "SUITE_TEMPORAL_ADDRESS"
"""The environment variable with the address of a Temporal server."""

WITHIN_S = 60

Call = tuple[str, dict[str, Any]]

CALLS: dict[str, list[Call]] = {
    "tools_call": [("add_numbers", {"a": 2, "b": 3})],
    "http-standard-headers": [("test_headers", {}), ("my-hyphenated-tool", {})],
    "http-invalid-tool-headers": [("valid_tool", {"region": "us-west1"})],
    "sep-2322-client-request-state": [
        ("test_mrtr_echo_state", {}),
        ("test_mrtr_unrelated", {}),
        ("test_mrtr_no_state", {}),
        ("test_mrtr_no_result_type", {}),
    ],
}
"""The calls that scenarios expect. Those that are not here only want the tools listed."""

ASKING = frozenset({"test_mrtr_echo_state", "test_mrtr_no_state"})
"""Tools whose server asks a person during the call."""


def calls_of(scenario: str, schemas: dict[str, Any]) -> list[Call]:
    """Return the calls that a scenario expects."""
    if scenario == "http-custom-headers":
        context = json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])
        # A run rejects null for a parameter that is not nullable, so the model leaves it out.
        return [
            (each["name"], {key: one for key, one in each["arguments"].items() if one is not None})
            for each in context["toolCalls"]
        ]
    if scenario == "json-schema-2020-12-preservation":
        return [("json_schema_echo", {"schema": schemas["json_schema_2020_12_tool"]})]
    return CALLS.get(scenario, [])


@asynccontextmanager
async def stage_of(
    temporal: TemporalClient, url: str, scenario: str
) -> AsyncIterator[tuple[Stage, list[Call]]]:
    """Yield a stage whose model makes the calls of a scenario."""
    agent = Agent("tester", "Serve the suite.", mcp=[McpServer("suite", url=url)])
    async with with_mcp_tools(catalog_of([agent])) as catalog:
        listed: list[Any] = list(catalog.tools.values())
        schemas = {tool.server_name: tool.spec.parameters for tool in listed}
        wanted = calls_of(scenario, schemas)
        steps = [call(f"suite_{name}", **arguments) for name, arguments in wanted]
        model = ScriptedModel([*steps, answer("Done.")])
        async with on_stage(temporal, model, catalog.agents.values(), tools=listed) as stage:
            yield stage, wanted


async def main(url: str, scenario: str) -> None:
    """Run one scenario, and print the results of its calls."""
    temporal = await TemporalClient.connect(os.environ[ADDRESS], plugins=[OutlastPlugin()])
    async with asyncio.timeout(WITHIN_S), stage_of(temporal, url, scenario) as (stage, wanted):
        if not wanted:
            return
        run = await stage.start("tester")
        for name, _ in wanted:
            if name in ASKING:
                request = await pending(run)
                fields = {"request_id": request.request_id, "answer": {"confirmed": True}}
                await run.decide(HumanDecision.model_validate({**fields, "decision": "answer"}))
        await run.result()
        for entry in await run.transcript():
            if entry.role == "tool":
                print(entry.content)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], os.environ["MCP_CONFORMANCE_SCENARIO"]))
    except NotReady as error:
        print(error)  # a server whose tools cannot be used, which a worker rejects when it starts
