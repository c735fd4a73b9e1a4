"""The `outlast` command: starts and follows runs, decides human requests, and runs workers."""

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn


def main() -> NoReturn:
    """Run the command of this process, and exit."""
    status = run_command()
    # Python crashes or hangs at exit while threads of the SDK wait for a silent server.
    os._exit(status)


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; all output is flushed."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["worker"]:
        return _run_worker(words[1:])
    # Imported here, because a worker needs none of it.
    from outlast.terminal.arguments import parse_arguments  # noqa: PLC0415

    return _run_client_command(parse_arguments(arguments))


def _run_client_command(options: argparse.Namespace) -> int:
    # Imported here, because `--help` ends before it needs a client: it takes half the time.
    from temporalio.service import RPCError  # noqa: PLC0415

    from outlast.client.client import Client  # noqa: PLC0415
    from outlast.errors import OutlastError  # noqa: PLC0415
    from outlast.terminal.chat import chat  # noqa: PLC0415
    from outlast.terminal.console import client_options, print_lines  # noqa: PLC0415
    from outlast.terminal.pipeline_commands import pipeline_command  # noqa: PLC0415
    from outlast.terminal.request_commands import create_key, decide, show_inbox  # noqa: PLC0415
    from outlast.terminal.run_commands import cancel_run, start_run, watch_run  # noqa: PLC0415

    commands = {
        "run": start_run,
        "watch": watch_run,
        "chat": chat,
        "cancel": cancel_run,
        "inbox": show_inbox,
        "decide": decide,
        "keygen": create_key,
        "pipeline": pipeline_command,
    }
    options.connect = lambda: Client.connect(**client_options(options))
    try:
        # Between its runs, a Runner leaves Ctrl-C to Python: the confirmation needs that.
        with asyncio.Runner() as runner:
            return commands[options.command](options, runner)
    except (OutlastError, RPCError) as error:
        reason = error.message if isinstance(error, RPCError) else str(error)
        print_lines(f"outlast: {' '.join(reason.split())}", to_error=True)
        return 1
    except BrokenPipeError:
        return 1
    except OSError as error:
        # The output, such as a file on a full disk. The command may have done its work.
        with suppress(OSError):
            place = error.filename or "the output cannot be written"
            print_lines(f"outlast: {place}: {error.strerror or error}", to_error=True)
        return 1
    except KeyboardInterrupt:
        return 130


def _run_worker(arguments: Sequence[str]) -> int:
    """Pass the rest of a command line to the command of the workers."""
    gc.disable()
    try:
        # A client does not need, and may lack, the libraries of a worker.
        with _without_grpc():
            from outlast_workers.__main__ import main as run_worker  # noqa: PLC0415
    except ModuleNotFoundError as error:
        print(f"outlast: no module {error.name!r}: pip install 'outlast[workers]'", file=sys.stderr)  # noqa: T201
        return 1
    finally:
        # Modules stay. To search them for garbage cost a tenth of the start.
        gc.freeze()
        gc.enable()
    return run_worker(arguments)


@contextmanager
def _without_grpc() -> Iterator[None]:
    """Hide grpcio from the imports of a block. Later ones, such as those of tools, find it.

    temporalio loads it for stubs that outlast does not use: 9 MiB, and 30 ms of the start of a worker.
    """
    # With None, an import fails as without the package.
    sys.modules.setdefault("grpc", None)  # type: ignore[arg-type] # the types know modules alone
    try:
        yield
    finally:
        if sys.modules["grpc"] is None:
            del sys.modules["grpc"]


if __name__ == "__main__":
    main()
