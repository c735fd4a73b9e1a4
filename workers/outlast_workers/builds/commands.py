"""The commands `outlast worker promote` and `outlast worker builds`: progress, results and exit status."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from typing import Any

from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError

from outlast.errors import NotReady
from outlast.text.safe_text import summary_line
from outlast_workers.builds.arguments import plan_of
from outlast_workers.builds.deployment import Deployment, find_deployment
from outlast_workers.builds.listing import (
    BuildRow,
    build_json,
    build_lines,
    delete_drained,
    list_builds,
    open_runs,
)
from outlast_workers.builds.plan import Plan
from outlast_workers.builds.promotion import Promotion, PromotionStopped
from outlast_workers.connection import connect
from outlast_workers.settings import Settings

CONNECT_WAIT_S = 10.0
"""Seconds to reach the Temporal server."""

EXIT_FAILED = 1
"""Temporal does not answer, or rejects the connection: the same command may succeed later."""

EXIT_STOPPED = 3
"""The build must not get more runs. `outlast run` ends with the same status if a run stops."""

EXIT_DRAINING = 4
"""Builds that get no new runs have open ones: their workers must stay."""

EXIT_INTERRUPTED = 130

STATE_TIMEOUT_S = 5.0
"""Seconds to read the state of the deployment after Ctrl-C."""

MAX_LINE_BYTES = 1_000
"""Progress and errors are lines in the log of a CI job."""


def _say(text: str) -> None:
    print(summary_line(text, MAX_LINE_BYTES), file=sys.stderr, flush=True)  # noqa: T201 a command


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        print(line, flush=True)  # noqa: T201 a command-line program


def _server_error(error: RPCError) -> str:
    return f"Temporal returned an error: {error.message or error.status.name}"


async def _connected(settings: Settings, options: argparse.Namespace) -> Deployment:
    client = await connect(
        plugins=[settings.payloads.plugin()],
        # By default the SDK logs retries to stdout, between the lines of this command.
        runtime=Runtime(telemetry=TelemetryConfig(logging=None)),
        wait_s=CONNECT_WAIT_S,
    )
    return await find_deployment(client, [options.deployment, settings.versioning.deployment_name])


async def show_builds(settings: Settings, options: argparse.Namespace) -> int:
    """Print the builds of a deployment, delete drained ones on request, and return the exit status."""
    try:
        deployment = await _connected(settings, options)
        if options.check is not None or options.ignored:
            return await _check(deployment, options)
        rows = await _rows(deployment)
        deleted = await delete_drained(deployment, rows) if options.delete_drained else {}
    except RPCError as error:
        raise NotReady(_server_error(error)) from None
    rows = [row for row in rows if deleted.get(row.id, "") is not None]
    if options.json:
        result = {"deployment": deployment.name, "builds": [*map(build_json, rows)]}
        _print([json.dumps(result | ({"deleted": deleted} if options.delete_drained else {}))])
    else:
        _print(build_lines(rows))
        for build_id, problem in deleted.items():
            _say(f"deleted {build_id}" if problem is None else f"{build_id} stays: {problem}")
    return EXIT_FAILED if any(deleted.values()) else 0


async def _rows(deployment: Deployment) -> list[BuildRow]:
    routing = await deployment.routing()
    if routing is None:
        raise NotReady(f"--deployment: the server knows no worker deployment {deployment.name!r}")
    return await list_builds(deployment, routing)


async def _check(deployment: Deployment, options: argparse.Namespace) -> int:
    """Say whether builds have open runs, and return the exit status."""
    counts = await open_runs(deployment, options.check or [], ignored=options.ignored)
    if options.json:
        _print([json.dumps({"deployment": deployment.name, "open_runs": counts})])
    if not counts:
        _say(f"no checked build of {deployment.name} has open runs: its workers can be removed")
        return 0
    each = ", ".join(f"{build_id}: {count}" for build_id, count in counts.items())
    anyway = f". To remove the workers anyway: {options.otherwise}" if options.otherwise else ""
    _say(
        f"outlast: open runs need their workers ({each}). Wait until they have ended:"
        f" outlast worker builds --deployment {deployment.name}{anyway}"
    )
    return EXIT_DRAINING


async def promote_build(settings: Settings, options: argparse.Namespace) -> int:
    """Promote a build, print the result, and return the exit status."""
    plan = plan_of(options, workflow_queue=settings.queue("workflows"))
    try:
        deployment = await _connected(settings, options)
    except RPCError as error:
        raise NotReady(_server_error(error)) from None
    if options.dry_run:
        return await _show_plan(deployment, plan)
    promotion = Promotion(deployment, plan, _say)
    _cancel_on_sigterm()
    outcome, reason, status = "current", None, 0
    try:
        if not await promotion.run() and plan.drain_timeout_s:
            outcome, status = "draining", EXIT_DRAINING
    except PromotionStopped as stop:
        outcome, reason, status = stop.cause.value, str(stop), EXIT_STOPPED
    except RPCError as error:
        outcome, status = "server_error", EXIT_FAILED
        reason = f"{_server_error(error)}. {REPEAT}"
    except asyncio.CancelledError:
        outcome, status = "interrupted", EXIT_INTERRUPTED
        reason = f"interrupted: {await _state(deployment, plan)}. {REPEAT}"
    if reason is not None:
        _say(f"outlast: {reason}")
    if options.json:
        _print([json.dumps(_result(deployment, promotion, plan, outcome, reason))])
    return status


REPEAT = "Repeat the command: it goes on from there"


def _result(
    deployment: Deployment, promotion: Promotion, plan: Plan, outcome: str, reason: str | None
) -> dict[str, Any]:
    counts = promotion.counts
    return {
        "deployment": deployment.name,
        "build": plan.build_id,
        "outcome": outcome,
        "reason": reason,
        "runs": {
            "open": counts.open,
            "ended": counts.ended,
            "failed": counts.failed,
            "stuck": counts.stuck,
        },
    }


def _cancel_on_sigterm() -> None:
    """End the command on SIGTERM, which Kubernetes sends, as on Ctrl-C."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def _state(deployment: Deployment, plan: Plan) -> str:
    """Return which build gets new runs, in words."""
    try:
        async with asyncio.timeout(STATE_TIMEOUT_S):
            routing = await deployment.routing()
    except (RPCError, TimeoutError):
        return "the state is unknown, because Temporal does not answer"
    if routing is None or not routing.current:
        return "no build is current"
    if routing.ramping:
        return (
            f"{routing.percent:g} % of new runs start on {routing.ramping}, the others on"
            f" {routing.current}"
        )
    if routing.current == plan.build_id:
        return f"{routing.current} is current"
    return f"new runs start on {routing.current}, none on {plan.build_id}"


async def _show_plan(deployment: Deployment, plan: Plan) -> int:
    """Print what a promotion would do, and return the exit status."""
    steps = [f"now: {await _state(deployment, plan)}"]
    steps.append(
        f"wait up to {plan.poller_timeout_s:g} s until workers of {plan.build_id} poll the queues of"
        " the current build"
    )
    steps += [
        f"run {gate.agent} on {plan.build_id}, at most {plan.gate_timeout_s:g} s"
        for gate in plan.gates
    ]
    steps += [
        f"send {percent:g} % of new runs to {plan.build_id} for {plan.hold_s:g} s, and end the ramp if"
        f" more than {plan.max_failure_rate:g} of them fail"
        for percent in plan.ramp
    ]
    steps.append(f"make {plan.build_id} current in {deployment.name}")
    _print(steps)
    return 0
