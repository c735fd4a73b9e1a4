"""The README's examples, run as a reader would run them."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer

from bench.scripted_model_server import ScriptedModelServer, Steps
from outlast.start_requests import parse_request
from tests.acceptance.processes import ROOT, WorkerUnderTest

README = (ROOT / "README.md").read_text()


def example(name: str) -> str:
    """Return the code block that begins with the name of its file."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    return str(next(block for block in blocks if block.startswith(f"# {name}\n")))


async def test_the_agent_and_the_client_of_the_readme_work(tmp_path: Path) -> None:
    for name in ("weather_agents.py", "ask.py"):
        (tmp_path / name).write_text(example(name))
    script = Steps(
        '{"tool_calls":[{"tool":"forecast","arguments":{"city":"Rome"}}]}',
        '{"answer":{"umbrella":false,"mood":"cheerful"}}',
    )
    temporal = TemporalServer(log_dir=tmp_path, port=free_port())
    async with temporal, ScriptedModelServer(script) as model:
        worker = WorkerUnderTest(
            address=temporal.address,
            model_url=model.url,
            agents="weather_agents",
            log=tmp_path / "worker.log",
            path=tmp_path,
        )
        await worker.start()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            tmp_path / "ask.py",
            env={**os.environ, "TEMPORAL_ADDRESS": temporal.address},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        await worker.terminate()
    lines = output.decode().splitlines()
    assert lines[0] == "user Rome, please"
    assert lines[2] == 'tool "sunny"'
    assert lines[-1] == "completed {'umbrella': False, 'mood': 'cheerful'}"
    schema = str(script_schema := model.requests[0].schema)
    assert "forecast" in schema, script_schema
    assert "answer" not in schema  # the forecast is required first


def test_the_requests_of_the_readme_are_requests() -> None:
    typed = re.findall(r"--input '(\{.*?\})'", README, re.DOTALL)
    requests = [parse_request(text.encode()).request for text in typed if "request_id" not in text]
    assert len(requests) >= 2
    assert any(request.spec is not None for request in requests)


def test_the_links_of_the_documentation_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.relative_to(ROOT)}: {link}"


def test_json_examples_of_the_documentation_are_json() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        for block in re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL):
            json.loads(block)
