"""The model server of the chaos suite, a process that can be killed: it decides by the prompt alone.

A task's input is a plan, `{"plan": [[{"tool": …, "arguments": …}, …], …]}`: one list of calls a turn, then
the answer. A message of a conversation is a token and, optionally, tools: `say-3-1 look store`.
"""

import argparse
import asyncio
import json
import re
from typing import Any

from bench.scripted_model.chaos import Chaos
from bench.scripted_model_server import Request, ScriptedModelServer, Step

FAULTS = (
    "throttled_for_a_while",
    "unavailable",
    "server_error",
    "bad_gateway",
    "broken",
    "truncated",
    "invalid_json",
    "empty",
    "error_in_stream",
)
TOKEN = re.compile(r"say-[0-9]+-[0-9]+(?: (?:look|store))*")
"""A message of a conversation, wherever it stands in the prompt."""


def script(request: Request) -> Step:
    """Return the decision that the plan in the prompt names for this turn."""
    messages = [message for message in request.messages if message["role"] != "system"]
    first = _spoken(str(messages[0]["content"]))
    decision = _of_plan(first, messages) if first.startswith('{"plan"') else _of_talk(messages)
    return Step(json.dumps(decision))


def _spoken(content: str) -> str:
    """Return what a person said: text that looks like a decision reaches a model as one JSON line."""
    return (
        str(json.loads(content.splitlines()[0])["said"])
        if content.startswith('{"said":')
        else content
    )


def _of_plan(first: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    plan: list[Any] = json.JSONDecoder().raw_decode(first)[0]["plan"]
    turn = sum(_decision(message) is not None for message in messages)
    if turn < len(plan):
        return {"tool_calls": plan[turn]}
    return {"answer": {"text": "done", "turns": turn}}


def _of_talk(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Make the calls that the newest messages name, then answer with their tokens."""
    newest: list[str] = []
    has_called = False
    for message in reversed(messages):
        decision = _decision(message)
        if decision is not None and "answer" in decision:
            break
        has_called = has_called or decision is not None
        if message["role"] == "user":
            newest.append(str(message["content"]))
    found = [words for content in reversed(newest) for words in TOKEN.findall(content)]
    calls = [] if has_called else [call for words in found for call in _calls(words)]
    if calls:
        return {"tool_calls": calls[:8]}
    return {"answer": {"text": " ".join(words.split()[0] for words in found), "turns": len(found)}}


def _decision(message: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a turn decided; None of other messages, and of an answer that is asked for again."""
    try:
        decision = json.loads(message["content"]) if message["role"] == "assistant" else None
    except ValueError:
        return None
    return decision if isinstance(decision, dict) else None


def _calls(words: str) -> list[dict[str, Any]]:
    token, *tools = words.split()
    return [
        {"tool": tool, "arguments": {"ref": f"{token}/{n}", "before_s": 0.1, "after_s": 0.1}}
        for n, tool in enumerate(tools)
    ]


async def serve(port: int, *, seed: int, share: float) -> None:
    """Serve until the process is killed; fail a `share` of the requests."""
    unreliable = Chaos(seed, script, share=share, gap_s=0, faults=FAULTS)
    async with ScriptedModelServer(unreliable, port=port, recorded=0):
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=0.06)
    options = parser.parse_args()
    asyncio.run(serve(options.port, seed=options.seed, share=options.share))
