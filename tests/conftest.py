import gc
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog
from outlast_workers.connection import ensure_search_attributes
from outlast_workers.local.servers import DYNAMIC_CONFIG, dynamic_config_options
from outlast_workers.telemetry import VERBOSE_LOGGERS
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from outlast.temporal.plugin import OutlastPlugin

# A script starts its background processes with Ctrl-C ignored, and all that they start inherits this.
# The tests press Ctrl-C in processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Without bytecode, each process that a test starts would compile every module again, for half a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

DEV_SERVER_OPTIONS = dynamic_config_options(*DYNAMIC_CONFIG)


def binary(name: str) -> str:
    """Return a program of this environment, as a person who activated it would find it."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, f"{name} is not installed: make setup"
    return found


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the collected tests out of all searches for garbage, which would take a tenth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Replace halves of characters in the report of a test: xdist would end the whole run over one."""
    return _encodable((yield))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_encodable(part) for part in value)
    return value


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Undo what `start_telemetry` does to the whole process, so that no later test loses its log lines."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    if not structlog.is_configured():
        return
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    workflow.logger.workflow_info_on_message = True
    activity.logger.activity_info_on_message = True
    structlog.reset_defaults()
    for name in VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel("NOTSET")


@pytest_asyncio.fixture(scope="session")
async def temporal() -> AsyncIterator[Client]:
    """A client of a real Temporal server."""
    async with await WorkflowEnvironment.start_local(
        plugins=[OutlastPlugin()],
        dev_server_existing_path=binary("temporal"),
        dev_server_log_level="error",
        dev_server_extra_args=DEV_SERVER_OPTIONS,
    ) as environment:
        assert await ensure_search_attributes(environment.client)
        yield environment.client


@asynccontextmanager
async def skipping_server() -> AsyncIterator[Client]:
    """Start a time-skipping test server, which has no search attributes, and yield a client of it."""
    async with await WorkflowEnvironment.start_time_skipping(
        plugins=[OutlastPlugin()], test_server_existing_path=binary("temporal-test-server")
    ) as environment:
        yield environment.client


@pytest_asyncio.fixture
async def skipping() -> AsyncIterator[Client]:
    """A client of a time-skipping test server of one test."""
    async with skipping_server() as client:
        yield client


@pytest_asyncio.fixture(scope="module")
async def skips() -> AsyncIterator[Client]:
    """A client of one time-skipping server for all tests of a module."""
    async with skipping_server() as client:
        yield client


@pytest.fixture(params=[1000, 0], ids=["cached", "uncached"])
def cached(request: pytest.FixtureRequest) -> int:
    """How many runs a worker keeps in memory: with none, each workflow task replays the run."""
    return int(request.param)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, and return its file."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True)
    return next(folder.glob("*.whl"))
