"""Runs on the embedded model: whatever it says, each ends with an answer of its type."""

from pathlib import Path

import pytest
from outlast_examples.dependency_review import Review
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import EmbeddedModel, TemporalServer

from outlast import Client
from tests.acceptance.processes import WorkerUnderTest

PACKAGES = (
    "pydantic",
    "openai",
    "temporalio",
    "outlines",
    "structlog",
    "certifi",
    "rich",
    "nothing",
)
RUNS = 20


@pytest.mark.timeout(900)
async def test_20_runs_on_the_embedded_model_give_20_typed_answers(tmp_path: Path) -> None:
    temporal = TemporalServer(log_dir=tmp_path, port=free_port())
    model = EmbeddedModel(log_dir=tmp_path, port=free_port())
    async with temporal, model:
        worker = WorkerUnderTest(
            address=temporal.address,
            model_url=model.url,
            agents="outlast_examples.dependency_review",
            log=tmp_path / "worker.log",
        )
        await worker.start()
        client = await Client.connect(target_host=temporal.address)
        reviews = []
        for number in range(RUNS):
            result = await client.run("dependency-review", PACKAGES[number % len(PACKAGES)])
            assert result.status == "completed"
            reviews.append(Review.model_validate(result.output))
        await worker.terminate()
    assert len(reviews) == RUNS
