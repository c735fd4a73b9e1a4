"""What an engine's answers to a case say of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.engines.cases import Case
from bench.engines.formats import violations

Outcome = Literal["answered", "cut", "refused", "failed", "timed out"]

Verdict = Literal[
    "enforced",
    "accepted",
    "narrowed",
    "unproven",
    "checked after",
    "refused",
    "runs on",
    "broken",
    "crashed",
]

MEANINGS: dict[Verdict, str] = {
    "enforced": "all answers obeyed the keyword, and answers generated without it did not",
    "accepted": "the engine accepts the schema and can generate a value that the schema allows",
    "narrowed": "the engine accepts the schema but cannot generate a value that the schema allows",
    "unproven": "no result: answers without the keyword should have differed, and did not",
    "checked after": "the engine accepted the schema and ignored the keyword: answers violated it",
    "refused": "the server returns status 400, so outlast must not send the keyword",
    "runs on": "no answer ended: the engine blocks invalid values, but does not bound the rest",
    "broken": "the engine produced answers that are not JSON",
    "crashed": "the server failed, crashed or hung on the schema",
}

MAX_NOTE = 160

NOT_JSON: Any = object()


@dataclass(frozen=True)
class Answer:
    """What came back for one question: the text of the model, or the server's error message."""

    outcome: Outcome
    text: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Counts:
    """Of the answers to a case; those that were cut are not among them."""

    ended: int = 0
    broken: int = 0
    """Were no JSON."""
    broke: int = 0
    """Broke the schema."""
    repeated: int = 0
    """Repeated the goad."""
    provoked: int = 0
    """Did what the case is about where the schema was loose: broke the keyword where it forbids the
    goad, repeated the goad where it allows it."""


@dataclass(frozen=True)
class Finding:
    """What a case showed of an engine, with an answer or an error message that shows it."""

    case: str
    verdict: Verdict
    counts: Counts = Counts()
    note: str = ""
    seconds: float = 0.0
    """The slowest answer."""


def judge(case: Case, answers: Sequence[Answer], control: Sequence[Answer]) -> Finding:
    """Judge the answers to a case by those to its `loose` schema, the control.

    Answers that were cut count for nothing: what is missing might have been right.
    """
    for answer in answers:
        if answer.outcome in {"failed", "timed out"}:
            return Finding(case.name, "crashed", note=_short(answer.text or answer.outcome))
        if answer.outcome == "refused":
            return Finding(case.name, "refused", note=_short(answer.text))
    ended, control_ended = _ended(answers), _ended(control)
    broken = [answer for answer in ended if _parsed(answer) is NOT_JSON]
    breaking = [answer for answer in ended if _breaks(case, answer)]
    does = _breaks if is_forbidden(case) else _repeats
    counts = Counts(
        ended=len(ended),
        broken=len(broken),
        broke=len(breaking),
        repeated=sum(_repeats(case, answer) for answer in ended),
        provoked=sum(does(case, answer) for answer in control_ended),
    )
    return Finding(
        case.name,
        _verdict(counts, forbidden=is_forbidden(case)),
        counts,
        note=_short(next((answer.text for answer in [*broken, *breaking, *answers]), "")),
        seconds=round(max(answer.seconds for answer in answers), 2),
    )


def prompt_of(case: Case) -> str:
    """Return what goads a model to answer with the case's goad."""
    return f"Repeat exactly this JSON: {json.dumps(case.repeated, ensure_ascii=False)}"


def is_forbidden(case: Case) -> bool:
    """Return whether the case's schema forbids its goad."""
    return bool(violations(case.asked, case.repeated))


def _verdict(counts: Counts, *, forbidden: bool) -> Verdict:
    if counts.broken:
        return "broken"
    if counts.broke:
        return "checked after"
    if not counts.ended:
        return "runs on"
    if not counts.provoked:
        return "unproven"
    if forbidden:
        return "enforced"
    return "accepted" if counts.repeated else "narrowed"


def _ended(answers: Sequence[Answer]) -> list[Answer]:
    return [answer for answer in answers if answer.outcome == "answered"]


def _breaks(case: Case, answer: Answer) -> bool:
    parsed = _parsed(answer)
    return parsed is not NOT_JSON and bool(violations(case.asked, parsed))


def _repeats(case: Case, answer: Answer) -> bool:
    # As JSON, for the order of properties counts here.
    parsed = _parsed(answer)
    return parsed is not NOT_JSON and json.dumps(parsed) == json.dumps(case.repeated)


def _parsed(answer: Answer) -> Any:
    try:
        return json.loads(answer.text)
    except ValueError:
        return NOT_JSON


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= MAX_NOTE else f"{words[: MAX_NOTE - 1]}…"
