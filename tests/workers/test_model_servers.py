import asyncio
import time

import pytest
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.providers.registry import connected
from outlast_workers import model_servers
from outlast_workers.local.ports import free_port
from outlast_workers.model_servers import open_model_servers
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.model_servers import ModelSettings
from pydantic import SecretStr
from structlog.testing import capture_logs

from bench.scripted_model_server import ScriptedModelServer, turns
from outlast.errors import ModelError, ModelFailure, NotReady
from outlast.model_server import ModelServer, ServerFacts, ServerOptions
from outlast.testing import ScriptedModel
from tests.fakes.fake_gemini import FakeGemini
from tests.fakes.service import serving
from tests.outlines import NEEDS_OUTLINES


async def endpoints_of(
    *, stop: asyncio.Event | None = None, **servers: ModelSettings
) -> dict[str, Endpoint]:
    settings = Settings(model=servers.pop("model", ModelSettings()), servers=servers)
    async with open_model_servers(settings) as opened:
        assert opened is not None
        return await opened.endpoints(stop or asyncio.Event())


def absent(**fields: object) -> ModelSettings:
    return ModelSettings.model_validate({"url": f"http://127.0.0.1:{free_port()}/v1", **fields})


async def test_a_process_without_the_role_has_no_model_server() -> None:
    async with open_model_servers(Settings(roles=("workflows", "tools"))) as servers:
        assert servers is None


async def test_the_role_without_a_server_is_an_error_that_names_the_option() -> None:
    with pytest.raises(NotReady, match="--model-url"):
        await endpoints_of()


async def test_the_process_waits_for_a_server_that_is_loading() -> None:
    port = free_port()
    server = ModelSettings(url=f"http://127.0.0.1:{port}/v1")
    waiting = asyncio.create_task(endpoints_of(model=server))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    async with ScriptedModelServer(turns(1), port=port):
        assert (await waiting)[""].constrained


async def test_the_wait_is_bounded_and_its_error_names_the_server() -> None:
    with pytest.raises(NotReady, match="cannot be reached"):
        await endpoints_of(model=absent(start_within_s=0))


async def test_a_process_that_stops_does_not_wait() -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(endpoints_of(model=absent(), stop=stop))
    await asyncio.sleep(0.2)
    began = time.monotonic()
    stop.set()
    assert await waiting == {}
    assert time.monotonic() - began < 30


async def test_one_of_several_servers_may_be_away() -> None:
    async with ScriptedModelServer(turns(1)) as server:
        endpoints = await endpoints_of(
            near=ModelSettings(url=server.url), far=absent(start_within_s=0)
        )
    assert set(endpoints) == {"near", "far"}


async def test_a_server_that_ignores_schemas_is_rejected_unless_it_is_allowed() -> None:
    async with ScriptedModelServer(turns(1), constrained=False) as server:
        with pytest.raises(NotReady, match="ignores the JSON Schema"):
            await endpoints_of(model=ModelSettings(url=server.url))
        allowed = ModelSettings(url=server.url, allow_unconstrained=True)
        assert not (await endpoints_of(model=allowed))[""].constrained


@NEEDS_OUTLINES
async def test_a_wrong_model_name_fails_at_once() -> None:
    async with ScriptedModelServer(turns(1), engine="vllm") as server:
        with pytest.raises(NotReady, match="does not exist"):
            await endpoints_of(model=ModelSettings(url=server.url, name="other", api="vllm"))


async def test_a_server_that_is_down_is_named_at_once_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_servers, "REPORT_EVERY_S", 0.2)
    monkeypatch.setattr(model_servers, "PROBE_EVERY_S", 0.05)
    server = absent(start_within_s=0.7)
    with capture_logs() as logs, pytest.raises(NotReady):
        await endpoints_of(model=server)

    warnings = [entry for entry in logs if entry["event"] == "model.not_available"]
    assert 3 <= len(warnings) <= 5
    for warning in warnings:
        assert warning["log_level"] == "warning"
        assert warning["url"] == server.url
        assert "cannot be reached" in warning["reason"]
        assert "OUTLAST_MODEL__URL" in warning["advice"]
        assert "Ctrl-C" in warning["advice"]
    assert warnings[0]["gives_up_in_s"] == 1


async def test_a_named_server_that_is_down_is_named_while_another_one_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_servers, "REPORT_EVERY_S", 0.1)
    monkeypatch.setattr(model_servers, "PROBE_EVERY_S", 0.05)
    async with ScriptedModelServer(turns(1)) as server:
        settings = Settings(
            model=ModelSettings(url=server.url), servers={"big": absent(start_within_s=0)}
        )
        with capture_logs() as logs:
            async with open_model_servers(settings) as servers:
                assert servers is not None
                await servers.endpoints(asyncio.Event())
                await asyncio.sleep(0.5)

    warnings = [entry for entry in logs if entry["event"] == "model.not_available"]
    assert len(warnings) >= 2
    assert all("OUTLAST_SERVERS__BIG__URL" in warning["advice"] for warning in warnings)


async def test_the_first_way_of_a_server_is_the_configured_one() -> None:
    async with ScriptedModelServer(turns(1)) as server:
        endpoints = await endpoints_of(
            plain=ModelSettings(url=server.url, effort="low"),
            chosen=ModelSettings(url=server.url, way="decision"),
        )
    assert [endpoint.ways for endpoint in endpoints.values()] == [("decision",)] * 2
    assert endpoints["plain"].effort == "low"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"way": "native"},
            r"\[servers\.far\]: .*cannot take way = \"native\"; it can take 'decis",
        ),
        ({"profile": "mistral"}, r"\[servers\.far\]: .*needs the name of a model"),
        ({"profile": "mistral", "name": "m"}, r"\[servers\.far\]: .*needs an api_key"),
        ({"api": "gemini"}, r"\[servers\.far\]: .*needs the name of a model"),
        ({"profile": "mistrl"}, r"\[servers\.far\]: profile: 'mistrl' is unknown; did you mean"),
        pytest.param(
            {"name": "m", "api": "vllm"},
            r"\[servers\.far\]: .*does not exist",
            marks=NEEDS_OUTLINES,
        ),
    ],
)
async def test_a_server_that_cannot_be_used_is_named_in_one_line(
    fields: dict[str, object], problem: str
) -> None:
    async with ScriptedModelServer(turns(1), engine="vllm") as server:
        settings = ModelSettings.model_validate({"url": server.url, **fields})
        with pytest.raises(NotReady, match=problem) as refused:
            await endpoints_of(far=settings)
    assert "\n" not in str(refused.value)


async def test_another_model_of_a_server_has_its_own_ways() -> None:
    with serving(FakeGemini()) as fake:
        server = ModelSettings(
            url=fake.url, api="gemini", name="gemini-3.5-flash", api_key=SecretStr(fake.key)
        )
        settings = Settings(model=server)
        async with open_model_servers(settings) as opened:
            assert opened is not None
            endpoint = (await opened.endpoints(asyncio.Event()))[""]
            assert endpoint.ways[0] == "native"
            assert endpoint.for_model is not None
            both = await asyncio.gather(*(endpoint.for_model("gemini-2.5-flash") for _ in range(2)))
            assert both[0] is both[1]
            assert (both[0].ways[0], both[0].model) == ("tools", "gemini-2.5-flash")
            with pytest.raises(ModelError, match=r"which ends in /v1beta, and the model's name"):
                await endpoint.for_model("gemini-unknown")
        assert sum("gemini-2.5-flash" in request.path for request in fake.received) == 1


class BrokenServer(ScriptedModel):
    """An adapter of another package, with bugs: the first probe fails as it should."""

    def __init__(self) -> None:
        super().__init__([])
        self.probes = 0

    async def probe(self) -> ServerFacts:
        self.probes += 1
        if self.probes == 1:
            raise ModelError("it is loading", kind=ModelFailure.CONNECTION)
        raise KeyError("facts")

    async def is_reachable(self) -> bool:
        raise KeyError("answer")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> BrokenServer:
    """Connect the server `broken` with an adapter that has bugs, and the others as always."""
    server = BrokenServer()

    def connect(options: ServerOptions, facts: ServerFacts | None) -> ModelServer:
        return server if "broken" in options.url else connected(options, facts)

    monkeypatch.setattr(model_servers, "connected", connect)
    return server


async def test_a_bug_of_an_adapter_in_a_late_probe_is_logged(broken: BrokenServer) -> None:
    async with ScriptedModelServer(turns(1)) as server:
        settings = Settings(
            servers={
                "near": ModelSettings(url=server.url),
                "far": ModelSettings(url="http://broken/v1", start_within_s=0),
            }
        )
        with capture_logs() as lines:
            async with open_model_servers(settings) as servers, asyncio.timeout(30):
                assert servers is not None
                await servers.endpoints(asyncio.Event())
                while broken.probes < 2:
                    await asyncio.sleep(0.01)
    failed = [line for line in lines if line["event"] == "model.probe_failed"]
    assert [(line["server"], line["log_level"]) for line in failed] == [("far", "error")]


async def test_a_server_whose_check_has_a_bug_is_not_reachable(broken: BrokenServer) -> None:
    settings = Settings(servers={"far": ModelSettings(url="http://broken/v1")})
    with capture_logs() as lines:
        async with open_model_servers(settings) as servers:
            assert servers is not None
            assert not await servers.are_reachable()
    assert [line["event"] for line in lines] == ["model.check_failed"]
    assert broken.probes == 0
