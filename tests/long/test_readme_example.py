"""The README's example with the embedded model, as a reader would run it."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from outlast_workers.local.ports import free_port

from tests.acceptance.test_readme import README, example


@pytest.mark.timeout(150)
async def test_the_example_works_with_the_embedded_model_as_printed(tmp_path: Path) -> None:
    for name in ("weather_agents.py", "ask.py"):
        (tmp_path / name).write_text(example(name))
    port = free_port()
    environment = {**os.environ, "TEMPORAL_ADDRESS": f"127.0.0.1:{port}", "PYTHONUNBUFFERED": "1"}

    async def start(*command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, *command),
            cwd=tmp_path,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    dev = await start(
        *("-m", "outlast.terminal.cli", "worker", "dev", "--agents", "weather_agents"),
        *("--port", str(port), "--ui-port", str(free_port()), "--model-port", str(free_port())),
        *("--gateway-port", str(free_port())),
    )
    assert dev.stdout is not None
    try:
        async with asyncio.timeout(60):
            await dev.stdout.readuntil(b"Ctrl-C stops everything")
        ask = await start("ask.py")
        assert ask.stdout is not None
        async with asyncio.timeout(60):
            shown = (await ask.stdout.readuntil(b"waiting ")).decode()
            line = (await ask.stdout.readline()).decode()
            _, _, command = line.partition(": outlast ")
            approve = await start("-m", "outlast.terminal.cli", *command.split())
            approved, _ = await approve.communicate()
            rest, _ = await ask.communicate()
    finally:
        dev.terminate()
        await dev.communicate()
    assert shown.splitlines() == [*printed_output()[: len(shown.splitlines()) - 1], "waiting "]
    assert line.startswith(
        "travel-desk must approve book_taxi(city=Rome): outlast approve weather-"
    )
    assert "approved 2.1" in approved.decode()
    assert rest.decode().splitlines()[-1].startswith("completed {'umbrella': ")
    assert ask.returncode == 0


def printed_output() -> list[str]:
    """Return the output of ask.py that the README prints."""
    (block,) = re.findall(r"```text\n(user .*?)```", README, re.DOTALL)
    return str(block).splitlines()
