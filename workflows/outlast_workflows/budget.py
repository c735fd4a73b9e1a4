"""Budgets: what a run has used, whether it may take another turn, and what the model may answer in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from outlast_activities.policies.allowance import SMALLEST_ANSWER_TOKENS
from pydantic import BaseModel

from outlast.contracts.agents import Leg, ToolSpec
from outlast.contracts.generation import MAX_TOKENS, Tokens
from outlast.contracts.limits import DEFAULT_MAX_TURNS, RunLimits
from outlast.contracts.results import StopReason
from outlast.contracts.usage import Usage
from outlast.jsonschema.decision_schema import MAX_CALLS_PER_TURN
from outlast.text.texts import cut

MAX_USD = 1_000_000_000
"""The cost of a child in dollars. No true number comes near."""

SMALLEST_COST_USD = Decimal("0.000001")
SMALLEST_WAIT_S = 0.001
"""RunLimits are above zero. An agent that is called when nothing is left stops at its first turn."""


class Spending(BaseModel):
    """What a run has used: turns, tool calls (in all, and by tool), tokens and dollars.

    `last_usage` is that of the last turn. `retries` are the turns in which a tool rejected its calls,
    by tool, since its last result.
    """

    turns: int = 0
    tool_calls: int = 0
    calls: dict[str, int] = {}
    retries: dict[str, list[int]] = {}
    usage: Usage = Usage()
    last_usage: Usage = Usage()
    last_prompt_tokens: int = 0

    def add_model_call(self, usage: Usage) -> None:
        """Count what a model call of this turn used."""
        self.last_usage += usage
        self.usage += usage

    def add_retry(self, tool: str) -> int:
        """Note that a tool asks the model to try again; return in how many turns it did so in a row."""
        turns = self.retries.setdefault(tool, [])
        if self.turns not in turns:
            turns.append(self.turns)
        return len(turns)

    def add_tool_call(self, tool: str) -> None:
        """Count a tool call."""
        self.calls[tool] = self.calls.get(tool, 0) + 1
        self.tool_calls += 1


@dataclass(frozen=True)
class StopRun:
    """The next turn may not be taken."""

    reason: StopReason


@dataclass(frozen=True)
class TakeTurn:
    """The next turn may be taken, within these bounds.

    `tools` are the tools that the model may still call: None for all of the agent's, empty if only the
    answer is left. `answer` is whether the model may answer. `max_calls` bounds the calls of the decision.
    """

    tools: tuple[str, ...] | None = None
    answer: bool = True
    max_calls: int | None = None


def tighter(first: RunLimits, second: RunLimits) -> RunLimits:
    """Return the smaller of two limits, field by field. The turns are always bounded."""
    merged = {
        name: _smaller(getattr(first, name), getattr(second, name))
        for name in RunLimits.model_fields
    }
    return RunLimits.model_validate(
        {**merged, "max_turns": merged["max_turns"] or DEFAULT_MAX_TURNS}
    )


def _smaller(first: Any, second: Any) -> Any:
    return min((value for value in (first, second) if value is not None), default=None)


def plan_turn(
    tools: Sequence[ToolSpec], limits: RunLimits, spending: Spending
) -> TakeTurn | StopRun:
    """Decide about the next turn. In the last turn that a limit allows, the model may only answer."""
    turns_left = (limits.max_turns or DEFAULT_MAX_TURNS) - spending.turns
    if turns_left < 1:
        return StopRun("turns")
    tokens_left, cost_left_usd = left_of(limits, spending.usage)
    if cost_left_usd is not None and cost_left_usd <= 0:
        return StopRun("cost")
    # The next prompt is longer than the last one. The activity counts it exactly.
    smallest_turn = spending.last_prompt_tokens + SMALLEST_ANSWER_TOKENS
    if tokens_left is not None and tokens_left < smallest_turn:
        return StopRun("tokens")
    another_fits = (
        turns_left > 1
        and _another_fits(tokens_left, spending.last_usage.tokens)
        and _another_fits(cost_left_usd, spending.last_usage.cost_usd)
    )
    if not another_fits:
        return TakeTurn(tools=())
    return _narrowed(tools, spending.calls)


def share_of(
    limits: RunLimits, spending: Spending, *, agents: int, deadline: datetime | None, now: datetime
) -> RunLimits:
    """Return the limits of each agent that one decision calls: an equal share of what is left.

    The cost of a turn like the last one is kept back, because this run has to answer afterwards.
    """
    tokens, cost_usd = limits.max_tokens, limits.max_cost_usd
    reserved = spending.usage + spending.last_usage
    return RunLimits(
        max_tokens=None if tokens is None else max(1, (tokens - reserved.tokens) // agents),
        max_cost_usd=None
        if cost_usd is None
        else max(SMALLEST_COST_USD, (cost_usd - reserved.cost_usd) / agents),
        deadline_s=None
        if deadline is None
        else max(SMALLEST_WAIT_S, (deadline - now).total_seconds()),
    )


def left_of(limits: RunLimits, used: Usage) -> tuple[int | None, Decimal | None]:
    """Return the tokens and dollars that are left, each None without a limit."""
    return (
        None if limits.max_tokens is None else limits.max_tokens - used.tokens,
        None if limits.max_cost_usd is None else limits.max_cost_usd - used.cost_usd,
    )


def _another_fits(left: int | Decimal | None, last: int | Decimal) -> bool:
    """Tell whether two turns like the last one fit into what is left."""
    return left is None or left >= 2 * last


def _narrowed(tools: Sequence[ToolSpec], calls: Mapping[str, int]) -> TakeTurn:
    left = {
        tool.name: MAX_CALLS_PER_TURN
        if tool.max_calls is None
        else tool.max_calls - calls.get(tool.name, 0)
        for tool in tools
    }
    allowed = tuple(name for name, count in left.items() if count > 0)
    first = next((tool.name for tool in tools if tool.begins_run and tool.name not in calls), None)
    if first is not None:
        allowed = (first,)
    max_calls = min(sum(left[name] for name in allowed), MAX_CALLS_PER_TURN)
    return TakeTurn(
        answer=first is None,
        tools=None if len(allowed) == len(tools) else allowed,
        max_calls=max_calls if allowed and max_calls < MAX_CALLS_PER_TURN else None,
    )


def usage_problem(usage: Usage) -> str | None:
    """Return why the usage of a child cannot be true, or None: budgets rely on it."""
    bounds = dict.fromkeys(Tokens.model_fields, MAX_TOKENS) | {"cost_usd": MAX_USD}
    for name, most in bounds.items():
        number = getattr(usage, name)
        is_finite = number.is_finite() if isinstance(number, Decimal) else True
        if not is_finite or not 0 <= number <= most:
            return f"{name}: {cut(str(number), 40)} is not between 0 and {most:,}"
    return None


def usage_of(tokens: Tokens, leg: Leg) -> Usage:
    """Return the usage of a model call, at the price of the leg that served it."""
    return Usage(
        prompt_tokens=tokens.prompt_tokens,
        cached_prompt_tokens=tokens.cached_prompt_tokens,
        cache_write_tokens=tokens.cache_write_tokens,
        completion_tokens=tokens.completion_tokens,
        reasoning_tokens=tokens.reasoning_tokens,
        cost_usd=tokens.cost_usd(leg.price),
    )
