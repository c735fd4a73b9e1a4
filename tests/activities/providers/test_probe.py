import asyncio
import json
from typing import Any

import pytest
from outlast_activities.providers.chat_completions import ChatCompletions
from outlast_activities.providers.chat_probe import PROBE_WORD
from outlast_workers.model_servers import open_model_servers
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.model_servers import ModelSettings

from bench.scripted_model.scripts import Step as ScriptedStep
from bench.scripted_model_server import ScriptedModelServer, turns
from outlast.errors import ModelError, ModelFailure, NotReady
from outlast.model_server import ServerFacts, ServerOptions
from tests.outlines import NEEDS_OUTLINES


async def facts_of(server: ScriptedModelServer, **options: Any) -> ServerFacts:
    adapter = ChatCompletions(ServerOptions(server.url, **options))
    try:
        facts = await adapter.probe()
        assert adapter.engine == facts.engine
        return facts
    finally:
        await adapter.aclose()


async def refusal_of(server: ScriptedModelServer, **options: Any) -> str:
    """Return why a worker refuses to start with a server."""
    settings = Settings(model=ModelSettings(url=server.url, **options))
    async with open_model_servers(settings) as servers:
        assert servers is not None
        with pytest.raises(NotReady) as refused:
            await servers.endpoints(asyncio.Event())
    return str(refused.value)


@pytest.mark.parametrize(
    ("engine", "api", "found"),
    [
        pytest.param(
            *("vllm", "vllm"),
            ServerFacts("auto", "0.32.0", "scripted", 4096, constrained=True),
            marks=NEEDS_OUTLINES,
        ),
        (
            "llama.cpp",
            "openai-chat",
            ServerFacts("llama.cpp", "b0", "scripted", 4096, constrained=True),
        ),
        (None, "openai-chat", ServerFacts("openai", None, "scripted", None, constrained=True)),
    ],
)
async def test_the_probe_finds_out_what_a_server_is(
    engine: str, api: str, found: ServerFacts
) -> None:
    bound = 4096 if engine else None
    server = ScriptedModelServer(turns(1), engine=engine, max_model_len=bound)  # type: ignore[arg-type]  # parametrized
    async with server:
        facts = await facts_of(server, api=api)
    assert (facts.engine, facts.model, facts.constrained) == (found.engine, "scripted", True)
    assert facts.context_tokens == found.context_tokens
    assert (facts.version is None) == (found.version is None)


@NEEDS_OUTLINES
async def test_vllm_before_0_12_is_rejected_with_the_version_that_is_needed() -> None:
    old = ScriptedModelServer(turns(1), engine="vllm", takes="response_format")
    async with old:
        assert not (await facts_of(old, api="vllm")).constrained
        refusal = await refusal_of(old, api="vllm")
    assert "vLLM 0.12 or later is needed" in refusal
    assert "--allow-unconstrained" in refusal


async def test_a_server_that_needs_the_other_api_is_rejected_with_its_name() -> None:
    other = ScriptedModelServer(turns(1), takes="structured_outputs")
    async with other:
        assert not (await facts_of(other)).constrained
        refusal = await refusal_of(other)
    assert 'with vLLM set api = "vllm"' in refusal


@NEEDS_OUTLINES
async def test_a_configured_engine_is_not_changed_by_the_probe() -> None:
    async with ScriptedModelServer(turns(1), engine="vllm") as server:
        assert (await facts_of(server, api="vllm", engine="xgrammar")).engine == "xgrammar"


@NEEDS_OUTLINES
async def test_known_facts_set_the_engine_without_a_request() -> None:
    async with ScriptedModelServer(turns(1), engine="vllm") as server:
        facts = await facts_of(server, api="vllm")
    adapter = ChatCompletions(ServerOptions(server.url, api="vllm"), facts)
    assert adapter.engine == facts.engine
    await adapter.aclose()


def test_an_unknown_engine_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'xgrammar'"):
        ChatCompletions(ServerOptions("http://127.0.0.1:9/v1", engine="xgramar"))


@NEEDS_OUTLINES
async def test_a_model_that_the_server_lacks_is_unknown() -> None:
    async with ScriptedModelServer(turns(1), engine="vllm") as server:
        with pytest.raises(ModelError) as refused:
            await facts_of(server, api="vllm", model="other")
    assert refused.value.kind is ModelFailure.UNKNOWN_MODEL


class ThinkingServer(ScriptedModelServer):
    """A model that thinks for some tokens before it answers under its grammar."""

    def __init__(self, thoughts: int, *, form: str, word: str = PROBE_WORD) -> None:
        super().__init__(turns(1), engine="vllm")
        self.thoughts, self.form, self.word = thoughts, form, word

    def _completion(self, headers: Any, body: bytes) -> Any:
        most = json.loads(body)["max_tokens"]
        count = min(self.thoughts, most)
        deltas = [{self.form: f"hm{number} "} for number in range(count)]
        if self.form == "content":
            deltas = [{"content": "<think>"}, *deltas]
        finish = "length"
        if most > self.thoughts + 8:
            end = "</think>" if self.form == "content" else ""
            deltas.append({"content": end + json.dumps({"probe": self.word})})
            finish = "stop"
        chunks: list[Any] = [{"choices": [{"delta": delta}]} for delta in deltas]
        chunks.append({"choices": [{"delta": {}, "finish_reason": finish}]})
        raw = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
        return self._failed(ScriptedStep(raw=raw, content_type="text/event-stream"))


@NEEDS_OUTLINES
@pytest.mark.parametrize("form", ["reasoning_content", "reasoning", "content"])
@pytest.mark.parametrize("thoughts", [0, 20, 47, 48, 60, 300, 500, 600, 4_000, 9_000])
async def test_a_model_that_thinks_passes_the_probe(thoughts: int, form: str) -> None:
    async with ThinkingServer(thoughts, form=form) as server:
        facts = await facts_of(server, api="vllm", engine="guidance")
    assert facts.constrained


@NEEDS_OUTLINES
@pytest.mark.parametrize("form", ["reasoning_content", "content"])
@pytest.mark.parametrize("thoughts", [0, 20, 60, 600])
async def test_a_model_that_thinks_and_ignores_the_schema_does_not(
    thoughts: int, form: str
) -> None:
    async with ThinkingServer(thoughts, form=form, word="hello") as server:
        facts = await facts_of(server, api="vllm", engine="guidance")
    assert not facts.constrained
