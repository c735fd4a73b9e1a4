"""`outlast pipeline`: validate a document, draw it, run it, and import one from a state machine."""

import argparse
import asyncio
import json
import uuid
from typing import TYPE_CHECKING

from pydantic import JsonValue
from temporalio.exceptions import WorkflowAlreadyStartedError

from outlast.contracts.names import PIPELINE_WORKFLOW
from outlast.contracts.pipeline_results import PipelineResult
from outlast.errors import BadRequest
from outlast.pipelines.documents import InvalidDocument, check_document
from outlast.pipelines.graph import mermaid
from outlast.pipelines.svg import svg
from outlast.pipelines.tasks import Pipeline
from outlast.start_requests import checked_run_id, tenant_priority
from outlast.temporal.server_errors import outlast_errors
from outlast.terminal.console import print_lines
from outlast.terminal.pipeline_files import read_document
from outlast.terminal.pipeline_view import PipelineHandle, follow_pipeline

if TYPE_CHECKING:
    from outlast.client.client import Client

EXIT_INVALID = 1


def pipeline_command(options: argparse.Namespace, runner: asyncio.Runner) -> int:
    """Run one of the pipeline commands."""
    if options.verb == "import":
        return _import(options)
    document = read_document(options.file)
    if isinstance(document, dict) and "pipeline" in document and "do" not in document:
        raise BadRequest(
            f"{options.file}: this is the input of a run; the document is its field 'pipeline'"
        )
    try:
        pipeline = check_document(document)
    except InvalidDocument as error:
        print_lines(*(f"{options.file}: {problem}" for problem in error.problems), to_error=True)
        return EXIT_INVALID
    if options.verb == "run":
        return _run(pipeline, document, options, runner)
    if options.verb == "graph":
        draw = svg if options.format == "svg" else mermaid
        print_lines(*draw(pipeline).splitlines())
    else:
        print_lines(_summary(pipeline))
    return 0


def _import(options: argparse.Namespace) -> int:
    """Print the document of a state machine, and on stderr what could not be moved."""
    # Imported here, because the other commands need none of it.
    from outlast.pipelines.asl.machine import NotAStateMachine, import_machine  # noqa: PLC0415
    from outlast.pipelines.asl.resources import Resources  # noqa: PLC0415

    machine = read_document(options.file)
    resources = Resources(read_document(options.map) if options.map else None)
    name = options.name or options.file.name.partition(".")[0]
    try:
        document, report = import_machine(machine, name, resources)
    except NotAStateMachine as error:
        print_lines(*(f"{options.file}: {problem}" for problem in error.problems), to_error=True)
        return EXIT_INVALID
    print_lines(*json.dumps(document, indent=2, ensure_ascii=False).splitlines())
    for label, found in (("note", report.remarks), ("not moved", report.holes)):
        for each in found:
            print_lines(f"{options.file}: {label}: {each}", to_error=True)
    if report.holes:
        return EXIT_INVALID
    check_document(document)
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
    return follow_pipeline(handle, options, runner)


async def _start(run_id: str, document: JsonValue, options: argparse.Namespace) -> PipelineHandle:
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
