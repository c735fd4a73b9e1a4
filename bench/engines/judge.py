"""The verdict on an engine from its answers to a case."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.engines.cases import Case
from bench.engines.formats import violations
from outlast.text.texts import cut

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
"""Bytes of an answer in a finding."""

NOT_JSON: Any = object()


@dataclass(frozen=True)
class Answer:
    """The result of one request: the text of the model, or the error message of the server."""

    outcome: Outcome
    text: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Counts:
    """Counts of the answers to a case, without those that were cut off."""

    ended: int = 0
    broken: int = 0
    """Answers that are not JSON."""
    broke: int = 0
    """Answers that violate the schema."""
    repeated: int = 0
    """Answers that repeat the goad."""
    provoked: int = 0
    """Answers to the loose schema that show the difference: they violate the keyword if it forbids the
    goad, and repeat the goad if it allows it."""


@dataclass(frozen=True)
class Finding:
    """The verdict on a case, with an answer or an error message as evidence."""

    case: str
    verdict: Verdict
    counts: Counts = Counts()
    note: str = ""
    seconds: float = 0.0
    """The slowest answer."""


def judge(case: Case, answers: Sequence[Answer], control: Sequence[Answer]) -> Finding:
    """Compare the answers to a case with those to its `loose` schema, the control.

    Answers that were cut off do not count, because they may have ended well.
    """
    for answer in answers:
        if answer.outcome in {"failed", "timed out"}:
            return Finding(case.name, "crashed", note=cut(answer.text or answer.outcome, MAX_NOTE))
        if answer.outcome == "refused":
            return Finding(case.name, "refused", note=cut(answer.text, MAX_NOTE))
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
        note=cut(next((answer.text for answer in [*broken, *breaking, *answers]), ""), MAX_NOTE),
        seconds=round(max(answer.seconds for answer in answers), 2),
    )


def prompt_of(case: Case) -> str:
    """Return a prompt for the goad of a case."""
    return f"Repeat exactly this JSON: {json.dumps(case.prompted, ensure_ascii=False)}"


def is_forbidden(case: Case) -> bool:
    """Return whether the case's schema forbids its goad."""
    return bool(violations(case.sent, case.prompted))


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
    return parsed is not NOT_JSON and bool(violations(case.sent, parsed))


def _repeats(case: Case, answer: Answer) -> bool:
    # Compared as JSON, because the order of properties matters here.
    parsed = _parsed(answer)
    return parsed is not NOT_JSON and json.dumps(parsed) == json.dumps(case.prompted)


def _parsed(answer: Answer) -> Any:
    try:
        return json.loads(answer.text)
    except ValueError:
        return NOT_JSON
