"""Pages with tests of agents: their examples run, as a reader would run them."""

import asyncio
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.acceptance.processes import ROOT

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
