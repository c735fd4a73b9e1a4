"""A Temporal server whose own worker controller invokes our Lambda function, through a fake of Lambda."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer

from bench.scripted_model_server import Script, ScriptedModelServer
from outlast import Client
from tests.acceptance.processes import ROOT
from tests.conditions import until
from tests.serverless.fake_lambda import ARN, FakeLambda

CONTROLLER = (
    "workercontroller.enabled=true",
    'workercontroller.compute_providers.enabled=["aws-lambda"]',
    'workercontroller.scaling_algorithms.enabled=["no-sync"]',
    "workercontroller.compute_providers.aws.require_role_and_external_id=false",
)

REGISTER = ROOT / "deploy" / "lambda" / "register.sh"

IDLE_EXIT_S = 1.0
DRAIN_S = 1.0

REGISTERED_WITHIN_S = 120
ROUTED_WITHIN_S = 2


@dataclass
class Site:
    temporal: TemporalServer
    function: FakeLambda
    model: ScriptedModelServer
    client: Client

    async def cool_down(self) -> None:
        """Wait until no invocation runs, and let Lambda forget the function's environments."""
        await until(lambda: not self.function.running)
        await self.function.cool_down()


@asynccontextmanager
async def site(
    tmp_path: Path,
    script: Script,
    *,
    timeout_s: float = 60,
    concurrency: int = 4,
    variables: Mapping[str, str] | None = None,
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
                **(variables or {}),
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
    await register(temporal)
    await until(lambda: bool(function.invocations) and not function.running)
    # A run that starts before the task queues know the version waits, and invokes no function.
    await asyncio.sleep(ROUTED_WITHIN_S)


async def register(temporal: TemporalServer) -> str:
    """Run the script that registers the function, and return its output."""
    process = await asyncio.create_subprocess_exec(
        *(str(REGISTER), "outlast", "v1", ARN, "--aws-lambda-skip-role-and-external-id"),
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TEMPORAL_ADDRESS": temporal.address,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), REGISTERED_WITHIN_S)
    assert process.returncode == 0, output.decode()
    return output.decode()
