from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2
import pytest

from bench.scripted_model_server import ScriptedModelServer, Step, Steps, turns
from tests.bench.wire import USER, asking, sent, streaming

SCHEMA = {"type": "object", "properties": {"answer": {"const": 1}}, "required": ["answer"]}
ROOM = 4096


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    settings.setdefault("script", turns(1))
    async with (
        ScriptedModelServer(**settings) as server,
        httpx2.AsyncClient(base_url=server.root, trust_env=False) as client,
    ):
        yield client


async def completed(client: httpx2.AsyncClient, **fields: Any) -> httpx2.Response:
    return await client.post("/v1/chat/completions", json=asking(**fields))


class TestVllm:
    async def test_tells_its_version_and_context(self) -> None:
        async with served(engine="vllm", max_model_len=ROOM) as client:
            assert (await client.get("/version")).json() == {"version": "0.32.0"}
            entry = (await client.get("/v1/models")).json()["data"][0]
            assert (await client.get("/props")).status_code == 404
        assert (entry["owned_by"], entry["max_model_len"]) == ("vllm", ROOM)

    async def test_counts_tokens_as_a_completion_reports_them(self) -> None:
        async with served(engine="vllm", max_model_len=ROOM) as client:
            body = {"model": "scripted", "messages": [USER]}
            counted = (await client.post("/tokenize", json=body)).json()
            usage = (await completed(client)).json()["usage"]
        assert counted == {"count": 10, "max_model_len": ROOM, "tokens": []}
        assert usage["prompt_tokens"] == counted["count"]

    async def test_refuses_in_its_own_words(self) -> None:
        async with served(engine="vllm", script=Steps(Step("boom", status=500))) as client:
            unknown = await completed(client, model="m")
            options = await completed(client, stream_options={"include_usage": True})
            failed = await completed(client)
            nowhere = await client.get("/nowhere")
        assert unknown.status_code == 404
        assert unknown.json()["error"] == {
            "message": "The model `m` does not exist. Valid aliases: scripted.",
            "type": "NotFoundError",
            "param": "model",
            "code": 404,
        }
        assert (options.status_code, options.json()["error"]["param"]) == (400, "stream_options")
        error = {"message": "boom", "type": "InternalServerError", "param": None, "code": 500}
        assert failed.json()["error"] == error
        assert (nowhere.status_code, nowhere.json()["error"]["message"]) == (404, "Not Found")


class TestLlamaCpp:
    async def test_tells_its_build_and_context(self) -> None:
        async with served(engine="llama.cpp") as client:
            properties = (await client.get("/props")).json()
            entry = (await client.get("/v1/models")).json()["data"][0]
            assert (await client.get("/version")).status_code == 404
        assert properties["default_generation_settings"] == {"n_ctx": 8192}
        assert properties["build_info"].startswith("b")
        assert (entry["owned_by"], entry["meta"]) == ("llamacpp", {"n_ctx_train": 8192})

    async def test_counts_tokens_as_a_completion_reports_them(self) -> None:
        async with served(engine="llama.cpp") as client:
            body = {"messages": [USER, USER]}
            prompt = (await client.post("/apply-template", json=body)).json()["prompt"]
            tokens = (await client.post("/tokenize", json={"content": prompt})).json()["tokens"]
            usage = (await completed(client, messages=[USER, USER])).json()["usage"]
        assert len(tokens) == usage["prompt_tokens"] == 20

    async def test_tells_timings_instead_of_usage_in_every_chunk(self) -> None:
        step = Step(pieces=("a", "b"), usage={"prompt_tokens_details": {"cached_tokens": 4}})
        async with ScriptedModelServer(Steps(step), engine="llama.cpp") as server:
            response = await sent(server, streaming(timings_per_token=True, continuous=True))
        second = response.objects[2]
        assert second["timings"] == {"cache_n": 4, "prompt_n": 6, "predicted_n": 2}
        assert "usage" not in second

    async def test_refuses_a_prompt_without_room_for_an_answer(self) -> None:
        async with served(engine="llama.cpp", max_model_len=10) as client:
            error = (await completed(client)).json()["error"]
        assert error["type"] == "exceed_context_size_error"
        assert (error["n_prompt_tokens"], error["n_ctx"]) == (10, 10)


async def test_server_without_an_engine_serves_nothing_beside_the_api() -> None:
    async with served() as client:
        for path in ("/version", "/props"):
            assert (await client.get(path)).status_code == 404
        for path in ("/tokenize", "/apply-template"):
            assert (await client.post(path, json={})).status_code == 404
        entry = (await client.get("/v1/models")).json()["data"][0]
    assert entry["owned_by"] == "bench"


class TestContext:
    async def test_refuses_prompt_and_answer_that_are_too_long_together(self) -> None:
        messages = [{"role": "user", "content": "x" * 16_000}]
        async with served(engine="vllm", max_model_len=ROOM) as client:
            refused = await completed(client, messages=messages, max_tokens=512)
            taken = await completed(client, messages=messages, max_tokens=96)
        assert (refused.status_code, taken.status_code) == (400, 200)
        assert refused.json()["error"] == {
            "message": "This model's maximum context length is 4096 tokens. However, you requested "
            "512 output tokens and your prompt contains 4000 input tokens, for a total of 4512 "
            "tokens. Please reduce the length of the input prompt or the number of requested output "
            "tokens. (parameter=input_tokens, value=4000)",
            "type": "BadRequestError",
            "param": "input_tokens",
            "code": 400,
        }

    async def test_clamps_as_todays_vllm_does(self) -> None:
        script = Steps(Step(pieces=("a",) * 20))
        async with served(script=script, engine="vllm", max_model_len=15, overflow="clamped") as it:
            cut = (await completed(it, max_tokens=15)).json()
            long = await completed(it, messages=[USER, USER], max_tokens=1)
            many = await completed(it, max_tokens=16)
        assert (cut["choices"][0]["finish_reason"], cut["usage"]["total_tokens"]) == ("length", 15)
        assert "prompt contains 20 input tokens, which exceeds" in long.json()["error"]["message"]
        assert many.json()["error"]["param"] == "max_tokens"
        assert "max_tokens=16 cannot be greater than max_model_len=15" in many.text


class TestConstraint:
    @pytest.mark.parametrize(
        ("takes", "field", "is_taken"),
        [
            ("both", "structured_outputs", True),
            ("both", "response_format", True),
            ("structured_outputs", "structured_outputs", True),
            ("structured_outputs", "response_format", False),
            ("response_format", "structured_outputs", False),
            ("response_format", "response_format", True),
        ],
    )
    async def test_field_that_is_not_taken_is_ignored(
        self,
        takes: Literal["structured_outputs", "response_format", "both"],
        field: str,
        is_taken: bool,
    ) -> None:
        async with served(takes=takes) as client:
            assert (await self.text_for(client, field) == '{"answer":1}') is is_taken

    async def test_server_that_does_not_constrain_sees_no_schema(self) -> None:
        async with served(constrained=False) as client:
            assert await self.text_for(client, "structured_outputs") == "ok"
            assert await self.text_for(client, "response_format") == "ok"

    async def test_llama_cpp_reads_the_schema_in_a_grammar(self) -> None:
        async with served(engine="llama.cpp") as client:
            assert await self.text_for(client, "grammar") == '{"answer":1}'
        async with served() as client:
            assert await self.text_for(client, "grammar") == "ok"

    async def text_for(self, client: httpx2.AsyncClient, field: str) -> str:
        grammar = '%llguidance {}\nstart: %json {"$defs":{},"type":"object",'
        grammar += '"properties":{"answer":{"const":1}},"required":["answer"]}'
        forms: dict[str, object] = {
            "structured_outputs": {"json": SCHEMA},
            "response_format": {"json_schema": {"name": "d", "schema": SCHEMA}},
            "grammar": grammar,
        }
        answer = (await completed(client, **{field: forms[field]})).json()
        text: str = answer["choices"][0]["message"]["content"]
        return text
