"""The conformance suite against vLLM, and what only vLLM reports."""

import asyncio

import pytest

from bench.engines.vllm_server import Endpoint
from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Prompt
from outlast.turns import UserTurn
from tests.conformance.suite import (
    HELLO,
    PAIR,
    Conformance,
    ProbedServer,
    other_adapter,
)
from tests.vllm.test_server import metric

# The first test waits for the server, and the very first for its installation.
pytestmark = pytest.mark.timeout(2_400)

STOPS_WITHIN_S = 2.0


class TestVllm(Conformance):
    """With tests that llama.cpp cannot pass."""

    async def test_a_model_that_is_not_served_is_unknown(self, engine: ProbedServer) -> None:
        async with other_adapter(engine, model="other") as model:
            with pytest.raises(ModelError) as raised:
                await model.probe()
        assert raised.value.kind is ModelFailure.UNKNOWN_MODEL

    async def test_it_enforces_a_schema_in_the_other_field_too(self, engine: ProbedServer) -> None:
        async with other_adapter(engine, api="openai-chat") as model:
            facts = await model.probe()
            assert facts.constrained
            assert (facts.engine, facts.context_tokens) == ("openai", engine.facts.context_tokens)


async def test_a_cancelled_request_stops_the_engine(vllm: Endpoint, engine: ProbedServer) -> None:
    came = asyncio.Event()
    prompt = Prompt(
        (UserTurn(HELLO),), {"type": "array", "items": PAIR, "minItems": 200}, "long", 3_000
    )
    call = asyncio.create_task(engine.model.complete(prompt, on_tokens=lambda _: came.set()))
    await came.wait()
    assert await metric(vllm, "vllm:num_requests_running") == 1
    began = asyncio.get_running_loop().time()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    while await metric(vllm, "vllm:num_requests_running") > 0:
        assert asyncio.get_running_loop().time() - began < STOPS_WITHIN_S
        await asyncio.sleep(0.02)
    took = asyncio.get_running_loop().time() - began
    print(f"\nafter a cancellation the engine stopped within {took:.2f} s")
    before = await metric(vllm, "vllm:generation_tokens_total")
    await asyncio.sleep(0.5)
    assert await metric(vllm, "vllm:generation_tokens_total") == before
