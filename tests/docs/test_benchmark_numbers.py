"""Numbers that a page repeats from bench/README.md: both change together, or `make test` fails."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPERATING = (ROOT / "docs" / "operating.md").read_text()
SIZES = OPERATING.partition("## Size")[2].partition("\n## ")[0]
BENCH = (ROOT / "bench" / "README.md").read_text()
WATCHING = (ROOT / "docs" / "watching.md").read_text()

REPEATED = (
    ("CPU of a worker for a turn, 100 runs at once", "worker CPU ms a turn, 100 runs at once", 4),
    ("memory of a worker after 100 runs at once", "MiB after it", 4),
    ("memory of a worker with 1,000 open runs", "MiB with 1,000 runs open", 3),
    (
        "memory that a run adds while it waits for a person",
        "outlast, 1,000 runs in memory",
        1,
    ),
)
"""A row of docs/operating.md, the row of bench/README.md that it repeats, and the column there."""


def cell(text: str, label: str, column: int) -> str:
    """Return the number at the start of a cell; the label is in column 0."""
    (row,) = (line for line in text.splitlines() if line.startswith(f"| {label} |"))
    number = re.match(r"[\d,.]+", row.strip("|").split("|")[column].strip())
    assert number is not None, row
    return number.group()


@pytest.mark.parametrize(("here", "there", "column"), REPEATED)
def test_the_sizes_are_those_of_the_benchmarks(here: str, there: str, column: int) -> None:
    assert cell(SIZES, here, 1) == cell(BENCH, there, column)


def test_each_size_is_compared() -> None:
    rows = re.findall(r"^\| ((?!what |---).+?) \|", SIZES, re.MULTILINE)
    assert sorted(rows) == sorted(here for here, _, _ in REPEATED)


def test_the_cpu_of_a_hundred_runs_follows_from_the_cpu_of_a_turn() -> None:
    ms_a_second = float(cell(SIZES, REPEATED[0][0], 1)) / 10
    words = " ".join(SIZES.split())
    assert f"needs {ms_a_second:.1f} ms of CPU a second" in words
    assert f"100 such runs need {100 * ms_a_second / 1000:.2f} cores" in words


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("without telemetry", "untraced"),
        ("with metrics", "metrics"),
        ("with metrics and traces", "traced"),
    ],
)
def test_the_overhead_of_telemetry_is_that_of_the_benchmark(here: str, there: str) -> None:
    measured = [
        cell(BENCH, f"{there}, {load}", column)
        for load in ("no model latency", "a model that takes 1 s")
        for column in (1, 3)
    ]
    assert [cell(WATCHING, here, column) for column in range(1, 5)] == measured
