"""The suite against the embedded server, llama.cpp."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from outlast_workers.local.embedded_model import PARALLEL
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import EmbeddedModel

from bench.engines.types import TYPES
from outlast.model_server import ServerOptions
from tests.conformance.suite import TEMPERATURE, Conformance, ProbedServer, probed


@pytest_asyncio.fixture(scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ProbedServer]:
    """The embedded server, probed."""
    model = EmbeddedModel(log_dir=tmp_path_factory.mktemp("model"), port=free_port())
    async with (
        model,
        probed(
            ServerOptions(model.url, temperature=TEMPERATURE), max_concurrent=PARALLEL
        ) as engine,
    ):
        yield engine


class TestEmbedded(Conformance):
    """With a little more than half of the types: a minute is enough in `make test`."""

    kinds = (*TYPES[::2], *TYPES[23:27:2])
