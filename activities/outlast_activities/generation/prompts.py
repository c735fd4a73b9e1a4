"""The parts of a prompt that depend on the agent and its transcript."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import zip_longest

from outlast.contracts.agents import PinnedAgent
from outlast.contracts.messages import Message
from outlast.turns import (
    AnswerTurn,
    CallsTurn,
    PromptCall,
    PromptResult,
    ResultsTurn,
    ToolDefinition,
    Turn,
    UserTurn,
)

TRIMMED = '{"left_out":"the context is full; call the tool again if needed"}'
"""Replaces a tool result that is left out of a prompt."""

MAX_REMEMBERED_DECISIONS = 4_096
MAX_REMEMBERED_CHARACTERS = 2_000
"""Decisions that are kept parsed, and the most characters of each."""

ERROR = '{"error":'
"""Begins the result of a call that failed."""


def trim_results(transcript: Sequence[Message], entries: int) -> list[Message]:
    """Return a transcript without the tool results in its first `entries` entries."""
    return [
        entry.model_copy(update={"content": TRIMMED})
        if entry.role == "tool" and len(entry.content or "") > len(TRIMMED)
        else entry
        for entry in transcript[:entries]
    ] + list(transcript[entries:])


def tools_of(agent: PinnedAgent) -> tuple[ToolDefinition, ...]:
    """Return the tools of an agent as its model sees them."""
    return tuple(
        ToolDefinition(tool.name, tool.description, tool.parameters) for tool in agent.tools
    )


def turns_of(transcript: Iterable[Message]) -> tuple[Turn, ...]:
    """Return a transcript as turns. Each call gets the id of its result, which follows it."""
    turns: list[Turn] = []
    decision: Message | None = None
    results: list[PromptResult] = []
    for entry in transcript:
        if entry.role == "tool":
            results.append(_result(entry))
            continue
        turns += _step(decision, results)
        decision, results = None, []
        if entry.role == "assistant":
            decision = entry
        else:
            turns.append(UserTurn(entry.content or ""))
    return (*turns, *_step(decision, results))


def _step(decision: Message | None, results: list[PromptResult]) -> list[Turn]:
    """Return a decision and the results that follow it as turns."""
    turns: list[Turn] = []
    if decision is not None:
        content = decision.content or ""
        parse = _parsed if len(content) <= MAX_REMEMBERED_CHARACTERS else _parsed.__wrapped__
        turn = parse(content, tuple(result.call_id for result in results))
        turns.append(replace(turn, opaque=decision.opaque) if decision.opaque else turn)
    if results:
        turns.append(ResultsTurn(tuple(results)))
    return turns


@lru_cache(maxsize=MAX_REMEMBERED_DECISIONS)
def _parsed(content: str, ids: tuple[str, ...]) -> CallsTurn | AnswerTurn:
    """Return a decision as a turn. Each prompt of a run has all earlier decisions again."""
    try:
        decision = json.loads(content)
        if "answer" in decision:
            return AnswerTurn(decision["answer"])
        calls = tuple(
            PromptCall(call_id or "", call["tool"], call.get("arguments", {}))
            for call, call_id in zip_longest(decision["tool_calls"], ids)
            if call is not None
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        # Only a history of a broken build has such an entry.
        return AnswerTurn(content)
    return CallsTurn(calls)


def _result(entry: Message) -> PromptResult:
    content = entry.content or "null"
    return PromptResult(
        entry.call_id or "", entry.tool or "", content, is_error=content.startswith(ERROR)
    )
