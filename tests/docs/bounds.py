"""The bounds that the packages define as constants of modules, and the rows of docs/limits.md."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from tests.docs.prose import ROOT

PAGE = ROOT / "docs" / "limits.md"

PACKAGES = (
    "outlast",
    "workflows/outlast_workflows",
    "activities/outlast_activities",
    "workers/outlast_workers",
)

SECONDS_PER_UNIT = {"ms": 0.001, "s": 1, "min": 60, "h": 3_600, "days": 86_400}
"""Units of time on the page. A value in another unit is compared as it is."""

_ARITHMETIC = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.Name, ast.Call, ast.keyword)
_OPERATORS = (ast.operator, ast.unaryop, ast.expr_context)


@dataclass(frozen=True)
class Row:
    """One row of the page; `value` is in seconds if it is a time."""

    name: str
    value: float
    source: str


def constants() -> dict[tuple[str, str], float]:
    """Return the numbers and times that modules define, by path and name; times are in seconds."""
    return {
        (str(path.relative_to(ROOT)), name): value
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for name, value in numbers(path.read_text()).items()
    }


def numbers(source: str) -> dict[str, float]:
    """Return the numbers and times that the text of a module assigns to names in capitals."""
    found: dict[str, float] = {}
    for node in ast.parse(source).body:
        name = _assigned_name(node)
        if name is not None and isinstance(node, ast.Assign | ast.AnnAssign):
            value = _number(node.value, found)
            if value is not None:
                found[name] = value
    return found


def rows(text: str) -> Iterator[Row]:
    """Yield the rows of the tables of a page: name, value, unit, consequence, source."""
    for line in text.splitlines():
        cells = [cell.strip().replace("`", "") for cell in line.strip("| ").split(" | ")]
        if line.startswith("| `") and len(cells) == 5:
            name, value, unit, _, source = cells
            number = float(value.replace(",", ""))
            yield Row(name, number * SECONDS_PER_UNIT.get(unit, 1), source)


def _assigned_name(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target: ast.expr = node.targets[0]
    elif isinstance(node, ast.AnnAssign):
        target = node.target
    else:
        return None
    is_constant = isinstance(target, ast.Name) and re.fullmatch(r"[A-Z][A-Z0-9_]*", target.id)
    return target.id if is_constant and isinstance(target, ast.Name) else None


def _number(node: ast.expr | None, known: Mapping[str, float]) -> float | None:
    """Return the value of arithmetic on numbers, known names and `timedelta`, else None."""
    if node is None or not all(
        isinstance(part, _ARITHMETIC + _OPERATORS) for part in ast.walk(node)
    ):
        return None
    names = {"timedelta": timedelta, **known}
    try:
        value = eval(ast.unparse(node), {"__builtins__": {}}, names)  # noqa: S307 our own source
    except NameError:
        return None
    if isinstance(value, timedelta):
        return value.total_seconds()
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None
