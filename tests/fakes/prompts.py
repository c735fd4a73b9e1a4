"""Prompts as a run makes them, for tests of adapters without a run."""

from collections.abc import Sequence
from typing import Any

from outlast_activities.generation.prompts import tools_of

import outlast
from bench.engines.prompts import pinned
from outlast.agents.agent import Agent
from outlast.contracts.agents import Effort, PinnedAgent, Way
from outlast.contracts.messages import Opaque
from outlast.jsonschema.decision_schema import decision_schema
from outlast.model_server import Prompt
from outlast.text.json_text import to_json
from outlast.turns import (
    CallsTurn,
    PromptCall,
    PromptResult,
    RejectedText,
    ResultsTurn,
    Turn,
    UserTurn,
)

GO = UserTurn("Begin.")


@outlast.tool(effect="read")
def search(query: str, limit: int = 3) -> list[str]:
    """Search the documents."""
    return [query] * limit


@outlast.tool(effect="read")
def open_file(path: str, options: dict[str, int] | None = None) -> str:
    """Read a file."""
    return f"{path} {options}"


def prompt_for(
    agent: Agent[Any, Any] | PinnedAgent,
    way: Way,
    turns: Sequence[Turn] = (GO,),
    *,
    allowed: Sequence[str] | None = None,
    max_calls: int | None = None,
    may_answer: bool = True,
    effort: Effort | None = None,
    rejected: RejectedText | None = None,
    max_tokens: int = 4_096,
    model: str | None = None,
) -> Prompt:
    """Return the prompt of a turn of an agent."""
    agent = agent if isinstance(agent, PinnedAgent) else pinned(agent)
    schema = decision_schema(agent, allowed, max_calls=max_calls, answer=may_answer)
    return Prompt(
        turns=tuple(turns),
        schema=schema,
        schema_key=to_json([schema, [tool.name for tool in agent.tools]]),
        max_tokens=max_tokens,
        instructions=agent.instructions,
        tools=tools_of(agent),
        allowed=None if allowed is None else frozenset(allowed),
        max_calls=max_calls,
        may_answer=may_answer,
        answer_schema={} if way == "decision" else decision_schema(agent, ()),
        way=way,
        effort=effort,
        rejected=rejected,
        model=model,
    )


def step(
    *calls: tuple[str, dict[str, Any], Any], number: int = 1, opaque: Opaque | None = None
) -> tuple[Turn, Turn]:
    """Return a decision with calls, and their results."""
    ids = [f"{number}.{index}" for index in range(1, len(calls) + 1)]
    made = CallsTurn(
        tuple(PromptCall(own, call[0], call[1]) for own, call in zip(ids, calls, strict=True)),
        opaque,
    )
    results = ResultsTurn(
        tuple(
            PromptResult(own, call[0], to_json(call[2]))
            for own, call in zip(ids, calls, strict=True)
        )
    )
    return made, results
