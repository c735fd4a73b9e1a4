"""State machines in the shapes of AWS's own examples, and the mapping of their resources."""

import json
from pathlib import Path
from typing import Any

from outlast.pipelines.asl.machine import import_machine
from outlast.pipelines.asl.report import Report
from outlast.pipelines.asl.resources import Resources

HERE = Path(__file__).parent
MACHINES = {file.name.partition(".")[0]: file for file in sorted((HERE / "machines").iterdir())}
RESOURCES: Any = json.loads((HERE / "resources.json").read_text())


def machine(name: str) -> Any:
    return json.loads(MACHINES[name].read_text())


def imported(name: str) -> dict[str, Any]:
    """Return the document of a state machine, of which everything must be moved."""
    document, report = import_machine(machine(name), name, Resources(RESOURCES))
    assert report.holes == []
    return document


def moved(value: Any) -> tuple[dict[str, Any], Report]:
    return import_machine(value, "sample", Resources(RESOURCES))
