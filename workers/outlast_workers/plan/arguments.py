"""The command line of `outlast worker plan`."""

import argparse
import math
from pathlib import Path
from typing import Any

from outlast.text.texts import cut

MAX_CONCURRENT_RUNS = 10_000
"""Runs at a time of a plan."""

PLAN = """\
Simulates a workload on four architectures. Prints the monthly cost of each, which one is cheapest, at which
load another one becomes cheaper, and what decides. The workload is spiky, mixed, steady, bursty, or a file
(TOML or JSON): docs/choosing.md lists its fields. A warning names prices that are older than 90 days.
"""


def add_plan_command(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "plan",
        help="simulate a workload on four architectures, and say what each costs",
        description=PLAN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "what",
        nargs="?",
        choices=("claims",),
        help="claims: check published claims with runs of the planner (takes a minute)",
    )
    command.add_argument(
        "--workload",
        default="mixed",
        metavar="NAME|FILE",
        help="spiky, mixed, steady, bursty, or a file that ends in .toml or .json (%(default)s)",
    )
    command.add_argument(
        "--concurrency",
        type=_concurrency,
        metavar="N",
        help="concurrent runs, instead of the number in the workload",
    )
    command.add_argument("--model", choices=("gpu", "api"), help="where the model runs")
    command.add_argument("--seed", type=_seed, metavar="N", help="seed of the simulation")
    command.add_argument("--json", action="store_true", help="print the plan as JSON")
    command.add_argument(
        "--write",
        type=Path,
        metavar="DIR",
        help="write plan.json, plan.svg, and settings for each architecture into a folder",
    )


def _concurrency(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= MAX_CONCURRENT_RUNS:
        raise argparse.ArgumentTypeError(
            f"{cut(text, 40)!r} is not a number above 0, up to {MAX_CONCURRENT_RUNS}"
        )
    return value


def _seed(text: str) -> int:
    seed = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else -1
    if seed < 0:
        raise argparse.ArgumentTypeError(
            f"{cut(text, 40)!r} is not a whole number of at most 9 digits"
        )
    return seed
