"""`outlast worker dev`: the whole stack on one machine, kept until Ctrl-C."""

import argparse
import asyncio
import json
import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from outlast.contracts.names import AGENT_WORKFLOW, AGENTS_QUEUE
from outlast.contracts.search_attributes import AGENT_STATUS
from outlast.errors import NotReady
from outlast_workers.catalog import load_catalog
from outlast_workers.local.servers import TEMPORAL_PORT, ChildProcess, EmbeddedModel, TemporalServer
from outlast_workers.local.weights import download_weights, find_weights
from outlast_workers.settings import Settings
from outlast_workers.worker_process import run_process, stop_on_signals

EXAMPLES = ("outlast_examples.dependency_review", "outlast_examples.refund_desk")
"""Served where the user names no agents of their own."""

EMBEDDED = {"temperature": 0.0, "max_tokens": 256}
"""A tiny model is at its most sensible when it does not roll dice, and long answers of it are loops."""


@dataclass(frozen=True)
class Stack:
    """The servers beside a worker process, and the settings that point the process at them."""

    temporal: TemporalServer
    settings: Settings
    children: tuple[ChildProcess, ...]
    model: str


@asynccontextmanager
async def started_stack(
    settings: Settings,
    *,
    temporal: TemporalServer,
    log_dir: Path,
    model_port: int,
    model_file: Path | None = None,
) -> AsyncIterator[Stack]:
    """Start Temporal, and the embedded model unless the settings name a model server."""
    if not settings.agents:
        settings = settings.with_options({"agents": EXAMPLES})
    if settings.ui_url is None:
        settings = settings.with_options({"ui_url": temporal.ui_url})
    async with AsyncExitStack() as servers:
        await servers.enter_async_context(temporal)
        if settings.model.url is not None:
            yield Stack(temporal, settings, (temporal,), settings.model.url)
            return
        file = model_file or await _weights()
        model = EmbeddedModel(log_dir=log_dir, port=model_port, model=file)
        await servers.enter_async_context(model)
        told = {name: getattr(settings.model, name) for name in settings.model.model_fields_set}
        pointed = {**EMBEDDED, **told, "url": model.url, "api": "openai"}
        settings = settings.with_options({"model": pointed})
        yield Stack(temporal, settings, (temporal, model), f"{model.url} (embedded)")


async def _weights() -> Path:
    found = find_weights()
    if found is not None:
        return found
    _say("outlast: downloading the weights of the embedded model (93 MB, once) …")
    return await asyncio.to_thread(download_weights)


async def run_dev(settings: Settings, options: argparse.Namespace) -> int:
    """Serve until Ctrl-C, or until a server of the stack ends by itself."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    state: Path = options.state
    log_dir = state / "logs"
    temporal = TemporalServer(
        log_dir=log_dir, port=options.port, ui_port=options.ui_port, db=state / "temporal.db"
    )
    _say("outlast: starting Temporal and the model …")
    async with started_stack(
        settings,
        temporal=temporal,
        log_dir=log_dir,
        model_port=options.model_port,
        model_file=options.model_file,
    ) as stack:
        watching = [asyncio.create_task(_watch(child, stop)) for child in stack.children]
        try:
            await run_process(
                stack.settings,
                stop=stop,
                address=temporal.address,
                ready=lambda: _say(screen(stack, state=state)),
            )
        finally:
            ended = [task.result() for task in watching if task.done()]
            for task in watching:
                task.cancel()
    if ended:
        raise NotReady(ended[0])
    _say("outlast: stopped; runs go on with the next start")
    return 0


async def _watch(child: ChildProcess, stop: asyncio.Event) -> str:
    last = await child.ended()
    stop.set()
    return f"{child.name} ended by itself: {last} (its log is {child.log_file})"


def temporal_program(stack: Stack | None = None) -> list[str]:
    """Return how this machine calls the `temporal` CLI, for the server of a stack or the usual one."""
    beside = _relative(Path(sys.executable).parent / "temporal")
    program = "temporal" if shutil.which("temporal") else str(beside)
    usual = stack is None or stack.temporal.port == TEMPORAL_PORT
    return [program] if usual or stack is None else [program, "--address", stack.temporal.address]


def temporal_command(stack: Stack | None = None) -> str:
    """Return the same as a person types it."""
    return shlex.join(temporal_program(stack))


def _relative(path: Path) -> Path:
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


def start_command(stack: Stack | None = None, *, agent: str, value: str, run_id: str) -> str:
    """Return the command that starts a run."""
    queue = stack.settings.queue("workflows") if stack else AGENTS_QUEUE
    request = json.dumps(
        {"agent": agent, "input": value}, separators=(",", ":"), ensure_ascii=False
    )
    return (
        f"{temporal_command(stack)} workflow start --type {AGENT_WORKFLOW} --task-queue {queue} "
        f"--workflow-id {run_id} --input {shlex.quote(request)}"
    )


def screen(stack: Stack, *, state: Path) -> str:
    """Return the one screen of `dev`: addresses, and commands to copy."""
    cli = temporal_command(stack)
    served = sorted(load_catalog(stack.settings.agents).agents)
    reviews = "dependency-review" in served
    agent = "dependency-review" if reviews else next(iter(served), "NAME")
    value = "pydantic" if reviews else "…"
    return f"""
  Temporal   {stack.temporal.address}   (state in {state}/temporal.db)
  Web UI     {stack.temporal.ui_url}
  Model      {stack.model}
  Agents     {", ".join(served)}
  Logs       {state}/logs

Start a run, and wait for its answer:
  {start_command(stack, agent=agent, value=value, run_id="r1")}
  {cli} workflow result --workflow-id r1

See what waits for a person:
  {cli} workflow list --query "{AGENT_STATUS.name}='waiting_for_human'"

Ctrl-C stops everything. Runs are kept, and go on with the next start.
"""


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 this is what the command is for
