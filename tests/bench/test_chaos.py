import asyncio
import json
from typing import Any

import httpx2
import jsonschema
import pytest

from bench.scripted_model.chaos import BLANK, FAULTS, REPEATED
from bench.scripted_model_server import Chaos, Request, ScriptedModelServer, Step, Steps, turns
from tests.bench.wire import Sent, asking, connected, sent, streaming, until

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"const": "a long answer of some tokens"}},
    "required": ["answer"],
    "additionalProperties": False,
}


def failing(name: str) -> Chaos:
    return Chaos(1, turns(1), share=1, faults=[name], gap_s=0.0005)


async def streamed(name: str, **fields: Any) -> Sent:
    async with ScriptedModelServer(failing(name)) as server:
        return await sent(server, streaming(structured_outputs={"json": SCHEMA}, **fields))


async def test_same_seed_fails_in_the_same_way_and_every_way_comes_up() -> None:
    request = Request({}, streaming(structured_outputs={"json": SCHEMA}, max_tokens=64))
    first, again, other = (Chaos(seed, turns(1)) for seed in (3, 3, 4))
    steps = [[chaos(request) for _ in range(600)] for chaos in (first, again, other)]
    assert steps[0] == steps[1] != steps[2]
    assert set(first.happened) == set(FAULTS)
    assert 0.4 < first.happened.total() / 600 < 0.6


async def test_without_faults_it_says_what_its_script_says() -> None:
    async with ScriptedModelServer(
        Chaos(1, Steps('{"answer":1}', Step("no", status=400)), share=0)
    ) as it:
        response = await sent(it, streaming())
        async with httpx2.AsyncClient(trust_env=False) as client:
            error = await client.post(f"{it.url}/chat/completions", json=asking())
    assert response.text == '{"answer":1}'
    assert error.status_code == 400


@pytest.mark.parametrize(
    ("name", "status", "header"),
    [
        ("throttled", 429, None),
        ("throttled_for_a_while", 429, "retry-after"),
        ("throttled_until_a_reset", 429, "x-ratelimit-reset-requests"),
        ("unavailable", 503, None),
        ("server_error", 500, None),
        ("bad_gateway", 502, None),
        ("maintenance_page", 200, None),
    ],
)
async def test_refusals_cost_nothing(name: str, status: int, header: str | None) -> None:
    chaos = failing(name)
    async with (
        ScriptedModelServer(chaos) as server,
        httpx2.AsyncClient(trust_env=False) as client,
    ):
        response = await client.post(f"{server.url}/chat/completions", json=streaming())
    assert response.status_code == status
    assert header is None or response.headers[header]
    assert ("retry-after" in response.headers) == (header == "retry-after")
    assert response.headers["content-type"] == (
        "text/html" if name in ("bad_gateway", "maintenance_page") else "application/json"
    )
    assert (chaos.spent_prompt_tokens, chaos.spent_completion_tokens) == (0, 0)


async def test_answers_that_are_wrong_end_as_they_should() -> None:
    invalid = await streamed("invalid_json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(invalid.text)
    wrong = json.loads((await streamed("against_the_schema")).text)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)
    assert (await streamed("empty")).text == ""
    truncated = await streamed("truncated")
    assert truncated.objects[-2]["choices"][0]["finish_reason"] == "length"
    assert not (await streamed("broken")).is_complete
    assert "error" in (await streamed("error_in_stream")).objects[-1]


@pytest.mark.parametrize(
    ("name", "loop"), [("whitespace_loop", BLANK), ("repetition_loop", "".join(REPEATED))]
)
async def test_loops_go_on_until_max_tokens(name: str, loop: str) -> None:
    response = await streamed(name, max_tokens=60)
    assert loop * 3 in response.text
    assert response.objects[-2]["choices"][0]["finish_reason"] == "length"
    assert response.objects[-1]["usage"]["completion_tokens"] == 60


@pytest.mark.parametrize("name", ["silent", "stalled"])
async def test_stalls_hold_the_stream_until_the_client_leaves(name: str) -> None:
    async with ScriptedModelServer(failing(name)) as server:
        connection = await connected(server)
        connection.send(streaming(structured_outputs={"json": SCHEMA}))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.receive(), 0.2)
        assert server.running == 1
        await connection.leave()
        await until(lambda: server.running == 0)


async def test_what_was_spent_is_what_was_generated_for_whoever_left() -> None:
    chaos = Chaos(5, turns(1), share=1, faults=["whitespace_loop"], gap_s=0.002)
    async with ScriptedModelServer(chaos) as server:
        connection = await connected(server)
        connection.send(streaming())
        await until(lambda: server.sent_pieces > 4)
        await connection.leave()
        await until(lambda: server.running == 0)
        left = server.sent_pieces
        await sent(server, streaming(max_tokens=30))
    assert chaos.spent_completion_tokens == left + 30
    assert chaos.spent_prompt_tokens == 20
    assert [generation.state for generation in chaos.generations] == ["abandoned", "finished"]
