"""A Temporal server whose own worker controller invokes our Lambda function, through a fake of Lambda."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.scripted_model_server import Script, ScriptedModelServer
from outlast import Client
from tests.serverless.fake_lambda import ARN, FakeLambda
from workers.processes import TemporalServer, free_port

CONTROLLER = (
    "workercontroller.enabled=true",
    'workercontroller.compute_providers.enabled=["aws-lambda"]',
    'workercontroller.scaling_algorithms.enabled=["no-sync"]',
    "workercontroller.compute_providers.aws.require_role_and_external_id=false",
)

DEPLOYMENT = ("--deployment-name", "outlast", "--build-id", "v1")

IDLE_EXIT_S = 1.0
DRAIN_S = 1.0

REGISTERED_WITHIN_S = 60
ROUTED_WITHIN_S = 2


@dataclass
class Site:
    temporal: TemporalServer
    function: FakeLambda
    model: ScriptedModelServer
    client: Client

    async def cool_down(self) -> None:
        """Wait until no invocation runs, and let Lambda forget the function's environments."""
        await reached(lambda: not self.function.running)
        await self.function.cool_down()


async def reached(condition: Callable[[], bool], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def site(
    tmp_path: Path, script: Script, *, timeout_s: float = 60, concurrency: int = 4
) -> AsyncIterator[Site]:
    """Serve the agents of `tests.serverless.agents` by a function that is registered and idle."""
    temporal = TemporalServer(log_dir=tmp_path, port=free_port(), dynamic_config=CONTROLLER)
    async with ScriptedModelServer(script) as model:
        function = FakeLambda(
            log=tmp_path / "lambda.log",
            environment={
                "TEMPORAL_ADDRESS": temporal.address,
                "TEMPORAL_DEPLOYMENT_NAME": "outlast",
                "TEMPORAL_WORKER_BUILD_ID": "v1",
                "OUTLAST_AGENTS": "tests.acceptance.agents",
                "OUTLAST_MODEL__URL": model.url,
                "OUTLAST_IDLE_EXIT_S": str(IDLE_EXIT_S),
                "OUTLAST_DRAIN_S": str(DRAIN_S),
            },
            timeout_s=timeout_s,
            concurrency=concurrency,
        )
        async with function.listening():
            with pytest.MonkeyPatch.context() as environment:
                # The server takes its AWS client from its environment, as in production.
                environment.setenv("AWS_ENDPOINT_URL_LAMBDA", function.url)
                environment.setenv("AWS_ACCESS_KEY_ID", "of-a-fake")
                environment.setenv("AWS_SECRET_ACCESS_KEY", "of-a-fake")
                environment.setenv("AWS_REGION", "us-east-1")
                await temporal.__aenter__()
            try:
                await _registered(temporal, function)
                client = await Client.connect(target_host=temporal.address)
                yield Site(temporal, function, model, client)
            finally:
                await temporal.stop()


async def _registered(temporal: TemporalServer, function: FakeLambda) -> None:
    """Register the function as its README says, and wait until its first invocation is over."""
    await _deployment(temporal, "create", "--name", "outlast")
    await _deployment(
        temporal,
        *("create-version", *DEPLOYMENT, "--aws-lambda-function-arn", ARN),
        "--aws-lambda-skip-role-and-external-id",
    )
    await reached(lambda: bool(function.invocations) and not function.running)
    await _deployment(temporal, "set-current-version", *DEPLOYMENT, "--yes")
    # What is started before the task queues have heard of it waits on them, and nobody is invoked.
    await asyncio.sleep(ROUTED_WITHIN_S)


async def _deployment(temporal: TemporalServer, *words: str) -> None:
    command = str(Path(sys.executable).parent / "temporal")
    until = time.monotonic() + REGISTERED_WITHIN_S
    while True:
        process = await asyncio.create_subprocess_exec(
            *(command, "worker", "deployment", *words, "--address", temporal.address),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        if process.returncode == 0:
            return
        # A new namespace, and a new version, take the server a moment.
        assert time.monotonic() < until, said.decode()
        await asyncio.sleep(0.5)
