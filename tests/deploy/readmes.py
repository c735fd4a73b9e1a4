"""The commands in a README."""

import asyncio
import re
import shlex
import time
from pathlib import Path

from tests.conftest import binary
from tests.deploy.placeholders import filled

RAN_WITHIN_S = 60
MADE_WITHIN_S = 30


def blocks(readme: Path, section: str = "") -> list[str]:
    """Return the shell blocks of a README, or of one of its sections."""
    text = readme.read_text()
    if section:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^ *```sh\n(.*?)```", text, re.DOTALL | re.MULTILINE)


def commands(readme: Path, beginning: str, section: str = "") -> list[list[str]]:
    """Return the commands that begin so, as a shell would split them, with our values for its variables."""
    lines = "\n".join(blocks(readme, section)).replace("\\\n", " ").splitlines()
    found = [line.strip() for line in lines if line.strip().startswith(f"{beginning} ")]
    return [shlex.split(filled(line), comments=True) for line in found]


async def ran(command: list[str], address: str) -> tuple[int | None, str]:
    """Run a `temporal` command against a server; return its status, and its output."""
    process = await asyncio.create_subprocess_exec(
        *(binary("temporal"), *command[1:], "--address", address),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"HOME": "/nonexistent"},
    )
    output, _ = await asyncio.wait_for(process.communicate(), RAN_WITHIN_S)
    return process.returncode, output.decode()


async def made(address: str, *words: str) -> None:
    """Run a command about worker deployments until the server has applied the commands before it."""
    until = time.monotonic() + MADE_WITHIN_S
    while True:
        status, output = await ran(["temporal", "worker", "deployment", *words], address)
        if status == 0:
            return
        assert time.monotonic() < until, output
        await asyncio.sleep(0.2)
