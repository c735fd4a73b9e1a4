"""`/runs`, and what all interfaces share: tokens, tenants, rates, bounds and streams."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outlast_workers.gateway.access import RateLimit
from outlast_workers.gateway.service import check_tokens, served_agents
from outlast_workers.gateway.tenant_runs import TenantRuns
from outlast_workers.settings_sections.gateway import GatewaySettings
from pydantic import ValidationError
from temporalio.client import Client as TemporalClient

from outlast import Agent, Approval, tool
from outlast.errors import NotReady
from outlast.testing import ScriptedModel, answer, call
from tests.workers.gateway.doors import TOKENS, doors, gateway_settings


@tool(effect="irreversible", approval=Approval(audience="leads"))
def refund(order_id: str) -> str:
    """Refund an order."""
    return f"refunded {order_id}"


desk = Agent(name="desk", instructions="Help people.\nBe kind.", tools=[refund])


async def events(client: httpx2.AsyncClient, run_id: str, **options: Any) -> AsyncIterator[Any]:
    async with client.stream("GET", f"/runs/{run_id}/events", **options) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


async def started(client: httpx2.AsyncClient, **body: Any) -> str:
    response = await client.post("/runs", json={"agent": "desk", "input": "Hi", **body})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


async def until(client: httpx2.AsyncClient, run_id: str, status: str) -> Any:
    async with asyncio.timeout(40):
        while True:
            response = await client.get(f"/runs/{run_id}")
            if response.status_code == 200 and response.json()["status"] == status:
                return response.json()
            await asyncio.sleep(0.05)


async def test_a_run_from_its_start_to_its_end(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("refund", order_id="7"), answer("Done.")])
    async with doors(temporal, model, [desk]) as gateway, gateway.client() as ann:
        listed = await ann.get("/agents")
        assert listed.json() == {"agents": [{"agent": "desk", "description": "Help people."}]}
        assert listed.text.endswith("}\n")  # a line in a terminal
        key = f"order-{uuid.uuid4().hex[:8]}"
        run_id = await started(ann, key=key)
        assert run_id == f"acme/desk/{key}"
        seen: list[Any] = []
        async for event in events(ann, run_id):
            if event["type"] == "turn":  # comes if the stream is read while the model writes
                continue
            seen.append(event)
            if event["type"] == "request_opened":
                request = event["request"]
                decision = {
                    "request_id": request["request_id"],
                    "decision": "approve",
                    "arguments_hash": request["arguments_hash"],
                    "by": "somebody else",
                }
                reply = await ann.post(f"/runs/{run_id}/decide", json=decision)
                assert reply.json() == {"outcome": "approved 1.1"}
        assert [event["type"] for event in seen].count("usage") == 2  # of two model calls
        seen = [event for event in seen if event["type"] != "usage"]
        assert [event["type"] for event in seen] == [
            "message",
            "tool_call",
            "request_opened",
            "request_settled",
            "tool_result",
            "answer",
            "run_ended",
        ]
        assert seen[1]["call"] == seen[2]["call"] == seen[4]["call"] == "1.1"
        assert "ann" in seen[4]["decided"]
        assert (await until(ann, run_id, "completed"))["output"] == "Done."
        rest = [event["type"] async for event in events(ann, run_id, params={"after": "3"})]
        assert [kind for kind in rest if kind != "usage"] == ["answer", "run_ended"]
        listed = (await ann.get("/runs")).json()["runs"]
        assert [(run["id"], run["agent"]) for run in listed if run["id"] == run_id] == [
            (run_id, "desk")
        ]


async def test_a_conversation_takes_messages_and_is_cancelled(temporal: TemporalClient) -> None:
    model = ScriptedModel([answer("Hello."), answer("Still here.")])
    async with doors(temporal, model, [desk]) as gateway, gateway.client() as ann:
        run_id = await started(ann, mode="conversation")
        await until(ann, run_id, "waiting_for_message")
        assert (await ann.post(f"/runs/{run_id}/say", json={"text": "Hm?"})).status_code == 200
        texts = []
        async for event in events(ann, run_id):
            texts += [event["answer"]] if event["type"] == "answer" else []
            if len(texts) == 2:
                break
        assert texts == ["Hello.", "Still here."]
        assert (await ann.post(f"/runs/{run_id}/cancel")).status_code == 202
        await gateway.front.client.get(run_id).result()
        assert (await until(ann, run_id, "stopped"))["stop_reason"] == "cancelled"


async def test_two_readers_share_one_feed(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("refund", order_id="7")], repeat_last=True)
    async with doors(temporal, model, [desk]) as gateway, gateway.client() as ann:
        run_id = await started(ann)

        async def first_request() -> str:
            async for event in events(ann, run_id):
                if event["type"] == "request_opened":
                    return str(event["request"]["request_id"])
            raise AssertionError

        assert await asyncio.gather(*(first_request() for _ in range(20))) == ["1.1"] * 20
        async with asyncio.timeout(40):
            while gateway.front.feeds.count:
                await asyncio.sleep(0.02)
        await ann.post(f"/runs/{run_id}/cancel")


async def test_a_principal_decides_for_its_audiences_only(
    temporal: TemporalClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ScriptedModel([call("refund", order_id="7")], repeat_last=True)
    async with (
        doors(temporal, model, [desk]) as gateway,
        gateway.client() as ann,
        gateway.client("bob") as bob,
    ):
        run_id = await started(bob)
        pending = (await until(bob, run_id, "waiting_for_human"))["pending"]
        decision = {"request_id": pending[0]["request_id"], "decision": "deny"}
        refused = await bob.post(f"/runs/{run_id}/decide", json=decision)
        assert refused.status_code == 403
        monkeypatch.setattr(TenantRuns, "_pending", AsyncMock(return_value=None))  # it opened later
        for hashed in ({}, {"arguments_hash": pending[0]["arguments_hash"]}):
            body = {**decision, "decision": "approve", **hashed}
            late = await bob.post(f"/runs/{run_id}/decide", json=body)
            assert late.status_code == 400
            assert "look at them again" in late.json()["error"]["message"]
        monkeypatch.undo()
        assert "may not decide for the audience 'leads'" in refused.json()["error"]["message"]
        assert (await ann.post(f"/runs/{run_id}/decide", json=decision)).status_code == 200
        await ann.post(f"/runs/{run_id}/cancel")


CALLS = (
    ("GET", ""),
    ("GET", "/events"),
    ("POST", "/decide"),
    ("POST", "/say"),
    ("POST", "/cancel"),
)


async def test_no_call_reaches_a_run_of_another_tenant(temporal: TemporalClient) -> None:
    bodies = {"/decide": {"request_id": "1.1", "decision": "approve"}, "/say": {"text": "hi"}}
    model = ScriptedModel([call("refund", order_id="7")], repeat_last=True)
    async with (
        doors(temporal, model, [desk]) as gateway,
        gateway.client() as ann,
        gateway.client("eve") as eve,
    ):
        run_id = await started(ann)
        await until(ann, run_id, "waiting_for_human")

        @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.sampled_from(spellings(run_id)), st.sampled_from(CALLS))
        def guess(spelling: str, made: tuple[str, str]) -> None:
            guesses.append((made[0], f"/runs/{spelling}{made[1]}", bodies.get(made[1])))

        guesses: list[Any] = []
        await asyncio.to_thread(guess)
        for method, path, body in guesses:
            reply = await eve.request(method, path, json=body)
            assert reply.status_code == 404, (method, path, reply.text)
        assert all(
            not run["id"].startswith("acme") for run in (await eve.get("/runs")).json()["runs"]
        )
        assert (await until(ann, run_id, "waiting_for_human"))["pending"]
        await ann.post(f"/runs/{run_id}/cancel")


def spellings(run_id: str) -> list[str]:
    return [
        run_id,
        run_id.replace("/", "%2F"),
        f"evil/../{run_id}",
        f"evil%2F..%2F{run_id}",
        run_id.upper(),
        f"./{run_id}",
        f"evil/{run_id}",
        f"{run_id}%00",
        f"%20{run_id}",
    ]


async def test_a_request_without_a_valid_token_is_rejected(temporal: TemporalClient) -> None:
    async with doors(temporal, ScriptedModel([]), [desk]) as gateway:
        for header in (
            "",
            "Bearer",
            "Bearer wrong",
            "Basic ann-has-a-long-token",
            "Bearer " + "x" * 9_000,
        ):
            async with gateway.client("", authorization=header) as nobody:
                reply = await nobody.get("/runs")
                assert reply.status_code == 401
                assert reply.headers["www-authenticate"] == "Bearer"
        async with gateway.client("") as nobody:
            assert (await nobody.get("/healthz")).text == "ok"


async def test_without_tokens_only_this_machine_is_served(temporal: TemporalClient) -> None:
    async with doors(temporal, ScriptedModel([]), [desk], tokens={}) as gateway:
        for host, origin, status in (
            ("127.0.0.1:8060", None, 200),
            ("localhost", "http://localhost:3000", 200),
            ("[::1]:8060", None, 200),
            ("outlast.example", None, 403),
            ("127.0.0.1", "https://evil.example", 403),
            ("127.0.0.1", "null", 403),
            ("[", None, 403),
            ("127.0.0.1", "http://[", 403),
        ):
            headers = {"host": host, **({"origin": origin} if origin else {})}
            async with gateway.client("", **headers) as client:
                assert (await client.get("/agents")).status_code == status, (host, origin)


async def test_too_many_requests_are_rejected_with_a_time(temporal: TemporalClient) -> None:
    async with (
        doors(temporal, ScriptedModel([]), [desk], requests_per_minute=3) as gateway,
        gateway.client() as ann,
        gateway.client("bob") as bob,
    ):
        statuses = [(await ann.get("/agents")).status_code for _ in range(4)]
        assert statuses.count(200) == 3
        reply = await ann.get("/agents")
        assert (reply.status_code, int(reply.headers["retry-after"]) <= 61) == (429, True)
        assert (await bob.get("/agents")).status_code == 200


def test_a_window_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    rate = RateLimit(1)
    assert (rate.wait_s("acme", "ann"), rate.wait_s("acme", "ann")) == (None, 61)
    # No other tenant counts for the same limit, whatever its name is.
    assert (rate.wait_s("a/b", "c"), rate.wait_s("a", "b/c")) == (None, None)
    now[0] = 61.0
    assert rate.wait_s("acme", "ann") is None


BAD_REQUESTS: list[tuple[str, str, bytes, int]] = [
    ("POST", "/runs", b"", 400),
    ("POST", "/runs", b"[]", 400),
    ("POST", "/runs", b'{"agent": "desk"}', 400),
    ("POST", "/runs", b'{"agent": "desk", "input": 1, "spec": {}}', 400),
    ("POST", "/runs", b'{"agent": "desk", "input": 1, "tenant": "evil"}', 400),
    ("POST", "/runs", b'{"agent": "nobody", "input": 1}', 400),
    ("POST", "/runs", b'{"agent": "desk", "input": 1, "key": "a/b"}', 400),
    ("POST", "/runs", b'{"agent": "desk", "input": "\\ud800"}', 400),
    ("POST", "/runs", b"\xff\xfe", 400),
    ("POST", "/runs", b"[" * 100_000, 400),
    ("POST", "/runs", b'{"input": "' + b"x" * 1_000_001 + b'"}', 413),
    ("POST", "/runs/acme/desk/none/decide", b'{"request_id": "1"}', 400),
    ("POST", "/runs/acme/desk/none/say", b'{"text": ""}', 400),
    ("POST", "/runs/acme/desk/none/say", b'{"text": "hi"}', 404),
    ("GET", "/runs/acme/desk/none", b"", 404),
    ("GET", "/runs/acme/desk/none/events", b"", 404),
    ("GET", "/runs/acme/desk/none/events?after=-1", b"", 400),
    ("GET", "/runs/acme/desk/none/events?after=" + "9" * 30, b"", 400),
    ("GET", "/nothing", b"", 404),
    ("DELETE", "/runs", b"", 405),
]


async def test_bad_input_is_an_error_in_one_line(temporal: TemporalClient) -> None:
    async with doors(temporal, ScriptedModel([]), [desk]) as gateway, gateway.client() as ann:
        for method, path, body, status in BAD_REQUESTS:
            reply = await ann.request(method, path, content=body)
            assert reply.status_code == status, (method, path, body[:80], reply.text)
            message = reply.json()["error"]["message"]
            assert message
            assert "\n" not in message


async def test_a_browser_of_an_allowed_origin_may_call(temporal: TemporalClient) -> None:
    async with (
        doors(
            temporal, ScriptedModel([]), [desk], origins=["https://chat.acme.example"]
        ) as gateway,
        gateway.client("") as browser,
    ):
        for origin, allowed in (
            ("https://chat.acme.example", True),
            ("https://evil.example", False),
        ):
            headers = {
                "origin": origin,
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization",
            }
            reply = await browser.options("/runs", headers=headers)
            assert (reply.headers.get("access-control-allow-origin") == origin) is allowed


def test_a_gateway_for_other_machines_needs_tokens() -> None:
    check_tokens(GatewaySettings())
    check_tokens(gateway_settings(host="10.1.2.3"))
    with pytest.raises(NotReady, match=r"gateway\.tokens"):
        check_tokens(GatewaySettings(host="10.1.2.3"))


def test_a_gateway_needs_agents_that_exist() -> None:
    with pytest.raises(NotReady, match="--agents"):
        served_agents({}, GatewaySettings())
    with pytest.raises(NotReady, match="'dask' is not an agent"):
        served_agents({"desk": desk}, GatewaySettings(agents=("dask",)))


@pytest.mark.parametrize(
    "fields",
    [
        {"tokens": {"a": {"token": "short", "tenant": "x"}}},
        {"tokens": {"a": {"token": "x" * 20}}},
        {"tokens": {"a": TOKENS["ann"], "b": TOKENS["ann"]}},
        {"origins": ["*"]},
        {"origins": ["https://acme.example/path"]},
        {"port": 0},
        {"idle_s": 0},
        {"public_url": "agents.example.com"},
        {"public_url": "https://ann:secret@agents.example.com"},
        {"public_url": "https://agents.example.com?x=1"},
        {"public_url": "https://agents.example.com#card"},
        {"public_url": ""},
    ],
)
def test_invalid_settings_are_rejected(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GatewaySettings.model_validate(fields)
