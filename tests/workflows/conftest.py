from collections.abc import AsyncIterator

import pytest_asyncio
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from outlast.temporal.plugin import OutlastPlugin
from tests.conftest import DEV_SERVER_OPTIONS, binary


@pytest_asyncio.fixture(scope="module")
async def impatient() -> AsyncIterator[Client]:
    """A server that suggests to continue as new after 100 events."""
    async with await WorkflowEnvironment.start_local(
        plugins=[OutlastPlugin()],
        dev_server_existing_path=binary("temporal"),
        dev_server_log_level="error",
        dev_server_extra_args=[
            *DEV_SERVER_OPTIONS,
            "--dynamic-config-value",
            "limit.historyCount.suggestContinueAsNew=100",
        ],
    ) as environment:
        yield environment.client
