"""A TCP proxy whose connections a test cuts, holds and delays."""

import asyncio
import contextlib
from typing import Self

from outlast_workers.local.ports import HOST

CHUNK_BYTES = 65_536


class Proxy:
    """Passes bytes between its own port and another one of this machine."""

    def __init__(self, *, port: int, target: int) -> None:
        self.port = port
        self.delay_s = 0.0
        self._target = target
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._is_open.set()
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """End all connections."""
        for task in list(self._tasks):
            task.cancel()

    async def hold(self, seconds: float) -> None:
        """Pass nothing on for a time; the connections stay open."""
        self._is_open.clear()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._is_open.set()

    async def delay(self, delay_s: float, seconds: float) -> None:
        """Pass each chunk on `delay_s` late, for a time."""
        self.delay_s = delay_s
        try:
            await asyncio.sleep(seconds)
        finally:
            self.delay_s = 0.0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._connect(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()  # it was cut
        except OSError:
            writer.close()  # nobody listens at the target
        finally:
            self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(HOST, self._target)
        pumps = {
            asyncio.ensure_future(self._pump(reader, to_writer)),
            asyncio.ensure_future(self._pump(to_reader, writer)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            to_writer.close()
        writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._is_open.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
