"""`outlast run`, `watch` and `cancel`: start a run, follow it to its answer, and cancel it.

Progress goes to stderr, and the answer to stdout. The exit status says how the run ended.
"""

import argparse
import asyncio
import json
import shlex
import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from temporalio.client import WorkflowHandle

from outlast.contracts.names import PIPELINE_WORKFLOW, WORKFLOWS
from outlast.contracts.pipeline_results import PipelineResult
from outlast.contracts.requests import MAX_INPUT_BYTES
from outlast.contracts.results import AgentResult
from outlast.errors import BadRequest, RunFailed, RunNotFound, Unavailable
from outlast.temporal.server_errors import outlast_errors
from outlast.terminal.console import (
    EXIT_INTERRUPTED,
    connection_options,
    print_lines,
    print_value,
    read_stdin,
)
from outlast.terminal.pipeline_view import PipelineHandle, follow_pipeline
from outlast.terminal.run_view import (
    RunView,
    compensation_lines,
    failed_call_lines,
    price_lines,
    result_line,
)
from outlast.text.json_text import from_json
from outlast.text.texts import cut

if TYPE_CHECKING:
    from outlast.client.client import Client
    from outlast.client.media import RunInput
    from outlast.client.runs import Run
    from outlast.media.media import Media

EXIT_FAILED = 1
EXIT_STOPPED = 3

MAX_TYPE_BYTES = 80
"""Bytes of the type of a workflow in a message."""


def start_run(options: argparse.Namespace, runner: asyncio.Runner) -> int:
    """Start a run and follow it to its end."""
    run_id = options.id or f"{options.agent or 'spec'}-{uuid.uuid4().hex[:8]}"
    text = _stdin_text() if options.text == "-" else options.text
    spec = _read_spec(options.spec) if options.spec else None
    media = _media(options)
    given: RunInput = options.input
    if options.input is None:
        given = [text, *media] if media else text

    async def start() -> "Run":
        client: Client = await options.connect()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            run = await client.start(
                options.agent,
                given,
                spec=spec,
                tenant=options.tenant,
                limits=options.limits,
                id=run_id,
                task_queue=options.task_queue,
            )
        for each in caught:
            print_lines(f"outlast: warning: {each.message}", to_error=True)
        return run

    try:
        run = runner.run(start())
    except KeyboardInterrupt:
        print_lines(f"\nThe run {run_id} may have started.", to_error=True)
        raise
    print_lines(f"{'run':<10}{run.id}", to_error=True)
    return _follow(run, options, runner)


def watch_run(options: argparse.Namespace, runner: asyncio.Runner) -> int:
    """Follow a run that exists, an agent or a pipeline, to its end."""

    async def find() -> "Run | PipelineHandle":
        client: Client = await options.connect()
        handle = client.temporal.get_workflow_handle(options.run, result_type=PipelineResult)
        with outlast_errors("watch", options.run):
            description = await handle.describe()
        if description.workflow_type == PIPELINE_WORKFLOW:
            return handle
        if description.workflow_type not in WORKFLOWS:
            kind = cut(description.workflow_type, MAX_TYPE_BYTES)
            raise BadRequest(
                f"the run {options.run!r} has the type {kind!r}; only agents and pipelines can be followed:"
                " use `temporal workflow show`"
            )
        return client.get(options.run)

    found = runner.run(find())
    if isinstance(found, WorkflowHandle):
        return follow_pipeline(found, options, runner)
    return _follow(found, options, runner)


def cancel_run(options: argparse.Namespace, runner: asyncio.Runner) -> int:
    """Cancel a run."""

    async def cancel() -> None:
        client: Client = await options.connect()
        run, handle = client.get(options.run), client.temporal.get_workflow_handle(options.run)
        with outlast_errors("cancel", options.run):
            # The server accepts the cancellation of a run that has ended, and ignores it.
            if (await handle.describe()).close_time is not None:
                raise RunNotFound(f"the run {options.run!r} has ended already")
        await run.cancel()

    runner.run(cancel())
    name = shlex.quote(options.run) + connection_options(options)
    print_lines(f"cancellation requested: outlast watch {name} shows the end of the run")
    return 0


def _follow(run: "Run", options: argparse.Namespace, runner: asyncio.Runner) -> int:
    connection = connection_options(options)
    try:
        result = runner.run(_print_to_end(run, RunView(run.id, connection=connection)))
    except KeyboardInterrupt:
        name = shlex.quote(run.id) + connection
        print_lines(
            "",
            "The run goes on. To see it again, or to cancel it:",
            f"  outlast watch {name}",
            f"  outlast cancel {name}",
            to_error=True,
        )
        return EXIT_INTERRUPTED
    except RunFailed as error:
        if options.json:
            failure = {"type": error.cause_type, "message": error.message}
            print_lines(json.dumps({"run": run.id, "status": "failed", "error": failure}))
        print_lines(f"outlast: the run {run.id} failed: {_one_line(error.message)}", to_error=True)
        return EXIT_FAILED
    has_cost_limit = "max_cost_usd" in (getattr(options, "limits", None) or {})  # not for `watch`
    return _print_result(run, result, is_json=options.json, has_cost_limit=has_cost_limit)


async def _print_to_end(run: "Run", view: RunView) -> AgentResult:
    try:
        async for entry in run.stream():
            if entry.role != "text":
                print_lines(*view.lines(entry), to_error=True)
    except Unavailable as error:
        # The server knows the result of an ended run, even if no worker can show its transcript.
        print_lines(str(error), to_error=True)
    return await run.result()


def _print_result(run: "Run", result: AgentResult, *, is_json: bool, has_cost_limit: bool) -> int:
    lines = [
        *(price_lines(result) if has_cost_limit else ()),
        *(result_line(result), *failed_call_lines(result), *compensation_lines(result)),
    ]
    print_lines(*lines, to_error=True)
    if is_json:
        print_lines(json.dumps({"run": run.id, **result.model_dump(mode="json")}))
    elif result.output_json is not None or result.status == "completed":
        print_value(result.output_json)
    return 0 if result.status == "completed" else EXIT_STOPPED


def _stdin_text() -> str:
    try:
        return read_stdin(MAX_INPUT_BYTES).decode()
    except UnicodeDecodeError:
        raise BadRequest("stdin is not text in UTF-8") from None


def _media(options: argparse.Namespace) -> "list[Media]":
    """Return the images and files of a command line. Raises `BadRequest` for one that cannot be used."""
    if not options.image and not options.file:
        return []
    # Imported here, because most runs have none.
    from outlast.media.media import File, Image  # noqa: PLC0415

    kinds: tuple[tuple[str, type[Media], list[str]], ...] = (
        ("--image", Image, options.image),
        ("--file", File, options.file),
    )
    return [_one_media(name, kind, place) for name, kind, places in kinds for place in places]


def _one_media(option: str, kind: "type[Media]", place: str) -> "Media":
    try:
        return kind.from_url(place) if "://" in place else kind.from_path(place)
    except OSError as error:
        raise BadRequest(f"{option}: {place!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadRequest(f"{option}: {error}") from None


def _read_spec(file: Path) -> dict[str, Any]:
    try:
        spec = from_json(file.read_bytes())
    except OSError as error:
        raise BadRequest(f"--spec: {file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"--spec: {file} is not JSON: {error}") from None
    if not isinstance(spec, dict):
        raise BadRequest(f"--spec: {file} is not a JSON object")
    return spec


def _one_line(text: str) -> str:
    return " ".join(text.split())
