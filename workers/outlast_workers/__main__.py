"""Run worker processes: `outlast worker run|dev|demo|callback|demand`."""

import argparse
import asyncio
import os
import sys
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from outlast.errors import NotReady
from outlast_workers.local.servers import MODEL_PORT, TEMPORAL_PORT
from outlast_workers.settings import Settings, load_settings
from outlast_workers.worker_process import run_process, stop_on_signals

UI_PORT = 8233

EXIT_WITHIN_S = 3.0
"""How long a process that has drained may take to exit."""

EPILOG = """\
Settings come from outlast.toml (--config names another) and OUTLAST_* variables; options here win. The
Temporal connection is that of the temporal CLI: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_PROFILE.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = _parser().parse_args(arguments)
    if os.getcwd() not in sys.path and "" not in sys.path:
        # As `python -m` does: agents of the current folder are found.
        sys.path.insert(0, os.getcwd())
    try:
        return asyncio.run(_ending(_command(options)))
    except NotReady as error:
        print(f"outlast: {error}", file=sys.stderr)  # noqa: T201 the answer to a command
        return 1
    except KeyboardInterrupt:
        return 130


async def _ending(command: Coroutine[Any, Any, int]) -> int:
    """Run a command; what is left behind when it has ended may not keep the process."""
    status = 1
    try:
        status = await command
    finally:
        # A plain function of a tool cannot be cancelled, and Python waits for its thread.
        last = threading.Timer(EXIT_WITHIN_S, os._exit, [status])
        last.daemon = True
        last.start()
    return status


def _command(options: argparse.Namespace) -> Coroutine[Any, Any, int]:
    if options.command == "run":
        return _run(_settings(options))
    # Imported here: a worker in production has neither servers nor weights, nor a page to serve.
    if options.command == "callback":
        return _callback(load_settings(options.config))
    if options.command == "demand":
        return _demand(load_settings(options.config))
    if options.command == "dev":
        from outlast_workers.local.dev import run_dev  # noqa: PLC0415

        return run_dev(_settings(options), options)
    from outlast_workers.local.demo import run_demo  # noqa: PLC0415

    return run_demo()


async def _callback(settings: Settings) -> int:
    from outlast_workers.callback.page import run_callback  # noqa: PLC0415

    stop = asyncio.Event()
    stop_on_signals(stop)
    return await run_callback(settings, stop=stop)


async def _demand(settings: Settings) -> int:
    from outlast_workers.demand.service import run_demand  # noqa: PLC0415

    stop = asyncio.Event()
    stop_on_signals(stop)
    return await run_demand(settings, stop=stop)


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    stop_on_signals(stop)
    await run_process(settings, stop=stop)
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    """Return the settings with what the command line says over them."""
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
        "agents": _words(options.agents),
        "roles": _words(options.roles),
        "model": {**settings.model.model_dump(), **model} if model else None,
    }
    if options.health_port is not None:
        changed["health"] = {**settings.health.model_dump(), "port": options.health_port}
    told = {name: value for name, value in changed.items() if value}
    if options.idle_exit is not None:
        told["idle_exit_s"] = options.idle_exit
    return settings.with_options(told) if told else settings


def _words(values: list[str] | None) -> tuple[str, ...]:
    return tuple(word for value in values or () for word in value.split(",") if word)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="outlast worker", description=__doc__, epilog=EPILOG)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="serve agents on a Temporal server that runs elsewhere")
    dev = commands.add_parser(
        "dev", help="serve agents with a Temporal server and a model beside them"
    )
    callback = commands.add_parser(
        "callback", help="serve the page on which people settle requests, from signed links"
    )
    callback.add_argument("--config", type=Path, metavar="TOML", help="settings (outlast.toml)")
    demand = commands.add_parser(
        "demand", help="tell KEDA and other scalers how many workers the task queues need"
    )
    demand.add_argument("--config", type=Path, metavar="TOML", help="settings (outlast.toml)")
    commands.add_parser("demo", help="run two agents from beginning to end, and stop")
    for command in (run, dev):
        _add_worker_options(command)
    dev.add_argument("--port", type=int, default=TEMPORAL_PORT, help="of Temporal (%(default)s)")
    dev.add_argument("--ui-port", type=int, default=UI_PORT, help="of its Web UI (%(default)s)")
    dev.add_argument(
        "--model-port", type=int, default=MODEL_PORT, help="of the embedded model (%(default)s)"
    )
    dev.add_argument(
        "--model-file", type=Path, metavar="GGUF", help="weights for the embedded model"
    )
    dev.add_argument(
        "--state",
        type=Path,
        default=Path(".outlast"),
        help="folder of state and logs (%(default)s)",
    )
    return parser


def _add_worker_options(command: argparse.ArgumentParser) -> None:
    command.epilog = EPILOG
    command.add_argument(
        "--agents", action="append", metavar="MODULE", help="module that defines agents; repeatable"
    )
    command.add_argument(
        "--roles",
        action="append",
        metavar="ROLE",
        help="workflows, generate, tools; all of them by default",
    )
    command.add_argument("--config", type=Path, metavar="TOML", help="settings (outlast.toml)")
    command.add_argument(
        "--model-url", metavar="URL", help="base URL of a model server, with its /v1"
    )
    command.add_argument(
        "--model", metavar="NAME", help="model name; the server's first by default"
    )
    command.add_argument(
        "--api", choices=("vllm", "openai"), help="how the server takes a JSON schema (openai)"
    )
    command.add_argument(
        "--allow-unconstrained",
        action="store_true",
        default=None,
        help="accept a model server that ignores JSON schemas: answers are checked and asked again",
    )
    command.add_argument(
        "--idle-exit", type=float, metavar="SECONDS", help="end after so long without a task"
    )
    command.add_argument("--health-port", type=int, metavar="PORT", help="serve /healthz there")


if __name__ == "__main__":
    sys.exit(main())
