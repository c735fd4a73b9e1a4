"""The environment of the workers that the benchmarks measure."""

import os
import subprocess
import sys
from pathlib import Path

from bench.processes import AS_INSTALLED

REQUIREMENTS = Path(__file__).parent.parent.parent / "requirements"


def test_measured_workers_have_no_rich_because_an_installed_worker_has_none() -> None:
    for name in ("runtime.txt", "embedded.txt"):
        assert "\nrich==" not in (REQUIREMENTS / name).read_text()
    program = [
        sys.executable,
        "-c",
        "import structlog, sys; sys.exit('rich.console' in sys.modules)",
    ]

    subprocess.run(program, env={**os.environ, "PYTHONPATH": str(AS_INSTALLED)}, check=True)
