import pytest
from outlast_activities.constraints.constraints import Engine
from outlast_activities.providers.chat_completions import ChatCompletions, Server
from outlast_activities.providers.probe import ServerFacts, needed, probe
from outlast_activities.providers.request_fields import Api

from bench.scripted_model_server import ScriptedModelServer, turns
from outlast.errors import ModelError, ModelFailure


async def facts_of(
    server: ScriptedModelServer, api: Api, model: str | None = None
) -> tuple[ServerFacts, str]:
    """Return what probing finds, and what a worker would say that refused it."""
    adapter = ChatCompletions(Server(server.url, api=api, model=model))
    try:
        facts = await probe(adapter)
        assert adapter.engine == facts.engine
        return facts, needed(adapter, facts)
    finally:
        await adapter.aclose()


@pytest.mark.parametrize(
    ("engine", "api", "found"),
    [
        ("vllm", "vllm", ServerFacts("auto", "0.32.0", "scripted", 4096, constrained=True)),
        ("llama.cpp", "openai", ServerFacts("llama.cpp", "b0", "scripted", 4096, constrained=True)),
        (None, "openai", ServerFacts("openai", None, "scripted", None, constrained=True)),
    ],
)
async def test_a_server_tells_what_it_is(engine: str, api: Api, found: ServerFacts) -> None:
    bound = 4096 if engine else None
    server = ScriptedModelServer(turns(1), engine=engine, max_model_len=bound)  # type: ignore[arg-type]  # parametrized
    async with server:
        facts, _ = await facts_of(server, api)
    assert (facts.engine, facts.model, facts.constrained) == (found.engine, "scripted", True)
    assert facts.context_tokens == found.context_tokens
    assert (facts.version is None) == (found.version is None)


async def test_vllm_before_0_12_is_refused_by_the_version_that_is_needed() -> None:
    old = ScriptedModelServer(turns(1), engine="vllm", takes="response_format")
    async with old:
        facts, said = await facts_of(old, "vllm")
    assert not facts.constrained
    assert "it needs vLLM 0.12 or later" in said
    assert "--allow-unconstrained" in said


async def test_a_server_that_knows_the_other_field_only_is_refused_by_what_to_say() -> None:
    other = ScriptedModelServer(turns(1), takes="structured_outputs")
    async with other:
        facts, said = await facts_of(other, "openai")
    assert not facts.constrained
    assert 'with vLLM say api = "vllm"' in said


async def test_what_an_operator_says_of_the_engine_holds() -> None:
    told: Engine = "xgrammar"
    async with ScriptedModelServer(turns(1), engine="vllm") as server:
        model = ChatCompletions(Server(server.url, api="vllm"))
        assert (await probe(model, engine=told)).engine == told
        await model.aclose()


async def test_a_model_that_the_server_lacks_is_said_so() -> None:
    async with ScriptedModelServer(turns(1), engine="vllm") as server:
        with pytest.raises(ModelError) as refused:
            await facts_of(server, "vllm", model="other")
    assert refused.value.kind is ModelFailure.UNKNOWN_MODEL
