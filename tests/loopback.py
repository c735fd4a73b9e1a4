"""Web applications of fakes, served on the loopback interface."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from outlast_workers.local.ports import HOST
from starlette.applications import Starlette

STARTS_WITHIN_S = 30


@asynccontextmanager
async def listening(app: Starlette, port: int, **options: Any) -> AsyncIterator[None]:
    """Serve an application until the block ends. `options` are those of `uvicorn.Config`."""
    config = uvicorn.Config(app, host=HOST, port=port, log_level="error", lifespan="off", **options)
    server = uvicorn.Server(config)
    # Not serve(), which takes the signals for itself.
    running = asyncio.create_task(server._serve())
    try:
        async with asyncio.timeout(STARTS_WITHIN_S):
            while not server.started:
                await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await running
