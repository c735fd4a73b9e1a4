"""The registry of adapters: one row gives the settings, the command line and the adapter."""

from importlib.metadata import EntryPoint

import pytest
from outlast_activities.providers import registry
from outlast_activities.providers.chat_completions import ChatCompletions
from outlast_activities.providers.hosted.server import HostedServer
from outlast_activities.providers.registry import ADAPTERS
from outlast_workers.__main__ import main
from outlast_workers.settings_sections.model_servers import ModelSettings
from pydantic import ValidationError

from outlast.model_server import ServerFacts, ServerOptions
from tests.outlines import with_marks


@pytest.mark.parametrize("api", with_marks(ADAPTERS))
async def test_each_row_creates_its_adapter(api: str) -> None:
    facts = ServerFacts("guidance", "1", "m", 4096, constrained=True)
    options = ServerOptions("http://127.0.0.1:9/v1", api=api, model="m")
    server = ADAPTERS[api].connect(options, facts)
    if isinstance(server, ChatCompletions):
        assert server.engine == "guidance"
    else:
        assert isinstance(server, HostedServer)
        assert server.api.name == api
    await server.aclose()


@pytest.mark.parametrize("api", ADAPTERS)
def test_each_row_is_a_valid_setting(api: str) -> None:
    assert ModelSettings(api=api).api == api


def test_an_unknown_api_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="must be one of 'openai-chat', 'vllm'"):
        ModelSettings(api="vlm")


def test_the_command_line_offers_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--api", "vlm"])
    error = capsys.readouterr().err
    assert all(api in error for api in ADAPTERS)
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(adapter.summary in text for adapter in ADAPTERS.values())


class FromElsewhere:
    """An adapter of another package."""

    def __init__(self, options: ServerOptions, facts: ServerFacts | None) -> None:
        self.options = options


def add_entry_points(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    points = [EntryPoint(name, value, registry.GROUP) for name, value in values.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


def test_a_package_can_bring_an_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    add_entry_points(monkeypatch, elsewhere=f"{__name__}:FromElsewhere")
    assert ModelSettings(api="elsewhere").api == "elsewhere"
    assert registry.known_apis() == [*ADAPTERS, "elsewhere"]
    server = registry.connected(ServerOptions("http://x/v1", api="elsewhere"), None)
    assert isinstance(server, FromElsewhere)
    assert server.options.url == "http://x/v1"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            "no_such_module:Adapter",
            "cannot be loaded: no_such_module:Adapter .*ModuleNotFoundError",
        ),
        (f"{__name__}:NoSuchClass", "cannot be loaded: .*AttributeError"),
        ("string:digits", "cannot be used: string:digits .*is not a function or a class"),
    ],
)
def test_an_adapter_that_cannot_be_loaded_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str, problem: str
) -> None:
    add_entry_points(monkeypatch, broken=value)
    with pytest.raises(ValidationError, match=problem):
        ModelSettings(api="broken")
