"""Pipelines as a person runs them: `outlast pipeline run`, and schedules of the stock CLI."""

import asyncio
import json
import re
import shlex
import sys
import types
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client as TemporalClient

from outlast import Agent, tool
from outlast.contracts.agents import Leg
from outlast.testing import ScriptedModel, answer
from tests.acceptance.command_server import CommandServer
from tests.acceptance.terminal import WITHIN_S, Terminal, interrupt, until_shown
from tests.conftest import binary
from tests.stage import on_stage, pending, staged_settings

DOCS = Path(__file__).parents[2] / "docs"


@tool(effect="read")
def look(place: str) -> str:
    """Look at a place."""
    return f"{place} is quiet"


reviewer = Agent(name="dependency-review", instructions="Review.", output=str)

ASKS = """
document: {dsl: '1.0.3', namespace: demo, name: tour, version: '1.0.0'}
do:
  - look: {call: tool, with: {tool: look, arguments: {place: '${ .place }'}}}
  - ask: {call: ask, with: {question: 'Go on?', audience: crew, answer: {type: boolean}}}
  - tell: {set: {goes: '${ . }'}}
"""


async def test_a_person_runs_a_pipeline_and_answers_its_question(
    temporal: TemporalClient, commands: CommandServer, tmp_path: Path
) -> None:
    file = tmp_path / "tour.yaml"
    file.write_text(ASKS)
    async with on_stage(temporal, ScriptedModel([]), tools=[look]) as stage:
        terminal = Terminal(temporal, commands)
        words = ("pipeline", "run", str(file), "--task-queue", stage.task_queue, "--id", "tour-1")
        process = await terminal.start(*words, "--input", '{"place": "Mars"}')
        shown = await until_shown(process, "outlast answer tour-1 2.1 ANSWER")
        assert "task      /do/1/ask" in shown
        assert 'crew must answer "Go on?"' in shown
        await interrupt(process)
        _, stderr = await process.communicate()
        assert "outlast watch tour-1" in stderr.decode()
        process = await terminal.start("watch", "tour-1")
        assert 'crew must answer "Go on?"' in await until_shown(process, "outlast answer tour-1")
        run = stage.started("tour-1")
        await run.answer(await pending(run), answer=True, by="ann")
        stdout, stderr = await process.communicate()
        assert json.loads(stdout) == {"goes": True}
        assert "completed · 3 tasks" in stderr.decode()
        assert process.returncode == 0
        again = await terminal.run("watch", "tour-1", "--json")
        assert json.loads(again.out)["output"] == {"goes": True}
        assert again.err.startswith("end       completed · 3 tasks")
        other = await temporal.start_workflow("Other", id="other-1", task_queue="none")
        watched = await terminal.run("watch", "other-1")
        await other.terminate()
        assert watched.err.startswith("outlast: the run 'other-1' has the type 'Other';")
        assert (watched.status, watched.err.count("\n")) == (1, 1)


async def test_a_pipeline_whose_task_has_no_worker_says_so(
    temporal: TemporalClient, commands: CommandServer, tmp_path: Path
) -> None:
    file = tmp_path / "tour.yaml"
    file.write_text(ASKS)
    settings = staged_settings(cached=1000, tools=[Leg(task_queue="nobody-{own}")])
    async with on_stage(temporal, ScriptedModel([]), tools=[look], settings=settings) as stage:
        terminal = Terminal(temporal, commands)
        run_id = f"tour-{stage.task_queue}"
        words = ("pipeline", "run", str(file), "--task-queue", stage.task_queue, "--id", run_id)
        process = await terminal.start(*words, "--input", '{"place": "Mars"}')
        queue = settings.route("tools").legs[0].task_queue
        line = f"waits     for a worker that takes look from the task queue {queue!r}\n"
        assert line in await until_shown(process, f"{queue!r}\n")
        await stage.started(run_id).cancel()
        assert await asyncio.wait_for(process.wait(), WITHIN_S) == 3


async def test_the_example_of_the_page_about_pipelines_runs(
    temporal: TemporalClient, commands: CommandServer, tmp_path: Path
) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", (DOCS / "pipelines.md").read_text(), re.DOTALL)
    document, code = (
        next(text for kind, text in blocks if kind == each) for each in ("yaml", "python")
    )
    file = tmp_path / "triage.yaml"
    file.write_text(document)
    start = next(text for _, text in blocks if text.startswith("outlast pipeline run"))
    words = shlex.split(start.replace("triage.yaml", str(file)))[1:]
    module = types.ModuleType("triage_agents")
    sys.modules[module.__name__] = module
    exec(code, vars(module))  # noqa: S102 the code of the page
    model = ScriptedModel(
        [answer({"kind": kind, "summary": "a late parcel"}) for kind in ("normal", "urgent")]
    )
    tools = [module.create_ticket]
    try:
        async with on_stage(temporal, model, [module.classifier], tools=tools) as stage:
            terminal = Terminal(temporal, commands)
            words += ["--task-queue", stage.task_queue, "--id"]
            shown = await terminal.run(*words, "page-normal")
            assert (shown.out, shown.status) == ("ticket: a late parcel\n", 0)
            process = await terminal.start(*words, "page-urgent")
            await until_shown(
                process, 'oncall must answer "Call the customer about a late parcel?"'
            )
            run = stage.started("page-urgent")
            await run.answer(await pending(run), answer=True, by="ann")
            assert (await process.communicate())[0] == b"true\n"
    finally:
        del sys.modules[module.__name__]


@pytest.mark.timeout(120)
async def test_the_commands_of_the_page_about_schedules(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    text = (DOCS / "schedules.md").read_text()
    (tmp_path / "nightly.json").write_text(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])
    creations = [
        block
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        if "temporal schedule create" in block
    ]
    address = temporal.service_client.config.target_host

    async def cli(*words: str) -> None:
        process = await asyncio.create_subprocess_exec(
            binary("temporal"), *words, "--address", address, cwd=tmp_path
        )
        assert await process.wait() == 0

    model = ScriptedModel([answer("quiet"), answer("quiet")])
    async with on_stage(temporal, model, [reviewer]) as stage:
        for block in creations:
            words = shlex.split(block.replace("\\\n", " "))[1:]
            words[words.index("--task-queue") + 1] = stage.task_queue
            name = words[words.index("--schedule-id") + 1]
            await cli(*words)
            try:
                handle = temporal.get_schedule_handle(name)
                policy = (await handle.describe()).schedule.policy
                assert policy.pause_on_failure
                assert policy.catchup_window in (timedelta(hours=2), timedelta(hours=6))
                await cli("schedule", "trigger", "--schedule-id", name)
                run_id = await _started(temporal, name)
                result = await temporal.get_workflow_handle(run_id, result_type=dict).result()
                assert (result["status"], result["output"]) == ("completed", "quiet")
            finally:
                await cli("schedule", "delete", "--schedule-id", name)


async def _started(temporal: TemporalClient, name: str) -> str:
    """Return the id of the run that a schedule has started."""
    async with asyncio.timeout(30):
        while True:
            info = (await temporal.get_schedule_handle(name).describe()).info
            actions = [*info.running_actions, *(each.action for each in info.recent_actions)]
            for action in actions:
                workflow_id = getattr(action, "workflow_id", "")
                if workflow_id:
                    return str(workflow_id)
            await asyncio.sleep(0.2)
