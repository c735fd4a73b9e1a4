"""Runs `outlast` commands in forks of one process that has imported what they need.

A command of its own process imports for longer than it works. Each line of stdin is a request, and each
line of stdout the exit status of one.
"""

import asyncio
import importlib
import json
import os
import pkgutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import outlast.client.client
import outlast.terminal
from outlast.terminal.cli import main

ROOT = Path(__file__).parent.parent.parent


class Output(NamedTuple):
    """What a command printed, and how it ended."""

    out: str
    err: str
    status: int


class CommandServer:
    """Starts the process and sends it commands, one after the other."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, words: tuple[str, ...], environment: Mapping[str, str]) -> Output:
        """Return the output of a command."""
        async with self._turn:
            if self._process is None:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tests.acceptance.command_server"),
                    cwd=ROOT,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                )
            with tempfile.TemporaryDirectory() as folder:
                out, err = Path(folder, "out"), Path(folder, "err")
                request = [words, dict(environment), str(out), str(err)]
                assert self._process.stdin is not None
                assert self._process.stdout is not None
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                status = int(await self._process.stdout.readline())
                return Output(out.read_text(), err.read_text(), status)

    async def stop(self) -> None:
        """End the process."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()


def serve() -> None:
    """Run the commands of stdin until it ends."""
    for module in pkgutil.iter_modules(outlast.terminal.__path__, "outlast.terminal."):
        importlib.import_module(module.name)
    for line in sys.stdin:
        words, environment, out, err = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(words, environment, out, err)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(words: list[str], environment: dict[str, str], out: str, err: str) -> None:
    for number, path in enumerate((os.devnull, out, err)):
        os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 it is open until the end
    os.environ.update(environment)
    sys.argv[1:] = words
    status = 1
    try:
        main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
