"""What is shipped, and whose modules are imported."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_wheel_has_no_name_that_a_project_on_temporal_may_have_too(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "outlast",
        "outlast_activities",
        "outlast_examples",
        "outlast_workers",
        "outlast_workflows",
    }
    assert "outlast/py.typed" in names
    assert any(name.startswith("outlast_workers/callback/pages/") for name in names)


def test_the_wheel_brings_the_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (scripts,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "outlast = outlast.terminal.cli:main" in archive.read(scripts).decode()


def test_the_wheel_works_without_the_tree(wheel: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import outlast; assert outlast.__file__.startswith(sys.argv[1]), outlast.__file__;"
        "from outlast import Agent, Client, tool;"
        "import outlast.terminal.cli, outlast.testing;"
        "print(Agent(name='a', instructions='Do.', output=int).output_schema)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(wheel)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "{'type': 'integer'}\n"
