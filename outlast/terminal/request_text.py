"""Human requests as lines for a terminal."""

from datetime import datetime, timedelta

from pydantic import JsonValue

from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.text.safe_text import escaped, json_text, visible, visible_line


def request_lines(run_id: str, request: PendingRequest, *, now: datetime) -> list[str]:
    """Return a request in full: a call with all its arguments, or a question."""
    waited = duration_text(now - request.opened_at)
    left = duration_text(request.expires_at - now)
    by = f" of {visible_line(request.agent)}" if request.agent else ""
    audience = visible_line(request.audience)
    title = f"run {visible_line(run_id)}{by}, request {request.request_id} for {audience}"
    lines = [f"{title}: waits {waited}, expires in {left}", f"  {visible_line(request.tool)}"]
    arguments = request.arguments
    if request.kind == "question":
        lines += [f"    | {line}" for line in visible(request.question or "").split("\n")]
        lines += [f"  answer with {json_text(request.answer_schema)}"]
        arguments = {name: value for name, value in arguments.items() if name != "question"}
    lines += [*arguments_lines(arguments), *_why_lines(request)]
    if request.edited_by:
        lines.append(f"  edited by {visible_line(request.edited_by)}")
    if request.quorum > 1:
        names = ", ".join(map(visible_line, request.approved_by)) or "nobody yet"
        lines.append(f"  approved by {names}; needs {request.quorum}")
    return lines


def _why_lines(request: PendingRequest) -> list[str]:
    """Return what the tool does, and the message that the run answers."""
    effect = f"(effect: {request.effect})" if request.effect else ""
    what = " ".join(filter(None, [visible_line(request.tool_description), effect]))
    lines = [f"  what it does: {what}"] if what and request.kind == "approval" else []
    if request.user_message:
        lines.append(f"  the user wrote: {visible_line(request.user_message)}")
    return lines


def decision_lines(decision: HumanDecision, request: PendingRequest) -> list[str]:
    """Return the content of a decision: changed arguments, the answer and the comment."""
    lines: list[str] = []
    if decision.arguments is not None:
        lines += ["  edited to", *arguments_lines(request.arguments, decision.arguments)]
    if decision.decision == "answer":
        lines += [f"  answer: {json_text(decision.answer)}"]
    return lines + ([f"  comment: {visible_line(decision.comment)}"] if decision.comment else [])


def arguments_lines(
    arguments: dict[str, JsonValue], edited: dict[str, JsonValue] | None = None
) -> list[str]:
    """Return one line of exact JSON for each argument, with its new value after an edit."""
    after = arguments if edited is None else edited
    return [
        f"    {visible_line(name)}: "
        + " -> ".join(dict.fromkeys([_value_of(arguments, name), _value_of(after, name)]))
        for name in {**arguments, **after}
    ]


def _value_of(arguments: dict[str, JsonValue], name: str) -> str:
    return json_text(arguments[name]) if name in arguments else "(absent)"


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
    """Return a line for a terminal, in which people see each character."""
    return escaped(line)
