"""`outlast worker dev`: a worker, Temporal and a model on one machine, until Ctrl-C."""

import argparse
import asyncio
import contextlib
import json
import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from outlast.contracts.names import AGENT_WORKFLOW, AGENTS_QUEUE
from outlast.errors import NotReady
from outlast_workers.catalog import load_catalog
from outlast_workers.local.ports import require_free_port
from outlast_workers.local.servers import TEMPORAL_PORT, ChildProcess, EmbeddedModel, TemporalServer
from outlast_workers.local.weights import download_weights, find_weights
from outlast_workers.settings import Settings
from outlast_workers.stop_signals import stop_on_signals
from outlast_workers.worker_process import run_process

if TYPE_CHECKING:
    from outlast_workers.local.dev_gateway import DevGateway

EXAMPLES = ("outlast_examples.dependency_review", "outlast_examples.refund_desk")
"""The agents that are served if the user names none."""

WAIT_NOTICE_S = 5.0
"""How often `dev` says that it waits for the model server. The embedded one needs a few seconds."""

EMBEDDED_MODEL_SETTINGS = {"temperature": 0.0, "max_tokens": 256}
"""A tiny model works best without sampling, and its long completions are loops."""


@dataclass(frozen=True)
class Stack:
    """The local servers of a worker process, and the settings of the process for them."""

    temporal: TemporalServer
    settings: Settings
    children: tuple[ChildProcess, ...]
    model: str


@asynccontextmanager
async def start_stack(
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
        fields = settings.model.model_fields_set
        configured = {name: getattr(settings.model, name) for name in fields}
        model_settings = {
            **EMBEDDED_MODEL_SETTINGS,
            **configured,
            "url": model.url,
            "api": "openai-chat",
        }
        settings = settings.with_options({"model": model_settings})
        yield Stack(temporal, settings, (temporal, model), f"{model.url} (embedded)")


async def _weights() -> Path:
    weights = find_weights()
    if weights is not None:
        return weights
    _print("outlast: downloading the weights of the embedded model (93 MB, once) …")
    return await asyncio.to_thread(download_weights)


async def run_dev(settings: Settings, options: argparse.Namespace) -> int:
    """Serve until Ctrl-C, or until one of the local servers ends by itself."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    state: Path = options.state
    log_dir = state / "logs"
    if settings.media.store is None:
        media = settings.media.model_copy(update={"store": (state / "media").resolve().as_uri()})
        settings = settings.with_options({"media": media})
    temporal = TemporalServer(
        log_dir=log_dir, port=options.port, ui_port=options.ui_port, db=state / "temporal.db"
    )
    gateway_port = options.gateway_port or settings.gateway.port
    if options.gateway:
        hint = "pass --gateway-port or --no-gateway"
        require_free_port(gateway_port, user="gateway", hint=hint)
    _print("outlast: starting Temporal and the model …")
    async with start_stack(
        settings,
        temporal=temporal,
        log_dir=log_dir,
        model_port=options.model_port,
        model_file=options.model_file,
    ) as stack:
        has_gateway = options.gateway and load_catalog(stack.settings.agents).agents
        gateway = _gateway(stack, port=gateway_port, state=state) if has_gateway else None
        ready = asyncio.Event()
        watching = [asyncio.create_task(_watch(child, stop)) for child in stack.children]
        servers = addresses(stack, state=state, gateway=gateway)
        waiting = asyncio.create_task(print_wait(stack.settings, ready, servers))
        try:
            async with _served(gateway, temporal.address):
                await run_process(
                    gateway.settings if gateway else stack.settings,
                    stop=stop,
                    address=temporal.address,
                    ready=lambda: _show_ready(servers + overview(stack, gateway), ready),
                )
        finally:
            waiting.cancel()
            ended = [task.result() for task in watching if task.done()]
            for task in watching:
                task.cancel()
    if ended:
        raise NotReady(ended[0])
    _print("outlast: stopped; runs continue after the next start")
    return 0


def _gateway(stack: Stack, *, port: int, state: Path) -> "DevGateway":
    # Imported here, because a worker without a gateway needs none of its libraries.
    from outlast_workers.local.dev_gateway import with_gateway  # noqa: PLC0415

    return with_gateway(stack.settings, port=port, state=state)


def _served(
    gateway: "DevGateway | None", address: str
) -> contextlib.AbstractAsyncContextManager[None]:
    if gateway is None:
        return contextlib.nullcontext()
    from outlast_workers.local.dev_gateway import serve_gateway  # noqa: PLC0415

    return serve_gateway(gateway, address=address)


def _show_ready(text: str, ready: asyncio.Event) -> None:
    """Print the addresses and the commands in one piece, after the logs of the start."""
    ready.set()
    _print(text)


async def print_wait(settings: Settings, ready: asyncio.Event, servers: str) -> None:
    """Say what the start waits for, until the worker is ready; first with the addresses of `servers`."""
    while True:  # ends with the start, or with the process
        try:
            await asyncio.wait_for(ready.wait(), WAIT_NOTICE_S)
        except TimeoutError:
            text, servers = servers, ""
            _print(
                f"{text}outlast: waits for the model server at {settings.model.url}; runs that you start"
                " now begin when it answers (Ctrl-C stops)"
            )
        else:
            return


async def _watch(child: ChildProcess, stop: asyncio.Event) -> str:
    last = await child.ended()
    stop.set()
    return f"{child.name} ended by itself: {last} (its log is {child.log_file})"


def temporal_program(stack: Stack | None = None) -> list[str]:
    """Return the `temporal` command of this machine, for the server of a stack or the default server."""
    installed = _relative(Path(sys.executable).parent / "temporal")
    program = "temporal" if shutil.which("temporal") else str(installed)
    if stack is None or stack.temporal.port == TEMPORAL_PORT:
        return [program]
    return [program, "--address", stack.temporal.address]


def temporal_command(stack: Stack | None = None) -> str:
    """Return the same as text for a shell."""
    return shlex.join(temporal_program(stack))


def outlast_command(stack: Stack) -> str:
    """Return the `outlast` command of this machine, with `{}` in place of the subcommand."""
    installed = _relative(Path(sys.executable).parent / "outlast")
    program = "outlast" if shutil.which("outlast") else str(installed)
    is_default = stack.temporal.port == TEMPORAL_PORT
    return f"{program} {{}}" + ("" if is_default else f" --address {stack.temporal.address}")


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


def addresses(stack: Stack, *, state: Path, gateway: "DevGateway | None" = None) -> str:
    """Return the addresses that `dev` prints when the worker is ready, or when it waits."""
    served = sorted(load_catalog(stack.settings.agents).agents)
    over_http = gateway.url if gateway else "off"
    return f"""
  Temporal   {stack.temporal.address}   (state in {state}/temporal.db)
  Web UI     {stack.temporal.ui_url}
  Model      {stack.model}
  Agents     {", ".join(served)}
  Gateway    {over_http}
  Images     {stack.settings.media.store}   (clients: OUTLAST_MEDIA__STORE)
  Logs       {state}/logs
  Stop       Ctrl-C
"""


def overview(stack: Stack, gateway: "DevGateway | None" = None) -> str:
    """Return the commands that `dev` prints below the addresses."""
    served = sorted(load_catalog(stack.settings.agents).agents)
    reviews = "dependency-review" in served
    agent = "dependency-review" if reviews else next(iter(served), "NAME")
    value = "pydantic" if reviews else "…"
    outlast = outlast_command(stack)
    return f"""
Start a run, and see it to its answer:
  {outlast.format("run")} {agent} {shlex.quote(value)}

The same with the temporal CLI:
  {start_command(stack, agent=agent, value=value, run_id="r1")}

List the requests that wait for a person:
  {outlast.format("inbox")}
{_over_http(gateway, outlast, agent=agent, value=value) if gateway else ""}
Ctrl-C stops everything. Runs are saved, and continue after the next start.
"""


def _over_http(gateway: "DevGateway", outlast: str, *, agent: str, value: str) -> str:
    """Return the commands that use the gateway."""
    bearer = shlex.quote(f"Authorization: Bearer {gateway.token}")
    body = shlex.quote(json.dumps({"agent": agent, "input": value}, ensure_ascii=False))
    variables = f"OUTLAST_GATEWAY_URL={gateway.url} OUTLAST_GATEWAY_TOKEN={gateway.token}"
    return f"""
Hold a conversation, and see each answer while the model writes it:
  {variables} {outlast.format("chat")} {agent}

Start a run over HTTP:
  curl -s {gateway.url}/runs -H {bearer} -d {body}

Add the agents to Claude Code as MCP tools:
  claude mcp add --transport http agents {gateway.url}/mcp --header {bearer}
"""


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 a command-line program
