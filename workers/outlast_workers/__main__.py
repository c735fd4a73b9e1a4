"""Runs a process: a worker, the development stack, the gateway, the decision page, or the demand service.

Two commands manage the builds of deployed workers: `promote` and `builds`. `plan` estimates the cost of a
workload.
"""

import argparse
import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn

from outlast_activities.providers.registry import ADAPTERS, known_apis

from outlast.errors import NotReady
from outlast.text.texts import cut
from outlast_workers.builds.arguments import add_build_commands
from outlast_workers.local.servers import MODEL_PORT, TEMPORAL_PORT
from outlast_workers.plan.arguments import add_plan_command
from outlast_workers.settings import Settings, load_settings
from outlast_workers.stop_signals import stop_on_signals

UI_PORT = 8233

EXIT_WITHIN_S = 1.0
"""Seconds that a drained process has to exit."""

LOCAL_STACKS = ("dev", "demo")
"""Commands that start servers in process groups of their own, which uvloop cannot do."""

EPILOG = """\
Settings come from outlast.toml (or the file of --config) and from OUTLAST_* variables. Command-line options
override them. The Temporal connection is configured as for the temporal CLI: TEMPORAL_ADDRESS,
TEMPORAL_NAMESPACE, TEMPORAL_PROFILE.
"""

PROCESSES = {
    "run": (
        "run a worker against an existing Temporal server",
        "Runs a worker until Ctrl-C or SIGTERM. It then finishes its running calls, and exits.",
    ),
    "dev": (
        "run a worker with its own Temporal server and a small model",
        "Runs Temporal, a small model, a worker and the gateway until Ctrl-C. The next start goes on.",
    ),
    "callback": (
        "serve the page where people decide requests, reached by signed links",
        "Serves the page where people decide requests. callback.secret must be that of the workers.",
    ),
    "demand": (
        "tell KEDA and other autoscalers how many workers the task queues need",
        "Serves the demand of each task queue over HTTP and gRPC, for KEDA, Prometheus and others.",
    ),
    "gateway": (
        "serve agents over HTTP to MCP, A2A, OpenAI and chat clients",
        "Serves agents over HTTP to clients of MCP, A2A, OpenAI, AG-UI and the AI SDK, and to curl.",
    ),
}
"""The commands that serve until they are stopped: the line of each in the list, and its description."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = _parser().parse_args(arguments)
    if os.getcwd() not in sys.path and "" not in sys.path:
        # As `python -m` does, so that --agents finds modules in the current folder.
        sys.path.insert(0, os.getcwd())
    try:
        with asyncio.Runner(loop_factory=_loop_factory(options.command)) as runner:
            return runner.run(_run_to_exit(_start(options)))
    except NotReady as error:
        return _fail(str(error))
    except OSError as error:
        # A file or a socket that the options or settings name, such as a read-only folder.
        name = f"{error.filename}: " if error.filename else ""
        return _fail(f"{name}{error.strerror or error}")
    except KeyboardInterrupt:
        return 130


def _loop_factory(command: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop of a command: that of uvloop for processes that serve.

    With it, a worker needs a tenth less CPU time. There is no build of it for Windows and PyPy.
    """
    if command in LOCAL_STACKS:
        return asyncio.new_event_loop
    try:
        import uvloop  # noqa: PLC0415 it may be missing
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _fail(reason: str) -> int:
    print(f"outlast: {' '.join(reason.split())}", file=sys.stderr)  # noqa: T201 a command-line program
    return 1


async def _run_to_exit(command: Coroutine[Any, Any, int]) -> int:
    """Run a command, and make sure that the process exits soon after its end."""
    status = 1
    try:
        status = await command
    finally:
        # Python waits for the threads of tools, and a plain function cannot be cancelled.
        timer = threading.Timer(EXIT_WITHIN_S, os._exit, [status])
        timer.daemon = True
        timer.start()
    return status


def _start(options: argparse.Namespace) -> Coroutine[Any, Any, int]:
    if options.command in ("promote", "builds"):
        from outlast_workers.builds.commands import promote_build, show_builds  # noqa: PLC0415

        command = promote_build if options.command == "promote" else show_builds
        return command(load_settings(options.config), options)
    if options.command == "plan":
        from outlast_workers.plan.commands import show_plan  # noqa: PLC0415

        return show_plan(options)
    return _start_process(options)


def _start_process(options: argparse.Namespace) -> Coroutine[Any, Any, int]:
    # Each process is imported when it starts: none needs the libraries of the others.
    if options.command == "run":
        # The settings come first: a wrong one ends the process, and the import takes half a second.
        settings = _settings(options)
        from outlast_workers.worker_process import run_process  # noqa: PLC0415

        return _until_signal(run_process, settings)
    if options.command == "callback":
        from outlast_workers.callback.page import run_callback  # noqa: PLC0415

        return _until_signal(run_callback, load_settings(options.config))
    if options.command == "demand":
        from outlast_workers.demand.service import run_demand  # noqa: PLC0415

        return _until_signal(run_demand, load_settings(options.config))
    if options.command == "gateway":
        from outlast_workers.gateway.service import run_gateway  # noqa: PLC0415

        settings = _with_agents(load_settings(options.config), options)
        return _until_signal(run_gateway, settings)
    if options.command == "dev":
        from outlast_workers.local.dev import run_dev  # noqa: PLC0415

        return run_dev(_settings(options), options)
    from outlast_workers.local.demo import run_demo  # noqa: PLC0415

    return run_demo()


async def _until_signal(run: Callable[..., Awaitable[int | None]], settings: Settings) -> int:
    """Run a process until it ends or a signal stops it, and return its exit status."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    return await run(settings, stop=stop) or 0


def _settings(options: argparse.Namespace) -> Settings:
    """Return the settings with the options of the command line applied."""
    settings = load_settings(options.config)
    model = {
        name: value
        for name, value in (
            ("url", options.model_url),
            ("name", options.model),
            ("api", options.api),
            ("allow_unconstrained", options.allow_unconstrained),
        )
        if value is not None
    }
    changed: dict[str, Any] = {
        "agents": _split(options.agents),
        "roles": _split(options.roles),
        "model": {**settings.model.model_dump(), **model} if model else None,
    }
    if options.health_port is not None:
        changed["health"] = {**settings.health.model_dump(), "port": options.health_port}
    overrides = {name: value for name, value in changed.items() if value}
    if options.idle_exit is not None:
        overrides["idle_exit_s"] = options.idle_exit
    return settings.with_options(overrides) if overrides else settings


def _with_agents(settings: Settings, options: argparse.Namespace) -> Settings:
    agents = _split(options.agents)
    return settings.with_options({"agents": agents}) if agents else settings


def _split(values: list[str] | None) -> tuple[str, ...]:
    return tuple(word for value in values or () for word in value.split(",") if word)


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    if not 1 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"{cut(text, 40)!r} is not a port from 1 to 65535")
    return port


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="outlast worker", description=__doc__, epilog=EPILOG)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run, dev, callback, demand, gateway = (
        commands.add_parser(name, help=summary, description=description)
        for name, (summary, description) in PROCESSES.items()
    )
    add_plan_command(commands)
    commands.add_parser(
        "demo",
        help="run two example agents on this machine, then stop",
        description="Starts a Temporal server and a small model, runs two example agents, and stops.",
    )
    for command in (run, dev, callback, demand, gateway, *add_build_commands(commands)):
        command.epilog = EPILOG
        command.add_argument("--config", type=Path, metavar="TOML", help="settings (outlast.toml)")
    for command in (run, dev, gateway):
        _add_agents_option(command)
    for command in (run, dev):
        _add_worker_options(command)
    _add_dev_options(dev)
    return parser


def _add_agents_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--agents",
        action="append",
        metavar="MODULE",
        help="module that defines agents or tools, in the current folder or installed; for several,"
        " repeat it or use commas",
    )


def _add_worker_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--roles",
        action="append",
        metavar="ROLE",
        help="workflows, generate, tools (default: all of them); several with commas: workflows,tools",
    )
    command.add_argument(
        "--model-url", metavar="URL", help="base URL of a model server, including /v1"
    )
    command.add_argument(
        "--model", metavar="NAME", help="model name (default: the server's first model)"
    )
    command.add_argument(
        "--api",
        choices=known_apis(),
        help="API of the model server (default: openai-chat). "
        + "; ".join(f"{api}: {adapter.summary}" for api, adapter in ADAPTERS.items()),
    )
    command.add_argument(
        "--allow-unconstrained",
        action="store_true",
        default=None,
        help="accept a model server that ignores JSON schemas; invalid completions are retried",
    )
    command.add_argument(
        "--idle-exit", type=float, metavar="SECONDS", help="exit after this time without a task"
    )
    command.add_argument(
        "--health-port", type=int, metavar="PORT", help="port of /healthz and /livez"
    )


def _add_dev_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--port",
        type=_port,
        default=TEMPORAL_PORT,
        metavar="PORT",
        help="port of the Temporal server (%(default)s)",
    )
    command.add_argument(
        "--ui-port",
        type=_port,
        default=UI_PORT,
        metavar="PORT",
        help="port of the Temporal Web UI (%(default)s)",
    )
    command.add_argument(
        "--model-port",
        type=_port,
        default=MODEL_PORT,
        metavar="PORT",
        help="port of the embedded model (%(default)s)",
    )
    command.add_argument(
        "--model-file", type=Path, metavar="GGUF", help="weights of the embedded model"
    )
    command.add_argument(
        "--gateway-port",
        type=_port,
        metavar="PORT",
        help="port of the gateway (default: gateway.port of the settings, 8060)",
    )
    command.add_argument(
        "--no-gateway", dest="gateway", action="store_false", help="serve no agents over HTTP"
    )
    command.add_argument(
        "--state",
        type=Path,
        default=Path(".outlast"),
        metavar="FOLDER",
        help="folder for state and logs (%(default)s)",
    )


def run_and_exit() -> NoReturn:
    """Run the command of this process, and exit.

    A tool may have left a thread in native code, which aborts Python's own way to exit.
    """
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    run_and_exit()
