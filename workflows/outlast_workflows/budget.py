"""Budgets: decides before each turn whether it may be taken, and what the model may still answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from outlast_activities.policies.allowance import SMALLEST_ANSWER_TOKENS

from outlast.contracts.agents import Leg, ToolSpec
from outlast.contracts.generation import Tokens
from outlast.contracts.limits import DEFAULT_MAX_TURNS, RunLimits
from outlast.contracts.results import StopReason, Usage
from outlast.jsonschema.decision_schema import MAX_CALLS_PER_TURN

NOTHING = Usage()


@dataclass(frozen=True)
class Stop:
    """The turn may not be taken."""

    reason: StopReason


@dataclass(frozen=True)
class Ask:
    """The turn may be taken, within these bounds.

    `tools` are the names still allowed: None means all of the agent's, empty that only the answer is
    left. `answer` is whether the answer is admitted. `max_calls` bounds the calls of the decision; None
    is no bound.
    """

    tools: tuple[str, ...] | None = None
    answer: bool = True
    max_calls: int | None = None


@dataclass(frozen=True)
class Spent:
    """What a run has used: turns taken, calls by tool, tokens and dollars, and its last model call."""

    turns: int = 0
    calls: Mapping[str, int] | None = None
    usage: Usage = NOTHING
    last_prompt_tokens: int = 0
    last_usage: Usage = NOTHING


def tighter(first: RunLimits, second: RunLimits) -> RunLimits:
    """Return, field by field, the smaller of two limits; every run has a bound on its turns."""
    merged = {
        name: min((value for value in (one, other) if value is not None), default=None)
        for name in RunLimits.model_fields
        for one, other in [(getattr(first, name), getattr(second, name))]
    }
    return RunLimits.model_validate(
        {**merged, "max_turns": merged["max_turns"] or DEFAULT_MAX_TURNS}
    )


def plan_turn(tools: Sequence[ToolSpec], limits: RunLimits, spent: Spent) -> Ask | Stop:
    """Decide the next turn. On the last one that a budget allows, only the answer is left."""
    turns_left = (limits.max_turns or DEFAULT_MAX_TURNS) - spent.turns
    if turns_left < 1:
        return Stop("turns")
    tokens_left, cost_left = left_of(limits, spent.usage)
    if cost_left is not None and cost_left <= 0:
        return Stop("cost")
    # The next prompt has more than the last; what exactly is counted where it is made.
    least = spent.last_prompt_tokens + SMALLEST_ANSWER_TOKENS
    if tokens_left is not None and tokens_left < least:
        return Stop("tokens")
    another_fits = (
        turns_left > 1
        and _another_fits(tokens_left, spent.last_usage.tokens)
        and _another_fits(cost_left, spent.last_usage.cost_usd)
    )
    if not another_fits:
        return Ask(tools=())
    return _narrowed(tools, spent.calls or {})


def left_of(limits: RunLimits, used: Usage) -> tuple[int | None, Decimal | None]:
    """Return the tokens and dollars that limits leave; None where there is no limit."""
    return (
        None if limits.max_tokens is None else limits.max_tokens - used.tokens,
        None if limits.max_cost_usd is None else limits.max_cost_usd - used.cost_usd,
    )


def _another_fits(left: int | Decimal | None, last: int | Decimal) -> bool:
    """Tell whether, after a turn like the last, one more like it would fit."""
    return left is None or left >= 2 * last


def _narrowed(tools: Sequence[ToolSpec], calls: Mapping[str, int]) -> Ask:
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
    most = min(sum(left[name] for name in allowed), MAX_CALLS_PER_TURN)
    return Ask(
        answer=first is None,
        tools=None if len(allowed) == len(tools) else allowed,
        max_calls=most if allowed and most < MAX_CALLS_PER_TURN else None,
    )


def usage_of(tokens: Tokens, leg: Leg) -> Usage:
    """Return what a model call used, at the price of the leg that served it."""
    return Usage(
        prompt_tokens=tokens.prompt_tokens,
        cached_prompt_tokens=tokens.cached_prompt_tokens,
        completion_tokens=tokens.completion_tokens,
        cost_usd=tokens.cost_usd(leg.price),
    )
