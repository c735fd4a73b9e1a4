"""Which settings a Lambda function rejects, and what it keeps between invocations."""

import asyncio

import pytest
from outlast_workers.model_servers import open_model_servers
from outlast_workers.serverless.aws_lambda import (
    SERVER_WAIT_S,
    LambdaFunction,
    _limit_server_wait,
    _task_queue,
)
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.model_servers import ModelSettings
from outlast_workers.settings_sections.workers import QueuesSettings, VersioningSettings

from bench.scripted_model_server import ScriptedModelServer, turns
from outlast.errors import NotReady
from outlast.model_server import ServerFacts

VERSION = VersioningSettings(deployment_name="outlast", build_id="v1")


def test_a_function_without_a_version_says_how_to_set_one() -> None:
    with pytest.raises(NotReady, match="set TEMPORAL_DEPLOYMENT_NAME and TEMPORAL_WORKER_BUILD_ID"):
        LambdaFunction(Settings())


def test_roles_on_several_queues_are_rejected() -> None:
    with pytest.raises(NotReady, match="workflows on 'agents', tools on 'tools'"):
        LambdaFunction(Settings(versioning=VERSION, roles=("workflows", "tools")))


@pytest.mark.parametrize(
    ("settings", "queue"),
    [
        (Settings(), "agents"),
        (Settings(roles=("generate",)), "generate"),
        (
            Settings(roles=("generate",), queues=QueuesSettings(generate="generate-serverless")),
            "generate-serverless",
        ),
        (Settings(roles=("workflows", "tools"), queues=QueuesSettings(tools="agents")), "agents"),
    ],
)
def test_a_function_polls_the_one_queue_of_its_roles(settings: Settings, queue: str) -> None:
    assert _task_queue(settings) == queue


def test_a_function_does_not_pay_for_minutes_of_waiting_for_a_model_server() -> None:
    settings = _limit_server_wait(
        Settings(servers={"quick": ModelSettings(url="http://a", start_within_s=3)})
    )
    assert settings.model.start_within_s == SERVER_WAIT_S
    assert settings.servers["quick"].start_within_s == 3


def test_a_model_server_is_probed_once_and_used_on_the_loop_of_each_invocation() -> None:
    known: dict[str, ServerFacts] = {}

    async def invocation(url: str) -> str:
        async with open_model_servers(Settings(model=ModelSettings(url=url)), known) as servers:
            assert servers is not None
            return repr((await servers.endpoints(asyncio.Event()))[""].constrained)

    async def with_server() -> str:
        async with ScriptedModelServer(turns(1)) as server:
            await invocation(server.url)
            return server.url

    url = asyncio.run(with_server())
    assert known[""].model == "scripted"
    # The server is stopped, so a second probe would fail.
    assert asyncio.run(invocation(url)) == "True"
