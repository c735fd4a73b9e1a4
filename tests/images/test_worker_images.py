"""The worker images in a root file system of their own: what they lack, this machine cannot give them."""

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from outlast_workers.local.ports import HOST, free_port
from outlast_workers.local.servers import TemporalServer
from temporalio.client import Client as TemporalClient

from bench.scripted_model_server import ScriptedModelServer, Steps
from outlast import Client
from outlast.temporal.plugin import OutlastPlugin
from tests.deploy.dockerfiles import stages
from tests.deploy.tools import ROOT
from tests.images.debian import Images, can_make_images, mounted

pytestmark = [
    pytest.mark.skipif(not can_make_images(), reason="needs debootstrap, and root"),
    pytest.mark.timeout(900),  # the images are made within one of the tests
]

USER = 10001
WITHIN_S = 60.0
WORKER = ROOT / "deploy" / "images" / "worker.Dockerfile"


@pytest.fixture(scope="module")
def images() -> Iterator[Images]:
    with tempfile.TemporaryDirectory(prefix="outlast-images-") as folder:
        Path(folder).chmod(0o755)
        yield Images(Path(folder), stages(WORKER), {"BUILD_ID": "b1"})


@asynccontextmanager
async def running(
    images: Images, name: str, log: Path, *words: str, **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    with mounted(images.root(name)), log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *images.command(name, *words, user=USER, **variables), stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                await asyncio.wait_for(process.wait(), WITHIN_S)


async def healthy(images: Images, name: str, *words: str, **variables: str) -> bool:
    check = ("python", "-m", "outlast_workers.healthcheck", *words)
    process = await asyncio.create_subprocess_exec(
        *images.command(name, *check, user=USER, **variables), stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait() == 0


async def until_healthy(
    process: asyncio.subprocess.Process, log: Path, images: Images, *words: str, **variables: str
) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await healthy(images, *words, **variables):
            assert process.returncode is None, log.read_text()
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("name", ["worker", "embedded"])
def test_each_library_of_the_wheels_is_found(images: Images, name: str) -> None:
    find = "find /opt/outlast -name '*.so*' -type f | xargs -n 1 ldd | grep 'not found' || true"
    command = images.command(name, "/bin/sh", "-c", find, user=USER)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == ""


async def test_the_embedded_model_answers(images: Images, tmp_path: Path) -> None:
    port, log = str(free_port()), tmp_path / "model.log"
    words = ("python", "-m", "outlast_workers.local.embedded_model", "--host", HOST, "--port", port)
    async with running(images, "embedded", log, *words) as process:
        await until_healthy(process, log, images, "embedded", port, "/health")


async def test_a_worker_serves_a_run(images: Images, tmp_path: Path) -> None:
    answers = Steps(
        '{"tool_calls":[{"tool":"read_licence","arguments":{"package":"pydantic"}}]}',
        '{"tool_calls":[{"tool":"read_metadata","arguments":{"package":"pydantic"}}]}',
        '{"answer":{"licence":"MIT","purpose":"Validation.","risk":"low","recommendation":"adopt"}}',
    )
    temporal = TemporalServer(log_dir=tmp_path, port=free_port())
    async with temporal, ScriptedModelServer(answers) as model:
        variables = {
            "TEMPORAL_ADDRESS": temporal.address,
            "TEMPORAL_DEPLOYMENT_NAME": "",
            "TEMPORAL_WORKER_BUILD_ID": "",
            "OUTLAST_AGENTS": "outlast_examples.dependency_review",
            "OUTLAST_MODEL__URL": model.url,
            "OUTLAST_HEALTH__PORT": str(free_port()),
        }
        log = tmp_path / "worker.log"
        words = ("outlast", "worker", "run")
        async with running(images, "worker", log, *words, **variables) as process:
            await until_healthy(process, log, images, "worker", **variables)
            client = await TemporalClient.connect(temporal.address, plugins=[OutlastPlugin()])
            run = await Client(client).start("dependency-review", "pydantic")
            result = await asyncio.wait_for(run.result(), WITHIN_S)
        assert process.returncode == 0, log.read_text()
    assert result.status == "completed"
