from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.client import Client

from tests.acceptance.command_server import CommandServer
from tests.acceptance.terminal import Terminal


@pytest_asyncio.fixture(scope="session")
async def commands() -> AsyncIterator[CommandServer]:
    """Runs `outlast` commands."""
    server = CommandServer()
    yield server
    await server.stop()


@pytest.fixture
def terminal(temporal: Client, commands: CommandServer) -> Terminal:
    """Runs `outlast` against the server of the tests."""
    return Terminal(temporal, commands)
