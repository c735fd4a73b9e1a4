"""A pipeline as lines for a terminal: its tasks, agents and requests, until it ends."""

import argparse
import asyncio
import json
import shlex
import time
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from outlast.client.pending_steps import QUIET_BEFORE_STEPS_S, described_steps
from outlast.client.waiting import Waiting, request_text
from outlast.contracts.human import PendingRequest
from outlast.contracts.pipeline_results import PipelineProgress, PipelineResult
from outlast.errors import BadRequest, Unavailable
from outlast.temporal.server_errors import QueryRejected, outlast_errors
from outlast.terminal.console import (
    EXIT_INTERRUPTED,
    connection_options,
    print_lines,
    print_value,
)
from outlast.terminal.run_view import LABEL_WIDTH, RunView

EXIT_FAILED = 1
EXIT_STOPPED = 3

LOOK_EVERY_S = 0.5
"""How often the command asks a pipeline for its progress. Each query costs a worker a moment."""

STEP = "step "
"""How the key of a line begins that is shown only if it stays true for `QUIET_BEFORE_STEPS_S`."""

LOOK_TIMEOUT = timedelta(seconds=10)
"""A worker answers a query in milliseconds. It replays a long run in seconds."""

PipelineHandle = WorkflowHandle[Any, PipelineResult]


def follow_pipeline(
    handle: PipelineHandle, options: argparse.Namespace, runner: asyncio.Runner
) -> int:
    """Follow a pipeline to its end, print its result, and return the exit status."""
    connection = connection_options(options)
    try:
        result = runner.run(_print_to_end(handle, connection))
    except KeyboardInterrupt:
        name = shlex.quote(handle.id) + connection
        print_lines(
            "",
            "The pipeline goes on. To see it again, or to cancel it:",
            f"  outlast watch {name}",
            f"  outlast cancel {name}",
            to_error=True,
        )
        return EXIT_INTERRUPTED
    except WorkflowFailureError as error:
        cause = error.cause
        reason = cause.message if isinstance(cause, ApplicationError) else str(cause or error)
        print_lines(
            f"outlast: the pipeline {handle.id} failed: {' '.join(reason.split())}", to_error=True
        )
        return EXIT_FAILED
    return _print_result(handle.id, result, is_json=options.json)


async def _print_to_end(handle: PipelineHandle, connection: str) -> PipelineResult:
    """Print the tasks and agents that run and the requests that wait, until the pipeline ends."""
    ending = asyncio.ensure_future(handle.result())
    seen: set[str] = set()
    since: dict[str, float] = {}
    try:
        while not (await asyncio.wait([ending], timeout=LOOK_EVERY_S))[0]:
            found = await _found(handle, connection)
            now = time.monotonic()
            since = {key: since.get(key, now) for key in found}
            for key, lines in found.items():
                quiet_s = QUIET_BEFORE_STEPS_S if key.startswith(STEP) else 0
                if key not in seen and now - since[key] >= quiet_s:
                    print_lines(*lines, to_error=True)
                    seen.add(key)
        with outlast_errors("result", handle.id):
            return ending.result()
    finally:
        ending.cancel()


async def _found(handle: PipelineHandle, connection: str) -> dict[str, list[str]]:
    """Return the lines of each task, agent and request of now, by a key of its own."""
    try:
        with outlast_errors("progress", handle.id):
            progress: PipelineProgress = await handle.query(
                "progress", result_type=PipelineProgress, rpc_timeout=LOOK_TIMEOUT
            )
            described = await handle.describe(rpc_timeout=LOOK_TIMEOUT)
            steps = [step.text for step in await described_steps(described) if not step.called_run]
    except QueryRejected:
        return {}  # the pipeline is not open: the result tells more
    except Unavailable as error:
        return _step_lines([str(error)])
    except BadRequest:
        return {}  # it has ended, and is not kept: the result tells more
    children = [each.workflow_id for each in described.raw_description.pending_children]
    return {
        **{f"task {task.place}": [_labelled("task", task.place)] for task in progress.running},
        **{
            f"agent {child}": [
                _labelled("agent", f"outlast watch {shlex.quote(child)}{connection}")
            ]
            for child in children
        },
        **{
            f"request {each.request_id} {each.audience}": _request_lines(
                handle.id, each, connection
            )
            for each in progress.pending
        },
        **_step_lines(steps),
    }


def _step_lines(texts: list[str]) -> dict[str, list[str]]:
    """Return what the steps wait for, each by a key of its own."""
    return {f"{STEP}{text}": [_labelled("waits", text.removeprefix("waits "))] for text in texts}


def _labelled(label: str, text: str) -> str:
    return f"{label:<{LABEL_WIDTH}}{text}"


def _request_lines(run_id: str, request: PendingRequest, connection: str) -> list[str]:
    """Return who must decide what, and the commands that decide it."""
    waiting = Waiting(content=request_text(request, run_id), request=request)
    return RunView(run_id, connection=connection).lines(waiting)


def _print_result(run_id: str, result: PipelineResult, *, is_json: bool) -> int:
    outcome = f"{result.status} ({result.stop_reason})" if result.stop_reason else result.status
    cost = f"{result.usage.tokens:,} tokens · ${result.usage.cost_usd:.4f}"
    count = f"{result.tasks:,} task{'' if result.tasks == 1 else 's'}"
    print_lines(_labelled("end", f"{outcome} · {count} · {cost}"), to_error=True)
    if is_json:
        print_lines(json.dumps({"run": run_id, **result.model_dump(mode="json")}))
    elif result.status == "completed":
        print_value(result.output)
    return 0 if result.status == "completed" else EXIT_STOPPED
