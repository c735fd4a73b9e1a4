"""Records histories that later versions must replay: `python -m tests.histories.record 0.1.0`."""

import asyncio
import sys
from pathlib import Path

from outlast_workers.connection import ensure_search_attributes
from temporalio.testing import WorkflowEnvironment

from outlast import Agent, Approval, tool
from outlast.plugin import OutlastPlugin
from outlast.testing import ScriptedModel, answer, call, calls
from tests.conftest import LIFTED, binary
from tests.stage import on_stage

FOLDER = Path(__file__).parent


@tool(effect="read")
def look(place: str) -> str:
    """Look at a place."""
    return f"{place} is quiet"


@tool(effect="irreversible", approval=Approval(audience="leads"))
def leave(place: str) -> str:
    """Leave a place."""
    return f"left {place}"


scout = Agent(name="scout", instructions="Look around.", tools=[look, leave], begin_with=["look"])
lead = Agent(name="lead", instructions="Lead.", tools=[scout, look])

SCRIPTS = {
    "tools": ("scout", [call("look", place="Mars"), answer("quiet")]),
    "approval": (
        "scout",
        [call("look", place="Mars"), call("leave", place="Mars"), answer("left")],
    ),
    "child": (
        "lead",
        [
            calls(call("scout", input="Mars"), call("look", place="Moon")),
            call("look", place="Mars"),
            answer("quiet"),
            answer("all quiet"),
        ],
    ),
}


async def record(version: str) -> None:
    """Run each script on a server of its own and keep the history of its first run."""
    folder = FOLDER / version
    folder.mkdir()
    async with await WorkflowEnvironment.start_local(
        plugins=[OutlastPlugin()],
        dev_server_existing_path=binary("temporal"),
        dev_server_extra_args=LIFTED,
    ) as environment:
        await ensure_search_attributes(environment.client)
        for name, (agent, script) in SCRIPTS.items():
            async with on_stage(environment.client, ScriptedModel(script), [lead]) as stage:
                run = await stage.start(agent, "go", limits={"deadline_s": 600})
                if name == "approval":
                    await asyncio.sleep(2)
                    await run.approve("2.1", by="ann")
                await run.result()
                (history,) = await stage.chain(run)
                (folder / f"{name}.json").write_text(history.to_json())


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1]))
