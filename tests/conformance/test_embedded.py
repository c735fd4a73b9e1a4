"""The suite against the embedded server, llama.cpp."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from activities.providers.chat_completions import Server
from activities.providers.embedded import PARALLEL
from bench.engines.types import TYPES
from tests.conformance.suite import TEMPERATURE, Conformance, Served, served
from workers.processes import EmbeddedModel, free_port


@pytest_asyncio.fixture(scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """The embedded server, probed."""
    model = EmbeddedModel(log_dir=tmp_path_factory.mktemp("model"), port=free_port())
    async with (
        model,
        served(Server(model.url, temperature=TEMPERATURE), at_once=PARALLEL) as engine,
    ):
        yield engine


class TestEmbedded(Conformance):
    """With a little more than half of the types: a minute is enough in `make test`."""

    kinds = (*TYPES[::2], *TYPES[23:27:2])
