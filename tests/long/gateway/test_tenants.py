"""No principal reads, lists, steers or cancels a run of another tenant, by any interface or id."""

import asyncio
from typing import Any

import httpx2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outlast_workers.gateway.response_ids import response_id
from temporalio.client import Client as TemporalClient

from outlast import Run
from outlast.contracts.human import PendingRequest
from outlast.testing import ScriptedModel, call
from tests.stage import pending
from tests.workers.gateway.desk_agents import desk
from tests.workers.gateway.doors import doors
from tests.workers.gateway.test_runs_api import spellings

SECRET = "a-word-of-acme"  # noqa: S105 of this test
KEY = "tenants"
RUN_ID = f"acme/desk/{KEY}"

Guess = tuple[str, str, Any]
"""A method of HTTP, a path, and a body."""


def guesses(identifier: str, request: PendingRequest) -> list[Guess]:
    """Return every call that names a run or a conversation."""
    decision = {"request_id": request.request_id, "decision": "approve"}
    approval = {"id": f"{request.request_id}_{request.arguments_hash}", "approved": True}
    part = {"type": "tool-refund", "state": "approval-responded", "approval": approval}
    resume = {
        "interruptId": request.request_id,
        "status": "resolved",
        "payload": {"approved": True},
    }
    answered = {
        "type": "mcp_approval_response",
        "approval_request_id": f"mcpr_{request.request_id}_{request.arguments_hash}",
        "approve": True,
    }
    message = {"messageId": "1", "role": "ROLE_USER", "parts": [{"data": decision}]}
    found: list[Guess] = [
        ("GET", f"/runs/{identifier}", None),
        ("GET", f"/runs/{identifier}/events", None),
        ("POST", f"/runs/{identifier}/decide", decision),
        ("POST", f"/runs/{identifier}/say", {"text": "hi"}),
        ("POST", f"/runs/{identifier}/cancel", None),
        ("GET", f"/ai/desk/{identifier}", None),
        ("GET", f"/ai/desk/{identifier}/stream", None),
        (
            "POST",
            "/ai/desk",
            {"id": identifier, "messages": [{"role": "assistant", "parts": [part]}]},
        ),
        (
            "POST",
            "/agui/desk",
            {"threadId": identifier, "runId": "r", "messages": [], "resume": [resume]},
        ),
        ("POST", "/a2a/desk", rpc("SendMessage", message={**message, "taskId": identifier})),
    ]
    found += [
        ("POST", "/a2a/desk", rpc(method, id=identifier))
        for method in ("GetTask", "SubscribeToTask", "CancelTask")
    ]
    for since in (0, 1):
        response = response_id(identifier, since)
        body = {"model": "desk", "input": [answered], "previous_response_id": response}
        found += [
            ("GET", f"/v1/responses/{response}", None),
            ("GET", f"/v1/responses/{response}?stream=true", None),
            ("POST", f"/v1/responses/{response}/cancel", None),
            ("POST", "/v1/responses", body),
            ("POST", "/a2a/desk", rpc("GetTask", id=response)),
            ("POST", "/a2a/desk", rpc("CancelTask", id=response)),
        ]
    return found


def rpc(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def lists() -> list[Guess]:
    return [("GET", "/runs", None), ("POST", "/a2a/desk", rpc("ListTasks"))]


async def check(eve: httpx2.AsyncClient, guess: Guess) -> None:
    method, path, body = guess
    reply = await eve.request(method, path, json=body)
    assert SECRET not in reply.text, guess
    if path == "/a2a/desk":
        assert "error" in reply.json(), (guess, reply.text)
    elif path.endswith("/stream"):
        assert reply.status_code in {204, 404}, (guess, reply.text)
    else:
        assert reply.status_code in {400, 404, 405}, (guess, reply.text)


async def test_no_interface_reaches_a_run_of_another_tenant(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("refund", order_id="7")], repeat_last=True)
    async with (
        doors(temporal, model, [desk]) as gateway,
        gateway.client() as ann,
        gateway.client("eve", **{"a2a-version": "1.0"}) as eve,
    ):
        body = {"agent": "desk", "input": SECRET, "key": KEY, "mode": "conversation"}
        assert (await ann.post("/runs", json=body)).status_code == 201
        run: Run[Any] = gateway.front.client.get(RUN_ID)
        request = await pending(run)
        made: list[Guess] = []
        identifiers = [*spellings(RUN_ID), KEY, f"..%2Facme%2Fdesk%2F{KEY}"]

        @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.sampled_from(identifiers), st.integers(0, len(guesses("", request)) - 1))
        def guess(identifier: str, place: int) -> None:
            made.append(guesses(identifier, request)[place])

        await asyncio.to_thread(guess)
        for each in [*guesses(RUN_ID, request), *made]:
            await check(eve, each)
        for method, path, content in lists():
            reply = await eve.request(method, path, json=content)
            assert SECRET not in reply.text
            assert "acme" not in reply.text
        # The same conversation in another tenant is another run.
        reply = await eve.post(
            "/v1/chat/completions",
            json={"model": "desk", "messages": [{"role": "user", "content": "Hi"}]},
            headers={"x-conversation-id": KEY},
        )
        assert "evil/desk/tenants" in reply.text
        assert SECRET not in reply.text
        assert await pending(run) == request
        assert len(await run.transcript()) == 2
        for identifier in (RUN_ID, f"evil/desk/{KEY}"):
            await gateway.front.client.get(identifier).cancel()
