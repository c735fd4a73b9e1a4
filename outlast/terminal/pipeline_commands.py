"""`outlast pipeline check`, `graph` and `run`: validate a document, draw it, and run it."""

import argparse
import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError

from outlast.contracts.names import PIPELINE_WORKFLOW
from outlast.errors import BadRequest
from outlast.pipelines.documents import InvalidDocument, check_document
from outlast.pipelines.graph import mermaid
from outlast.pipelines.requests import PipelineProgress, PipelineResult
from outlast.pipelines.tasks import Pipeline
from outlast.start_requests import checked_run_id, tenant_priority
from outlast.temporal.server_errors import outlast_errors
from outlast.terminal.console import (
    EXIT_INTERRUPTED,
    connection_options,
    print_lines,
    print_value,
)
from outlast.terminal.pipeline_files import read_document

if TYPE_CHECKING:
    from outlast.client.client import Client

EXIT_INVALID = 1
EXIT_FAILED = 1
EXIT_STOPPED = 3

LOOK_EVERY_S = 1.0
"""How often the command asks a pipeline for its progress. Each query costs a worker a moment."""


def pipeline_command(options: argparse.Namespace, runner: asyncio.Runner) -> int:
    """Run one of the pipeline commands."""
    document = read_document(options.file)
    try:
        pipeline = check_document(document)
    except InvalidDocument as error:
        print_lines(*(f"{options.file}: {problem}" for problem in error.problems), to_error=True)
        return EXIT_INVALID
    if options.verb == "run":
        return _run(pipeline, document, options, runner)
    if options.verb == "graph":
        print_lines(*mermaid(pipeline).splitlines())
    else:
        print_lines(_summary(pipeline))
    return 0


def _summary(pipeline: Pipeline) -> str:
    called = [
        *(f"agent {name}" for name in pipeline.agents),
        *(f"tool {name}" for name in pipeline.tools),
    ]
    count = pipeline.task_count
    calls = f"; calls {', '.join(called)}" if called else ""
    return (
        f"{pipeline.namespace}/{pipeline.name} {pipeline.version} is valid:"
        f" {count} task{'s' if count != 1 else ''}{calls}"
    )


def _run(
    pipeline: Pipeline, document: JsonValue, options: argparse.Namespace, runner: asyncio.Runner
) -> int:
    run_id = checked_run_id(options.id or f"{pipeline.name}-{uuid.uuid4().hex[:8]}")
    handle = runner.run(_start(run_id, document, options))
    print_lines(f"{'run':<10}{run_id}", to_error=True)
    try:
        result = runner.run(_follow(handle))
    except KeyboardInterrupt:
        print_lines(
            "",
            "The pipeline goes on. To cancel it:",
            f"  outlast cancel {run_id}{connection_options(options)}",
            to_error=True,
        )
        return EXIT_INTERRUPTED
    except WorkflowFailureError as error:
        cause = error.cause
        reason = cause.message if isinstance(cause, ApplicationError) else str(cause or error)
        print_lines(
            f"outlast: the pipeline {run_id} failed: {' '.join(reason.split())}", to_error=True
        )
        return EXIT_FAILED
    return _print_result(run_id, result, is_json=options.json)


async def _start(
    run_id: str, document: JsonValue, options: argparse.Namespace
) -> WorkflowHandle[Any, PipelineResult]:
    client: Client = await options.connect()
    request = {"pipeline": document, "input": options.input, "tenant": options.tenant}
    try:
        with outlast_errors("start"):
            return await client.temporal.start_workflow(
                PIPELINE_WORKFLOW,
                request,
                id=run_id,
                task_queue=options.task_queue,
                result_type=PipelineResult,
                priority=tenant_priority(options.tenant),
            )
    except WorkflowAlreadyStartedError:
        raise BadRequest(f"id: a run {run_id!r} exists already; choose another id") from None


async def _follow(handle: WorkflowHandle[Any, PipelineResult]) -> PipelineResult:
    """Print the tasks that start and the requests that wait, until the pipeline ends."""
    ending = asyncio.ensure_future(handle.result())
    seen: set[str] = set()
    try:
        while not ending.done():
            for line in await _news(handle, seen):
                print_lines(line, to_error=True)
            await asyncio.wait([ending], timeout=LOOK_EVERY_S)
        return ending.result()
    finally:
        ending.cancel()


async def _news(handle: WorkflowHandle[Any, PipelineResult], seen: set[str]) -> list[str]:
    """Return a line for each task and request that was not seen before."""
    try:
        progress: PipelineProgress = await handle.query("progress", result_type=PipelineProgress)
    except (RPCError, WorkflowQueryFailedError):
        return []  # no worker answers, or the pipeline is not open: the result tells more
    lines = {
        **{f"task {task.place}": f"{'task':<10}{task.place}" for task in progress.running},
        **{
            f"request {each.request_id}": f"{'request':<10}{each.request_id} waits for"
            f" {each.audience}: outlast inbox"
            for each in progress.pending
        },
    }
    new = [line for key, line in lines.items() if key not in seen]
    seen.update(lines)
    return new


def _print_result(run_id: str, result: PipelineResult, *, is_json: bool) -> int:
    outcome = f"{result.status} ({result.stop_reason})" if result.stop_reason else result.status
    cost = f"{result.usage.tokens:,} tokens · ${result.usage.cost_usd:.4f}"
    print_lines(f"{'end':<10}{outcome} · {result.tasks:,} tasks · {cost}", to_error=True)
    if is_json:
        print_lines(json.dumps({"run": run_id, **result.model_dump(mode="json")}))
    elif result.status == "completed":
        print_value(result.output)
    return 0 if result.status == "completed" else EXIT_STOPPED
