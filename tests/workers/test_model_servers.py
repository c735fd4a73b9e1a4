import asyncio
import time

import pytest
from outlast_activities.generation.attempt import Endpoint
from outlast_workers.local.servers import free_port
from outlast_workers.model_servers import opened
from outlast_workers.settings import Settings
from outlast_workers.settings_sections import ModelSettings

from bench.scripted_model_server import ScriptedModelServer, turns
from outlast.errors import NotReady


async def endpoints_of(
    *, stop: asyncio.Event | None = None, **servers: ModelSettings
) -> dict[str, Endpoint]:
    settings = Settings(model=servers.pop("model", ModelSettings()), servers=servers)
    async with opened(settings) as opening:
        assert opening is not None
        return await opening.probed(stop or asyncio.Event())


def absent(**told: object) -> ModelSettings:
    return ModelSettings.model_validate({"url": f"http://127.0.0.1:{free_port()}/v1", **told})


async def test_a_process_without_the_role_has_no_model_server() -> None:
    async with opened(Settings(roles=("workflows", "tools"))) as servers:
        assert servers is None


async def test_the_role_without_a_server_is_told_how_to_name_one() -> None:
    with pytest.raises(NotReady, match="--model-url"):
        await endpoints_of()


async def test_a_server_that_loads_is_waited_for() -> None:
    port = free_port()
    told = ModelSettings(url=f"http://127.0.0.1:{port}/v1")
    waiting = asyncio.create_task(endpoints_of(model=told))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    async with ScriptedModelServer(turns(1), port=port):
        assert (await waiting)[""].constrained


async def test_the_wait_is_bounded_and_says_what_is_missing() -> None:
    with pytest.raises(NotReady, match="cannot be reached"):
        await endpoints_of(model=absent(start_within_s=0))


async def test_a_process_that_is_told_to_end_does_not_wait() -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(endpoints_of(model=absent(), stop=stop))
    await asyncio.sleep(0.2)
    began = time.monotonic()
    stop.set()
    assert await waiting == {}
    assert time.monotonic() - began < 1


async def test_one_of_several_may_be_away() -> None:
    async with ScriptedModelServer(turns(1)) as server:
        endpoints = await endpoints_of(
            near=ModelSettings(url=server.url), far=absent(start_within_s=0)
        )
    assert set(endpoints) == {"near", "far"}


async def test_a_server_that_ignores_constraints_is_refused_unless_it_is_allowed() -> None:
    async with ScriptedModelServer(turns(1), constrained=False) as server:
        with pytest.raises(NotReady, match="ignores the JSON Schema"):
            await endpoints_of(model=ModelSettings(url=server.url))
        allowed = ModelSettings(url=server.url, allow_unconstrained=True)
        assert not (await endpoints_of(model=allowed))[""].constrained


async def test_a_wrong_model_name_is_said_at_once() -> None:
    async with ScriptedModelServer(turns(1), engine="vllm") as server:
        with pytest.raises(NotReady, match="does not exist"):
            await endpoints_of(model=ModelSettings(url=server.url, name="other", api="vllm"))
