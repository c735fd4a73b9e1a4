"""What Anthropic's models accept: thinking, efforts and forced calls.

Sources: Anthropic's API reference of November 2026, and the profiles of pydantic-ai 2.68.
"""

import re
from collections.abc import Mapping
from typing import Any

from outlast.contracts.agents import Effort

MIN_THINKING_TOKENS = 1_024
"""The least `budget_tokens` of extended thinking."""

THINKING_TOKENS: Mapping[str, int] = {
    "minimal": 1_024,
    "low": 2_048,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 32_768,
}
"""The budget of an effort, for models that take one."""

_BUDGETED = re.compile(r"claude-(opus|sonnet|haiku)-4-5")
"""Models that think with a budget of tokens."""
_QUIET = re.compile(r"claude-(opus|sonnet|haiku)-4-[5-8]")
"""Models that think only if the request says so."""
_NO_FORCE = re.compile(r"claude-((opus|sonnet)-5-5|(fable|mythos)-5-[12])")
"""Models that reject a forced choice of tools. For the others it ends thinking."""
_ALWAYS_THINKS = re.compile(r"claude-(opus-5-5|(fable|mythos)-5)")
"""Models whose thinking cannot be switched off."""
_BETWEEN_TOOLS = re.compile(r"claude-sonnet-5-5")
"""Models that call the absence of thinking `between_tools`."""
_HIGHEST_IS_HIGH = re.compile(r"claude-opus-4-5")
_HIGHEST_IS_MAX = re.compile(r"claude-(opus|sonnet)-4-6")


def can_force(model: str, effort: Effort | None) -> bool:
    """Return whether a call can be forced, without ending the thinking that the request sets."""
    if _NO_FORCE.match(model):
        return False
    is_quiet = _QUIET.match(model) is not None
    return effort == "none" or (is_quiet and effort is None)


def thinking_fields(
    model: str, effort: Effort | None, max_tokens: int, config: dict[str, Any]
) -> dict[str, Any]:
    """Return the field `thinking` for an effort, and add the effort to `config`."""
    if effort is None:
        return {}
    if effort == "none":
        if _ALWAYS_THINKS.match(model):
            config["effort"] = "low"
            return {}
        kind = "between_tools" if _BETWEEN_TOOLS.match(model) else "disabled"
        return {} if _BUDGETED.match(model) else {"thinking": {"type": kind}}
    if _BUDGETED.match(model):
        budget = min(THINKING_TOKENS[effort], max_tokens // 2)
        if budget < MIN_THINKING_TOKENS:
            return {}
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}
    config["effort"] = _effort(model, effort)
    return {"thinking": {"type": "adaptive"}}


def _effort(model: str, effort: Effort) -> str:
    if effort == "minimal":
        return "low"
    if effort == "xhigh" and _HIGHEST_IS_MAX.match(model):
        return "high"
    if effort in ("xhigh", "max") and _HIGHEST_IS_HIGH.match(model):
        return "high"
    return effort
