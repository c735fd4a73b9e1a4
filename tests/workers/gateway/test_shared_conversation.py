"""One conversation through several interfaces: begun by one, approved by another, seen by a third."""

from typing import Any

from temporalio.client import Client as TemporalClient

from outlast.testing import ScriptedModel, answer, call
from tests.workers.gateway.desk_agents import desk
from tests.workers.gateway.doors import doors

KEY = "shared"


def rpc(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def test_one_conversation_in_each_interface(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("refund", order_id="7"), answer("Done."), answer("Bye.")])
    async with (
        doors(temporal, model, [desk]) as gateway,
        gateway.client(**{"a2a-version": "1.0", "x-conversation-id": KEY}) as ann,
    ):
        part = {"type": "text", "text": "Refund 7"}
        message = {"id": "u1", "role": "user", "parts": [part]}
        reply = await ann.post("/ai/desk", json={"id": KEY, "messages": [message]})
        assert "tool-approval-request" in reply.text
        run_id = f"acme/desk/{KEY}"
        task = (await ann.post("/a2a/desk", json=rpc("GetTask", id=run_id))).json()["result"]
        assert (task["id"], task["contextId"]) == (run_id, KEY)
        request = task["status"]["message"]["parts"][1]["data"]
        decision = {
            "request_id": request["request_id"],
            "decision": "approve",
            "arguments_hash": request["arguments_hash"],
        }
        sent = {
            "messageId": "m1",
            "role": "ROLE_USER",
            "taskId": run_id,
            "parts": [{"data": decision}],
        }
        done = (await ann.post("/a2a/desk", json=rpc("SendMessage", message=sent))).json()["result"]
        assert done["task"]["artifacts"][0]["parts"][0]["text"] == "Done."
        shown = (await ann.get(f"/ai/desk/{KEY}")).json()["messages"]
        assert shown[-1]["parts"][-1]["text"] == "Done."
        known = {"id": "m4", "role": "assistant", "content": "Done."}
        body = {"threadId": KEY, "runId": "r", "messages": [known]}
        assert "refunded 7" in (await ann.post("/agui/desk", json=body)).text
        said = {"model": "desk", "messages": [{"role": "user", "content": "Thanks"}]}
        reply = await ann.post("/v1/chat/completions", json=said)
        assert reply.json()["choices"][0]["message"]["content"] == "Bye."
        assert len((await ann.get(f"/ai/desk/{KEY}")).json()["messages"]) == 4
