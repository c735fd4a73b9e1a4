"""The stock clients of npm against the gateway: Vercel's AI SDK and AG-UI's `HttpAgent`.

`make test-npm` installs the packages of package.json beside this file.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client as TemporalClient

from outlast import Agent, Approval, ask_human, tool
from outlast.testing import ScriptedModel, Step, answer, call
from tests.stage import Flag
from tests.workers.gateway.doors import TOKENS, Doors, doors
from tests.workers.gateway.writing import PIECES, STORY, gate_after, writing

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is missing: install Node 20"),
    pytest.mark.skipif(
        not (HERE / "node_modules").is_dir(), reason="the packages are missing: make test-npm"
    ),
]


@tool(effect="irreversible", approval=Approval(audience="leads"))
def refund(order_id: str) -> str:
    """Refund an order."""
    return f"refunded {order_id}"


helper = Agent("helper", "Help.", tools=[refund, ask_human(str, audience="leads")])


async def reports_of(
    script: str, gateway: Doors, gates: Mapping[str, Sequence[Flag]]
) -> dict[str, Any]:
    """Run a script of this folder, open the gates of each step that it reports, and return its values."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(HERE / script)),
        env={
            "PATH": os.environ["PATH"],
            "GATEWAY_URL": gateway.url,
            "GATEWAY_TOKEN": TOKENS["ann"]["token"],
            "AGENT": "helper",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    values: dict[str, Any] = {}
    errors = asyncio.create_task(process.stderr.read())
    try:
        async with asyncio.timeout(100):
            async for line in process.stdout:
                report = json.loads(line)
                values[report["step"]] = report["value"]
                for gate in gates.get(report["step"], ()):
                    gate.set()
            assert await process.wait() == 0, (values, (await errors).decode()[-2_000:])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return values


async def test_chat_of_the_ai_sdk(temporal: TemporalClient) -> None:
    first, second = Flag(), Flag()
    steps: list[Step] = [
        writing(PIECES, gates=gate_after(2, first)),
        call("refund", order_id="7"),
        answer("Done."),
        writing(PIECES, gates=gate_after(2, second)),
        call("refund", order_id="9"),
        call("ask_human", question="Which?"),
        answer("Red."),
    ]
    async with doors(temporal, ScriptedModel(steps), [helper]) as gateway:
        values = await reports_of("ai_sdk.mjs", gateway, {"resumed": [first], "reopened": [second]})
    assert values["story"] == values["again"] == STORY
    assert "refunded 8" in values["refund"]
    assert values["end"] == "Red."
    assert "done" in values


async def test_http_agent_of_ag_ui(temporal: TemporalClient) -> None:
    more = Flag()
    steps: list[Step] = [
        writing(PIECES, gates=gate_after(2, more)),
        call("refund", order_id="7"),
        answer("Done."),
    ]
    async with doors(temporal, ScriptedModel(steps), [helper]) as gateway:
        values = await reports_of("agui.mjs", gateway, {"resumed": [more]})
    assert values["story"] == STORY
    assert "refunded 8" in values["refund"]
    assert values["end"] == "Done."
    assert "done" in values
