import asyncio
import json
import time
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from bench.scripted_model_server import ScriptedModelServer, Step, Steps, turns
from tests.bench.wire import asking, connected, sent, streaming, until

THREE = ("a", "b ", "ü")


async def answered(step: Step | str, **fields: Any) -> Any:
    async with ScriptedModelServer(Steps(step)) as server:
        return await sent(server, streaming(**fields))


class TestWire:
    async def test_plain_step_comes_in_one_chunk_with_role_finish_usage_and_done(self) -> None:
        response = await answered("x" * 8)
        assert "content-type: text/event-stream" in response.head
        assert len(response.chunks) == 1
        assert response.is_complete
        assert response.data[-1] == "[DONE]"
        first, finish, usage = response.objects
        assert first["object"] == "chat.completion.chunk"
        assert first["choices"][0]["delta"] == {"role": "assistant", "content": "x" * 8}
        assert first["choices"][0]["finish_reason"] is None
        assert finish["choices"][0]["delta"] == {}
        assert finish["choices"][0]["finish_reason"] == "stop"
        assert "usage" not in finish
        assert usage["choices"] == []
        assert usage["usage"] == {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}

    async def test_pieces_are_tokens_after_a_chunk_of_the_role_alone(self) -> None:
        response = await answered(Step(pieces=THREE))
        contents = [delta.get("content") for delta in response.deltas]
        assert response.deltas[0] == {"role": "assistant", "content": ""}
        assert contents[1:] == [*THREE, None]
        assert response.objects[-1]["usage"]["completion_tokens"] == 3

    async def test_usage_is_in_every_chunk_only_on_request(self) -> None:
        response = await answered(Step(pieces=THREE), continuous=True)
        counted = [chunk["usage"]["completion_tokens"] for chunk in response.objects]
        assert counted[-3:] == [3, 3, 3]
        assert counted[:3] == [1, 1, 2]
        async with ScriptedModelServer(Steps("ok")) as server:
            silent = await sent(server, asking(stream=True))
        assert all("usage" not in chunk for chunk in silent.objects)
        assert len(silent.objects) == 2

    async def test_usage_of_a_step_goes_over_what_is_counted(self) -> None:
        details = {"prompt_tokens_details": {"cached_tokens": 8}}
        response = await answered(Step("x", usage=details))
        assert response.objects[-1]["usage"] | details == response.objects[-1]["usage"]
        assert response.objects[-1]["usage"]["prompt_tokens"] == 10

    async def test_max_tokens_cuts_pieces_and_repetition(self) -> None:
        cut = await answered(Step(pieces=THREE), max_tokens=2)
        endless = await answered(Step(pieces=("\n",), repeats=True), max_completion_tokens=500)
        assert (cut.text, endless.text) == ("ab ", "\n" * 500)
        for response, count in ((cut, 2), (endless, 500)):
            finish, usage = response.objects[-2:]
            assert finish["choices"][0]["finish_reason"] == "length"
            assert usage["usage"]["completion_tokens"] == count

    async def test_pieces_that_are_paced_come_in_chunks_of_their_own(self) -> None:
        began = time.perf_counter()
        response = await answered(Step(pieces=THREE, gap_s=0.03))
        assert time.perf_counter() - began >= 0.06
        assert len(response.chunks) == 3

    async def test_empty_answer_and_refusal_are_streams_too(self) -> None:
        empty = await answered(Step(pieces=()))
        assert (empty.text, empty.objects[-1]["usage"]["completion_tokens"]) == ("", 0)
        refused = await answered(Step(refusal="no"))
        assert refused.deltas[0] == {"role": "assistant", "refusal": "no"}

    async def test_connection_is_kept_for_the_next_request(self) -> None:
        async with ScriptedModelServer(Steps("one", Step(pieces=THREE, gap_s=0.01))) as server:
            connection = await connected(server)
            connection.send(streaming())
            connection.send(streaming())
            texts = [(await connection.receive()).text for _ in range(2)]
            await connection.leave()
        assert texts == ["one", "".join(THREE)]

    async def test_vllm_sends_the_head_before_there_is_a_token(self) -> None:
        async with ScriptedModelServer(Steps(Step("ok", delay_s=60)), engine="vllm") as server:
            connection = await connected(server)
            connection.send(streaming())
            head = await asyncio.wait_for(connection.reader.readuntil(b"\r\n\r\n"), 5)
            await connection.leave()
        assert head.startswith(b"HTTP/1.1 200")


class TestFailures:
    async def test_broken_stream_ends_without_the_end_of_its_body(self) -> None:
        async with ScriptedModelServer(Steps(Step(pieces=THREE, breaks_after=2))) as server:
            response = await sent(server, streaming())
            generation = server.requests[0].generation
        assert not response.is_complete
        assert response.text == "ab "
        assert (generation.state, generation.sent_pieces) == ("broken", 2)
        assert (server.running, server.abandoned) == (0, 0)

    async def test_error_in_stream_is_an_event_before_done(self) -> None:
        error = {"message": "engine died", "type": "InternalServerError", "code": 500}
        response = await answered(Step(pieces=THREE, error_in_stream=error))
        assert json.loads(response.data[-2]) == {"error": error}
        assert response.data[-1] == "[DONE]"
        assert response.text == "".join(THREE)

    async def test_page_of_a_proxy_is_sent_as_it_is(self) -> None:
        page = Step(status=502, raw="<html>Bad Gateway</html>", headers={"retry-after": "3"})
        plain = Step(raw="<html>Sign in</html>", content_type="text/plain")
        async with (
            ScriptedModelServer(Steps(page, plain)) as server,
            httpx2.AsyncClient(base_url=server.url, trust_env=False) as client,
        ):
            bad = await client.post("/chat/completions", json=streaming())
            good = await client.post("/chat/completions", json=streaming())
        assert (bad.status_code, bad.text) == (502, "<html>Bad Gateway</html>")
        assert (bad.headers["content-type"], bad.headers["retry-after"]) == ("text/html", "3")
        assert (good.status_code, good.headers["content-type"]) == (200, "text/plain")


class TestLeaving:
    async def test_client_that_leaves_stops_a_loop(self) -> None:
        loop = Step(pieces=("\n",), repeats=True, gap_s=0.002)
        async with ScriptedModelServer(Steps(loop)) as server:
            connection = await connected(server)
            connection.send(streaming())
            await until(lambda: server.sent_pieces > 5)
            assert server.running == 1
            await connection.leave()
            await until(lambda: server.running == 0)
            stopped = server.sent_pieces
            await asyncio.sleep(0.05)
            assert server.sent_pieces == stopped
            generation = server.requests[0].generation
        assert server.abandoned == 1
        assert generation.state == "abandoned"
        assert (generation.prompt_tokens, generation.completion_tokens) == (10, stopped)

    @pytest.mark.parametrize("stream", [True, False])
    async def test_stall_lasts_until_the_client_leaves(self, stream: bool) -> None:
        stalled = Step(pieces=THREE, stalls_after=1)
        async with ScriptedModelServer(Steps(stalled)) as server:
            connection = await connected(server)
            connection.send(streaming() if stream else asking())
            await until(lambda: server.sent_pieces == 1)
            await asyncio.sleep(0.05)
            assert (server.running, server.sent_pieces) == (1, 1)
            await connection.leave()
            await until(lambda: server.running == 0)
        assert server.abandoned == 1

    async def test_client_that_does_not_read_holds_an_endless_answer(self) -> None:
        endless = Step(pieces=("x" * 1000,), repeats=True)
        async with ScriptedModelServer(Steps(endless)) as server:
            connection = await connected(server)
            connection.send(streaming())
            await until(lambda: server.sent_pieces > 0)
            async with asyncio.timeout(30):
                held = 0
                while server.sent_pieces != held:
                    held = server.sent_pieces
                    await asyncio.sleep(0.2)
            connection.writer.transport.abort()
            await until(lambda: server.running == 0)


class TestWhole:
    async def test_pieces_are_joined_counted_and_cut(self) -> None:
        script = Steps(Step(pieces=THREE), Step(pieces=THREE), Step(pieces=THREE, breaks_after=1))
        async with (
            ScriptedModelServer(script) as server,
            httpx2.AsyncClient(base_url=server.url, trust_env=False) as client,
        ):
            full = (await client.post("/chat/completions", json=asking())).json()
            cut = (await client.post("/chat/completions", json=asking(max_tokens=1))).json()
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.post("/chat/completions", json=asking())
        assert full["choices"][0]["message"]["content"] == "".join(THREE)
        assert full["usage"]["completion_tokens"] == 3
        assert cut["choices"][0]["message"]["content"] == "a"
        assert cut["choices"][0]["finish_reason"] == "length"


class TestOpenAIClient:
    async def test_reads_a_stream_with_its_usage(self) -> None:
        async with (
            ScriptedModelServer(Steps(Step(pieces=THREE, gap_s=0.005))) as server,
            AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as client,
        ):
            stream = await client.chat.completions.create(
                model="scripted",
                messages=[{"role": "user", "content": "go"}],
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks = [chunk async for chunk in stream]
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(pieces) == "".join(THREE)
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 3

    async def test_raises_an_error_in_stream_and_a_broken_stream(self) -> None:
        script = Steps(
            Step(pieces=THREE, error_in_stream={"message": "engine died", "code": 500}),
            Step(pieces=THREE, breaks_after=1),
        )
        async with (
            ScriptedModelServer(script) as server,
            AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as client,
        ):
            with pytest.raises(openai.APIError, match="engine died"):
                await read_to_end(client)
            with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
                await read_to_end(client)

    async def test_scripts_answer_the_same_streamed(self) -> None:
        schema = {"type": "object", "properties": {"answer": {"const": 1}}, "required": ["answer"]}
        body = streaming(structured_outputs={"json": schema})
        async with ScriptedModelServer(turns(1)) as server:
            response = await sent(server, body)
        assert json.loads(response.text) == {"answer": 1}


async def read_to_end(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "go"}], stream=True
    )
    async for _chunk in stream:
        pass
