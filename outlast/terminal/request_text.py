"""Human requests as lines for a terminal."""

import json
from datetime import datetime, timedelta

from pydantic import JsonValue

from outlast.contracts.human import HumanDecision, PendingRequest


def request_lines(run_id: str, request: PendingRequest, *, now: datetime) -> list[str]:
    """Return a request in full: a call with all its arguments, or a question."""
    waited = duration_text(now - request.opened_at)
    left = duration_text(request.expires_at - now)
    title = f"run {run_id}, request {request.request_id} for {request.audience}"
    lines = [f"{title}: waits {waited}, expires in {left}", f"  {request.tool}"]
    arguments = request.arguments
    if request.kind == "question":
        lines += [f"    | {line}" for line in (request.question or "").splitlines()]
        lines += [f"  answer with {_json(request.answer_schema)}"]
        arguments = {name: value for name, value in arguments.items() if name != "question"}
    lines += arguments_lines(arguments)
    if request.edited_by:
        lines.append(f"  edited by {request.edited_by}")
    if request.quorum > 1:
        names = ", ".join(request.approved_by) or "nobody yet"
        lines.append(f"  approved by {names}; needs {request.quorum}")
    return lines


def decision_lines(decision: HumanDecision, request: PendingRequest) -> list[str]:
    """Return the content of a decision: changed arguments, the answer and the comment."""
    lines: list[str] = []
    if decision.arguments is not None:
        lines += ["  edited to", *arguments_lines(request.arguments, decision.arguments)]
    if decision.decision == "answer":
        lines += [f"  answer: {_json(decision.answer)}"]
    return lines + ([f"  comment: {decision.comment}"] if decision.comment else [])


def arguments_lines(
    arguments: dict[str, JsonValue], edited: dict[str, JsonValue] | None = None
) -> list[str]:
    """Return one line of exact JSON for each argument, with its new value after an edit."""
    after = arguments if edited is None else edited
    return [
        f"    {name}: "
        + " -> ".join(dict.fromkeys([_value_of(arguments, name), _value_of(after, name)]))
        for name in {**arguments, **after}
    ]


def _value_of(arguments: dict[str, JsonValue], name: str) -> str:
    return _json(arguments[name]) if name in arguments else "(absent)"


def _json(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False)


def duration_text(duration: timedelta) -> str:
    """Return a duration in its two largest units: `40 s`, `3 min`, `2 h 5 min`, `3 d 4 h`."""
    seconds = max(0, int(duration.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3_600, seconds // 86_400
    if not minutes:
        return f"{seconds} s"
    if not hours:
        return f"{minutes} min"
    if not days:
        return _two_units(hours, "h", minutes % 60, "min")
    return _two_units(days, "d", hours % 24, "h")


def _two_units(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


def printable(line: str) -> str:
    """Return a line without control characters: a model wrote the arguments."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in line
    )
