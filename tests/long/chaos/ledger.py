"""The ledger: a process that records effects in a file, with fsync, before it answers.

No fault of the chaos suite reaches it. `python -m tests.long.chaos.ledger FILE PORT` serves it.
Tools record an arrival with `record`; tests read the file with `read_arrivals`.
"""

import asyncio
import json
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from outlast_workers.local.ports import HOST
from outlast_workers.local.servers import ChildProcess
from temporalio import activity

from outlast import ToolContext

PORT_VARIABLE = "CHAOS_LEDGER_PORT"
ANSWER_TIMEOUT_S = 30


@dataclass(frozen=True)
class Arrival:
    """One effect, or one compensation (`kind` is `undo`), as it arrived."""

    kind: str
    ref: str
    tool: str
    key: str
    workflow_id: str
    call_id: str
    amount: int
    at: float

    @property
    def turn(self) -> int:
        return int(self.call_id.partition(".")[0])


class _Service:
    def __init__(self, file: IO[str], counts: Counter[str]) -> None:
        self._file = file
        self._counts = counts

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = json.loads(await reader.readline())
        if line["kind"] != "find":
            self._file.write(json.dumps({**line, "at": time.time()}) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._counts[line["kind"] + line["ref"]] += 1
        writer.write(json.dumps(self._counts["effect" + line["ref"]]).encode() + b"\n")
        writer.close()


async def _main(path: Path, port: int) -> None:
    with path.open("a") as file:
        server = await asyncio.start_server(_Service(file, Counter()).serve, HOST, port)
        async with server:
            await server.serve_forever()


def _line(context: ToolContext, kind: str, ref: str, amount: int) -> bytes:
    info = activity.info()
    call_id = info.activity_id.removesuffix(".undo").removesuffix(".verify")
    fields = {
        "kind": kind,
        "ref": ref,
        "tool": info.activity_type,
        "key": context.idempotency_key,
        "workflow_id": info.workflow_id,
        "call_id": call_id,
        "amount": amount,
    }
    return json.dumps(fields).encode() + b"\n"


async def _ask(port: int, line: bytes) -> int:
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(line)
        count = int(await reader.readline())
    writer.close()
    return count


def _port() -> int:
    return int(os.environ[PORT_VARIABLE])


async def record(context: ToolContext, kind: str, ref: str, amount: int = 0) -> int:
    """Record an arrival of this activity; return how many effects of `ref` arrived."""
    return await _ask(_port(), _line(context, kind, ref, amount))


def record_in_thread(context: ToolContext, kind: str, ref: str, amount: int = 0) -> int:
    """Do what `record` does, with blocking calls."""
    with socket.create_connection((HOST, _port()), timeout=ANSWER_TIMEOUT_S) as connection:
        connection.sendall(_line(context, kind, ref, amount))
        return int(connection.makefile().readline())


async def count_at(port: int, ref: str) -> int:
    """Return how many effects of `ref` arrived, from outside of an activity."""
    return await _ask(port, json.dumps({"kind": "find", "ref": ref}).encode() + b"\n")


def read_arrivals(path: Path) -> list[Arrival]:
    """Return all arrivals of a ledger's file, in order."""
    lines: list[Mapping[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    return [Arrival(**line) for line in lines]


@asynccontextmanager
async def ledger(path: Path, port: int) -> AsyncIterator[None]:
    """Serve a ledger until the block ends."""
    command = [sys.executable, "-m", "tests.long.chaos.ledger", str(path), str(port)]
    process = ChildProcess("ledger", command, log_dir=path.parent)

    async def answers() -> bool:
        try:
            return await count_at(port, "nothing") == 0
        except OSError:
            return False

    await process.start(answers)
    try:
        yield
    finally:
        await process.stop()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
