"""The probe of tools: a server is used natively only if calls and answers under a schema are possible."""

from collections.abc import Iterator
from typing import Any

import pytest
from outlast_activities.providers.chat_completions import ChatCompletions
from outlast_activities.providers.chat_probe import PROBE_TOOL, PROBE_WORD

from outlast.contracts.agents import Way
from outlast.errors import ModelError
from outlast.model_server import ServerOptions
from tests.activities.providers.fake_model_server import (
    FakeModelServer,
    ReceivedRequest,
    Reply,
    completion,
    fake_model_server,
    models,
)

CALLED = completion(
    None,
    "tool_calls",
    tool_calls=[
        {"id": "a", "function": {"name": PROBE_TOOL, "arguments": '{"plant":"quillwort"}'}}
    ],
)
PROSE = completion("I do not know any secret word.")


class ToolServer(FakeModelServer):
    """Answers as a server does that can do some of it."""

    can: tuple[str, ...] = ()

    def next_reply(self, request: ReceivedRequest) -> Reply:
        self.requests.append(request)
        body: Any = request.body
        if body is None:
            return models("m")
        has_format = "response_format" in body
        if "tools" not in body:
            return completion(f'{{"probe":"{PROBE_WORD}"}}' if "format" in self.can else "Hello!")
        if "rejects tools" in self.can:
            return Reply({"error": {"message": "tools are not supported"}}, status=400)
        if body["tool_choice"] == "none":
            return completion(
                f'{{"answer":"{PROBE_WORD}"}}' if "format beside tools" in self.can else "Hi"
            )
        if has_format:
            return CALLED if "tools beside format" in self.can else completion('{"answer":"x"}')
        return CALLED if "tools" in self.can else PROSE


@pytest.fixture
def server() -> Iterator[ToolServer]:
    with fake_model_server() as fake:
        fake.__class__ = ToolServer
        assert isinstance(fake, ToolServer)
        yield fake


EVERYTHING = ("format", "tools", "tools beside format", "format beside tools")


@pytest.mark.parametrize(
    ("can", "ways"),
    [
        (EVERYTHING, ("native", "tools", "decision")),
        # The schema holds from the first token, so no call is possible beside it.
        (("format", "tools", "format beside tools"), ("decision", "tools")),
        (("format", "tools", "tools beside format"), ("decision", "tools")),
        (("tools",), ("tools", "decision")),
        (("format",), ("decision",)),
        (("format", "rejects tools"), ("decision",)),
    ],
)
async def test_the_probe_finds_the_ways(
    server: ToolServer, can: tuple[str, ...], ways: tuple[Way, ...]
) -> None:
    server.can = can
    adapter = ChatCompletions(ServerOptions(server.url))
    facts = await adapter.probe()
    await adapter.aclose()
    assert facts.ways == ways
    assert facts.constrained == ("format" in can)


async def test_a_hosted_service_is_not_probed_with_prompts(server: ToolServer) -> None:
    adapter = ChatCompletions(ServerOptions(server.url, model="m", api_key="k", profile="deepseek"))
    facts = await adapter.probe()
    await adapter.aclose()
    assert (facts.ways, facts.constrained) == (("tools",), False)
    assert [request.path for request in server.requests] == ["/v1/models"]


async def test_a_key_that_a_service_rejects_is_found_at_the_start() -> None:
    with fake_model_server() as server:
        server.replies = [Reply({"error": {"message": "invalid key k3y"}}, status=401)]
        adapter = ChatCompletions(
            ServerOptions(server.url, model="m", api_key="k3y", profile="mistral")
        )
        with pytest.raises(ModelError, match="check the server's api_key") as raised:
            await adapter.probe()
        await adapter.aclose()
    assert "k3y" not in raised.value.message
