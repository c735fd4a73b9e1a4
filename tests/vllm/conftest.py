from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bench.engines.vllm_server import MAX_NUM_SEQS, Endpoint
from bench.engines.vllm_server import vllm as serving
from outlast.model_server import ServerOptions
from tests.conformance.suite import TEMPERATURE, ProbedServer, probed


@pytest_asyncio.fixture(scope="session")
async def vllm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Endpoint]:
    """A running vLLM: of `VLLM_BASE_URL`, or else one of our own on the CPU."""
    async with serving(log_dir=tmp_path_factory.mktemp("vllm")) as endpoint:
        yield endpoint


@pytest_asyncio.fixture(scope="session")
async def engine(vllm: Endpoint) -> AsyncIterator[ProbedServer]:
    """VLLM as a worker uses it, after the probe."""
    options = ServerOptions(vllm.url, api="vllm", temperature=TEMPERATURE)
    async with probed(options, max_concurrent=MAX_NUM_SEQS) as engine:
        yield engine
