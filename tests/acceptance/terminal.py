"""Runs `outlast` against a server as a person at a terminal does."""

import asyncio
import os
import pty
import signal
import sys

from temporalio.client import Client

from tests.acceptance.command_server import ROOT, CommandServer, Output

WITHIN_S = 60
"""A command starts, shows what a test waits for, and ends in this time on a busy machine."""


async def until_shown(process: asyncio.subprocess.Process, words: str) -> str:
    """Return the progress that a command has shown once it shows these words."""
    assert process.stderr is not None
    async with asyncio.timeout(WITHIN_S):
        return (await process.stderr.readuntil(words.encode())).decode()


async def interrupt(process: asyncio.subprocess.Process) -> None:
    """Press Ctrl-C; again, if it came in the moment between Python's prompt and its wait for keys."""
    ended = asyncio.create_task(process.wait())
    async with asyncio.timeout(WITHIN_S):
        while not ended.done():
            process.send_signal(signal.SIGINT)
            await asyncio.wait([ended], timeout=2)


class Terminal:
    """Runs `outlast` against a server, in processes of their own."""

    def __init__(self, client: Client, commands: CommandServer) -> None:
        self.address = client.service_client.config.target_host
        self._commands = commands

    async def start(
        self, *words: str, stdin: int = asyncio.subprocess.DEVNULL
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "outlast.terminal.cli", *words),
            env={**os.environ, "TEMPORAL_ADDRESS": self.address, "LOGNAME": "osuser"},
            cwd=ROOT,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *words: str, **variables: str) -> Output:
        environment = {"TEMPORAL_ADDRESS": self.address, "LOGNAME": "osuser", **variables}
        return await self._commands.run(words, environment)

    async def type(self, *words: str, keys: str | None) -> Output:
        """Run a command that asks, and press keys when it does; None is Ctrl-C."""
        terminal, stdin = pty.openpty()
        try:
            process = await self.start(*words, stdin=stdin)
            assert process.stdout is not None
            shown = await process.stdout.readuntil(b"[y/N] ")
            if keys is None:
                await interrupt(process)
            else:
                os.write(terminal, keys.encode())
            out, err = await process.communicate()
        finally:
            os.close(terminal)
            os.close(stdin)
        return Output((shown + out).decode(), err.decode(), process.returncode or 0)
