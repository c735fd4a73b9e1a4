"""Why a server ended an answer, in the words of many servers."""

import re

from outlast.errors import ModelFailure

_COMPLETE = frozenset(
    (
        *("stop", "stopped", "stop_sequence", "end", "end_turn", "eos", "eos_token", "eos_found"),
        *("tool_calls", "tool_call", "tool_use", "function_call"),
        *("complete", "completed", "done", "finish", "finished", "success", "normal"),
    )
)

_PATTERNS = (
    (
        r"filter|safety|sensitive|recitation|refus|prohibit|block|guardrail|moderat|policy|spii|toxic",
        ModelFailure.REFUSAL,
    ),
    (r"rate_?limit|throttl|quota", ModelFailure.THROTTLED),
    (r"resource|overload|capacity|unavailable", ModelFailure.OVERLOADED),
    (r"time_?d?_?out", ModelFailure.TIMEOUT),
    (r"network|connection|disconnect", ModelFailure.CONNECTION),
    (r"error|abort|cancel|fail|interrupt|exception", ModelFailure.SERVER_ERROR),
    (r"length|max_|limit|window|truncat|incomplete|token", ModelFailure.TRUNCATED),
)


def finish_reason_in(value: object) -> str | None:
    """Return the reason of a choice in lower case, or None if the answer goes on.

    SGLang sends an object with a `type`. Some servers send `""` or `"null"` until the end.
    """
    if isinstance(value, dict):
        value = value.get("type") or value.get("reason") or "error"
    if value is None or value is False:
        return None
    reason = re.sub(r"[^a-z0-9]+", "_", str(value)[:100].lower()).strip("_")
    return None if reason in ("", "null", "none") else reason


def failure_of_finish(reason: str) -> ModelFailure | None:
    """Return the failure that a reason stands for, or None for a complete answer.

    An unknown reason is a failure of the server: it is the only party that knows it.
    """
    if reason in _COMPLETE:
        return None
    for pattern, failure in _PATTERNS:
        if re.search(pattern, reason):
            return failure
    return ModelFailure.SERVER_ERROR
