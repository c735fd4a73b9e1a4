"""The command lines of `outlast worker promote` and `outlast worker builds`."""

import argparse
import itertools
import math
import re
from typing import Any

from outlast.contracts.names import NAME_PATTERN
from outlast.text.json_text import from_json
from outlast.text.texts import cut
from outlast_workers.builds.plan import (
    ALL_PERCENT,
    GATE_TIMEOUT_S,
    HOLD_S,
    INTERVAL_S,
    MAX_FAILURE_RATE,
    POLLER_TIMEOUT_S,
    RAMP,
    STEP_TIMEOUT_S,
    Gate,
    Plan,
)

PROMOTE = """\
Sends new runs to a build, step by step. Waits until its workers poll every task queue of the current build,
runs the gates on it, ramps it, and makes it current. If too many runs fail, the ramp is ended. Runs that
have started stay on their build. If the command was killed, run it again: it continues where it stopped.

Exit status: 0 if the build is current, 1 after an error of Temporal, 2 for an invalid option, 3 if the
promotion stopped, 4 if the build is current but older builds have open runs after --drain-timeout, and
130 after Ctrl-C, which changes nothing.
"""

BUILDS = """\
Lists the builds of a worker deployment, with the runs that are pinned to each, and what to do about it.
With --check, the exit status is 4 if a build has open runs: check before you remove workers.
"""

MAX_QUOTED_BYTES = 60
"""A value in an error message."""

MAX_SECONDS = 30 * 24 * 3600.0
"""Upper limit of each time: 30 days."""

MAX_STEPS = 20
"""Steps of a ramp, as many as the worker controller for Kubernetes allows."""

MAX_MIN_RUNS = 1_000_000

MIN_INTERVAL_S = 0.1
"""Shorter intervals would only load the server."""


def add_build_commands(commands: Any) -> list[argparse.ArgumentParser]:
    """Add both commands, and return their parsers."""
    promote = commands.add_parser(
        "promote",
        help="send new runs to a build in steps, and stop if they fail",
        description=PROMOTE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    promote.add_argument(
        "build", metavar="BUILD", help="the build id, usually the tag of the image"
    )
    _add_promote_options(promote)
    builds = commands.add_parser(
        "builds", help="list the builds, their workers and open runs", description=BUILDS
    )
    builds.add_argument(
        "--delete-drained",
        action="store_true",
        help="delete the builds at the server that are drained and have had no worker for minutes",
    )
    _add_check_options(builds)
    for command in (promote, builds):
        command.add_argument(
            "--deployment",
            metavar="NAME",
            help="the worker deployment (default: the setting, or the only one of the namespace)",
        )
        command.add_argument("--json", action="store_true", help="print the result as JSON")
    return [promote, builds]


def _add_check_options(builds: argparse.ArgumentParser) -> None:
    builds.add_argument(
        "--check",
        nargs="*",
        metavar="BUILD",
        help="list nothing; exit with 4 if one of these builds has open runs (default: any build)",
    )
    builds.add_argument(
        "--except",
        dest="ignored",
        action="append",
        default=[],
        metavar="BUILD",
        help="check all builds but this one, whose workers stay. Repeatable",
    )
    builds.add_argument(
        "--otherwise",
        metavar="COMMAND",
        help="the command that the error of a check names, to go on although runs are open",
    )


def _add_promote_options(promote: argparse.ArgumentParser) -> None:
    promote.add_argument(
        "--ramp",
        type=_ramp,
        default=RAMP,
        metavar="PERCENT,…",
        help="shares of new runs before the build is current (10,50); 100: no ramp",
    )
    promote.add_argument(
        "--gate",
        type=_gate,
        action="append",
        default=[],
        metavar="AGENT=INPUT",
        help="first run this agent on the build; it must complete. INPUT is text, or JSON. Repeatable",
    )
    promote.add_argument(
        "--max-failure-rate",
        type=_rate,
        default=MAX_FAILURE_RATE,
        metavar="RATE",
        help="part of the ended runs that may fail, from 0 to 1 (%(default)s)",
    )
    promote.add_argument(
        "--min-runs",
        type=_count,
        default=0,
        metavar="N",
        help="each step waits until so many runs of the build have ended (%(default)s)",
    )
    for name, default, text in (
        ("--hold", HOLD_S, "how long each step lasts at least"),
        ("--step-timeout", STEP_TIMEOUT_S, "how long a step waits for --min-runs"),
        ("--poller-timeout", POLLER_TIMEOUT_S, "how long to wait for the workers of the build"),
        ("--gate-timeout", GATE_TIMEOUT_S, "how long each gate run may take"),
        ("--drain-timeout", 0.0, "how long to wait at the end until older builds are drained"),
        ("--interval", INTERVAL_S, "time between two readings"),
    ):
        promote.add_argument(
            name, type=_seconds, default=default, metavar="SECONDS", help=f"{text} ({default:g})"
        )
    for name, text in (
        ("--queue", "also wait for workers of this task queue, which is new. Repeatable"),
        ("--drop-queue", "a task queue that the build no longer serves. Repeatable"),
    ):
        promote.add_argument(name, action="append", default=[], metavar="QUEUE", help=text)
    promote.add_argument(
        "--dry-run", action="store_true", help="print what the command would do, and do nothing"
    )


def plan_of(options: argparse.Namespace, *, workflow_queue: str) -> Plan:
    """Return the plan of a command line."""
    return Plan(
        build_id=options.build,
        workflow_queue=workflow_queue,
        ramp=options.ramp,
        gates=tuple(options.gate),
        max_failure_rate=options.max_failure_rate,
        min_runs=options.min_runs,
        hold_s=options.hold,
        step_timeout_s=max(options.step_timeout, options.hold),
        poller_timeout_s=options.poller_timeout,
        gate_timeout_s=options.gate_timeout,
        drain_timeout_s=options.drain_timeout,
        interval_s=max(options.interval, MIN_INTERVAL_S),
        added_queues=frozenset(options.queue),
        dropped_queues=frozenset(options.drop_queue),
    )


def _quoted(text: str) -> str:
    return repr(cut(text, MAX_QUOTED_BYTES))


def _number(text: str) -> float:
    try:
        number = float(text) if text.isascii() else math.nan
    except ValueError:
        number = math.nan
    return number if math.isfinite(number) else math.nan


def _ramp(text: str) -> tuple[float, ...]:
    steps = tuple(map(_number, text.split(",")))
    is_rising = all(low < high for low, high in itertools.pairwise(steps))
    if (
        len(steps) > MAX_STEPS
        or not is_rising
        or not all(0 < step <= ALL_PERCENT for step in steps)
    ):
        raise argparse.ArgumentTypeError(
            f"{_quoted(text)} is not a rising list of at most {MAX_STEPS} percentages, such as 10,50"
        )
    return tuple(step for step in steps if step < ALL_PERCENT)


def _gate(text: str) -> Gate:
    agent, equals, value = text.partition("=")
    if not equals or not re.fullmatch(NAME_PATTERN, agent):
        raise argparse.ArgumentTypeError(
            f"{_quoted(text)} is not AGENT=INPUT, such as refund-desk='Where is A-1042?'"
        )
    if not value:
        raise argparse.ArgumentTypeError(f"{_quoted(text)} has no input after '='")
    try:
        return Gate(agent, from_json(value))
    except ValueError:
        return Gate(agent, value)


def _rate(text: str) -> float:
    rate = _number(text)
    if not 0 <= rate <= 1:
        raise argparse.ArgumentTypeError(f"{_quoted(text)} is not a number from 0 to 1")
    return rate


def _count(text: str) -> int:
    count = int(text) if text.isascii() and text.isdigit() and len(text) <= 7 else -1
    if not 0 <= count <= MAX_MIN_RUNS:
        raise argparse.ArgumentTypeError(
            f"{_quoted(text)} is not a whole number from 0 to {MAX_MIN_RUNS:,}"
        )
    return count


def _seconds(text: str) -> float:
    seconds = _number(text)
    if not 0 <= seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{_quoted(text)} is not a number of seconds from 0 to {MAX_SECONDS:,.0f}"
        )
    return seconds
