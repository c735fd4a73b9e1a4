"""The server that the other tests here rely on constrains, and counts."""

import json
from typing import Any

import httpx2
import pytest

from bench.engines.vllm_server import Endpoint

# The first test waits for the server, and the very first for its installation.
pytestmark = pytest.mark.timeout(2_400)

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


async def ask(vllm: Endpoint, **more: Any) -> httpx2.Response:
    question = {"role": "user", "content": 'Repeat exactly this JSON: {"colour": "blue"}'}
    body = {"model": vllm.model, "messages": [question], "max_tokens": 64, **more}
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.post(f"{vllm.url}/chat/completions", json=body)


async def metric(vllm: Endpoint, name: str) -> float:
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        lines = (await client.get(vllm.metrics_url)).raise_for_status().text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))


async def test_an_answer_keeps_to_the_schema_it_was_goaded_to_break(vllm: Endpoint) -> None:
    answer = await ask(vllm, structured_outputs={"json": SCHEMA})
    content = answer.raise_for_status().json()["choices"][0]["message"]["content"]
    assert json.loads(content)["colour"] in {"red", "green"}


async def test_metrics_count_the_tokens_of_an_answer(vllm: Endpoint) -> None:
    before = await metric(vllm, "vllm:generation_tokens_total")
    answer = await ask(vllm, temperature=0)
    usage = answer.raise_for_status().json()["usage"]
    assert await metric(vllm, "vllm:generation_tokens_total") - before == usage["completion_tokens"]
