"""Pages with tests of agents: their examples run, as a reader would run them."""

import asyncio
import os
import re
import signal
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from outlast_workers.local.ports import free_port

from tests.acceptance.processes import ROOT
from tests.acceptance.terminal import WITHIN_S

PLUGIN = "outlast_workers.pytest_plugin"


def files_of(page: str) -> dict[str, str]:
    """Return the code blocks that begin with the name of their file."""
    blocks = re.findall(r"```python\n(# (\w+\.py)\n.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return {name: block for block, name in blocks}


@pytest.mark.parametrize(
    ("page", "fewest"), [("testing", 4), ("images-and-files", 1), ("hooks", 1)]
)
async def test_the_examples_of_the_page_pass(tmp_path: Path, page: str, fewest: int) -> None:
    tests = files_of(f"docs/{page}.md")
    files = tests | {"weather_agents.py": files_of("README.md")["weather_agents.py"]}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    # An environment that was set up before the entry point existed does not know the plugin.
    is_known = any(entry.value == PLUGIN for entry in entry_points(group="pytest11"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *(() if is_known else ("-p", PLUGIN)),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert f"{len(tests)} passed" in output.decode()
    assert len(tests) >= fewest


async def test_a_worker_of_the_page_runs_with_its_script(tmp_path: Path) -> None:
    """`pip install` writes the entry point as this test does, and needs a package registry."""
    page = (ROOT / "docs" / "testing.md").read_text()
    _, _, section = page.partition("## A worker without a model\n")
    blocks = dict(re.findall(r"```(python|toml)\n(.*?)```", section, re.DOTALL))
    (tmp_path / "script_model.py").write_text(blocks["python"])
    (tmp_path / "weather_agents.py").write_text(files_of("README.md")["weather_agents.py"])
    ((group, points),) = tomllib.loads(blocks["toml"])["project"]["entry-points"].items()
    info = tmp_path / "script_model-0.1.dist-info"
    info.mkdir()
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]))
    (line,) = re.findall(r"^outlast worker dev (.*)$", section, re.MULTILINE)
    port = free_port()
    command = [sys.executable, "-m", "outlast.terminal.cli"]
    (exported,) = re.findall(r"^export (.*)$", section, re.MULTILINE)
    environment = {
        **os.environ,
        **dict(pair.split("=", 1) for pair in exported.split()),
        "PYTHONPATH": str(tmp_path),
        "TEMPORAL_ADDRESS": f"127.0.0.1:{port}",
    }
    options: dict[str, Any] = {
        "cwd": tmp_path,
        "env": environment,
        "stderr": asyncio.subprocess.STDOUT,
    }
    worker = await asyncio.create_subprocess_exec(
        *(*command, "worker", "dev", *line.split(), "--no-gateway"),
        *("--port", str(port), "--ui-port", str(free_port())),
        stdout=asyncio.subprocess.PIPE,
        **options,
    )
    assert worker.stdout is not None
    try:
        async with asyncio.timeout(WITHIN_S):
            await worker.stdout.readuntil(b"worker.started")
            run = await asyncio.create_subprocess_exec(
                *(*command, "run", "weather-advice", "Oslo, please"),
                stdout=asyncio.subprocess.PIPE,
                **options,
            )
            assert run.stdout is not None
            shown = await run.stdout.readuntil(b"outlast approve ")
            run_id = (await run.stdout.readline()).split()[0].decode()
            assert b"travel-desk must approve book_taxi(city=Oslo)" in shown
            approving = await asyncio.create_subprocess_exec(
                *(*command, "approve", run_id, "--yes"),
                stdout=asyncio.subprocess.DEVNULL,
                **options,
            )
            assert await approving.wait() == 0
            output, _ = await run.communicate()
            assert b'"mood": "gloomy"' in output
    finally:
        worker.send_signal(signal.SIGINT)
        await worker.communicate()
