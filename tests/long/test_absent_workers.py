"""Commands about runs that no worker serves: each waits for the server to say so."""

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator

import pytest_asyncio
from temporalio.client import Client

from outlast.testing import ScriptedModel, answer
from tests.acceptance.command_server import CommandServer
from tests.acceptance.terminal import WITHIN_S, Terminal, until_shown
from tests.acceptance.test_inbox import REFUND, desk_of, until_listed
from tests.stage import on_stage, pending, staged_settings


@pytest_asyncio.fixture
async def terminal(temporal: Client) -> AsyncIterator[Terminal]:
    commands = CommandServer()
    yield Terminal(temporal, commands)
    await commands.stop()


async def test_without_a_worker_the_view_says_so(terminal: Terminal) -> None:
    process = await terminal.start("run", "scout", "x", "--task-queue", "nobody-polls-this")
    shown = await until_shown(process, "is one running")
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert "waits     no worker answers for the run 'scout-" in shown


async def test_a_run_without_a_worker_is_listed_as_such(
    temporal: Client, terminal: Terminal
) -> None:
    team = f"absent {uuid.uuid4().hex[:6]}"
    settings = staged_settings(cached=0)
    model = ScriptedModel([REFUND, answer("done")])
    async with on_stage(temporal, model, [desk_of(team)], settings=settings) as stage:
        run = await stage.start("desk")
        await pending(run)
        await until_listed(terminal, "--audience", team, runs=1)
    output = await terminal.run("inbox", "--audience", team)
    assert output.status == 0
    assert output.out.startswith(f"{run.id} cannot be queried: ")
    approved = await terminal.run("approve", run.id)
    assert approved.status == 1
    assert approved.err.startswith(f"outlast: run {run.id!r} cannot be queried: ")
    async with on_stage(temporal, model, [desk_of(team)], settings=settings):
        await run.cancel()
        await run.result()
