"""What the sandbox would guard: workflow code reaches no clock, no randomness and no I/O of its own."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SHARED = ("validation", "errors", "jsonschema/schemas", "text/texts", "transcripts")
"""Modules of `outlast` whose code workflows call."""

FILES = [
    *(ROOT / "workflows").rglob("*.py"),
    *(ROOT / "outlast" / "contracts").glob("*.py"),
    *(ROOT / f"outlast/{name}.py" for name in SHARED),
]
FORBIDDEN_MODULES = {"os", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid"}
FORBIDDEN_CALLS = {"now", "utcnow", "today", "open", "print", "input", "getenv", "sleep_ms"}


@pytest.mark.parametrize("file", sorted(FILES), ids=lambda file: file.stem)
def test_workflow_code_is_deterministic(file: Path) -> None:
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
            assert not names & FORBIDDEN_MODULES, f"{file.name}:{node.lineno}"
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in FORBIDDEN_MODULES, file.name
        if isinstance(node, ast.Call):
            assert _called(node.func) not in FORBIDDEN_CALLS, f"{file.name}:{node.lineno}"


def _called(function: ast.expr) -> str:
    """Return the name of what is called; `workflow.now()` is Temporal's own and allowed."""
    if isinstance(function, ast.Attribute):
        of_temporal = isinstance(function.value, ast.Name) and function.value.id == "workflow"
        return "" if of_temporal else function.attr
    return function.id if isinstance(function, ast.Name) else ""
