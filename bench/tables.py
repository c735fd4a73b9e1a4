"""Tables of results: printed for people, and written as JSON for programs."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine

RESULTS = Path(__file__).parent / "results"

Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """Rows under a title. "x floor" heads a ratio to the floor, of the column before it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __str__(self) -> str:
        """Lay the table out in columns of text, numbers to the right."""
        lines = [list(self.columns), *([_text(cell) for cell in row] for row in self.rows)]
        widths = [max(len(line[index]) for line in lines) for index in range(len(self.columns))]
        laid_out = [
            "  ".join(
                cell.ljust(width) if index == 0 else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        rule = "-" * len(laid_out[0])
        return "\n".join([self.title, rule, laid_out[0], rule, *laid_out[1:], ""])

    def records(self) -> list[dict[str, Cell]]:
        """Return the rows by name of column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def ratio(value: float, base: float | None) -> float | None:
    """Return how many times `base` a value is; None where there is nothing to compare with."""
    return value / base if base else None


def write(name: str, tables: Sequence[Table], options: dict[str, Any], *, others: float) -> Path:
    """Write a benchmark's tables, with what they were measured on, over those of the last run.

    `others` is the share of the CPUs that other processes used meanwhile.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {
        "benchmark": name,
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "options": options,
        "machine": machine.description(),
        "cpu_share_of_others": round(others, 3),
        "tables": [{"title": table.title, "rows": table.records()} for table in tables],
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:#.3g}"
    return f"{cell:,}" if isinstance(cell, int) else cell
