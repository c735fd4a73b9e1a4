from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bench.engines.vllm_server import Endpoint
from bench.engines.vllm_server import vllm as serving


@pytest_asyncio.fixture(scope="session")
async def vllm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Endpoint]:
    """A running vLLM: of `VLLM_BASE_URL`, or else one of our own on the CPU."""
    async with serving(log_dir=tmp_path_factory.mktemp("vllm")) as endpoint:
        yield endpoint
