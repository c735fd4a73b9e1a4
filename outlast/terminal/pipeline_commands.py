"""`outlast pipeline check` and `graph`: validate a document, and draw it. They need no server."""

import argparse
import asyncio

from outlast.pipelines.documents import InvalidDocument, check_document
from outlast.pipelines.graph import mermaid
from outlast.pipelines.tasks import Pipeline
from outlast.terminal.console import print_lines
from outlast.terminal.pipeline_files import read_document

EXIT_INVALID = 1


def pipeline_command(options: argparse.Namespace, runner: asyncio.Runner) -> int:
    """Run one of the pipeline commands."""
    del runner
    try:
        pipeline = check_document(read_document(options.file))
    except InvalidDocument as error:
        print_lines(*(f"{options.file}: {problem}" for problem in error.problems), to_error=True)
        return EXIT_INVALID
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
