"""Decisions: what a person typed about a request becomes a `HumanDecision`, or `BadRequest`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import JsonValue

from outlast.contracts.human import UNSEEN_HASH, HumanDecision, PendingRequest
from outlast.errors import BadRequest
from outlast.text.json_text import from_json
from outlast.text.texts import cut
from outlast.validation import validated

MAX_QUOTED_BYTES = 60

YES_OR_NO = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}
"""What a person may type as true or false, in any case."""

Verb = Literal["approve", "deny", "edit", "answer"]


@dataclass(frozen=True)
class DecisionInput:
    """What a person typed to decide a request. None is an option that was not typed.

    `arguments_hash` is the hash of the arguments that the person saw earlier. `signs` is whether the
    decision is to be signed with a key.
    """

    verb: Verb
    run_id: str
    request_id: str | None = None
    comment: str = ""
    arguments_hash: str | None = None
    arguments: dict[str, JsonValue] | None = None
    answer: str | None = None
    signs: bool = False


def select_request(
    pending: Sequence[PendingRequest], typed: DecisionInput
) -> PendingRequest | None:
    """Return the request to decide: the only one, if none is named; None if it is not pending."""
    if typed.request_id is not None:
        named = (request for request in pending if request.request_id == typed.request_id)
        return next(named, None)
    if not pending:
        raise BadRequest(
            f"run {typed.run_id!r} has no pending request; `outlast inbox` lists those of all runs, with"
            " the agents that a run has called"
        )
    if len(pending) > 1:
        choices = ", ".join(
            f"{request.request_id} ({request.tool}, {request.audience})" for request in pending
        )
        raise BadRequest(f"run {typed.run_id!r} has several pending requests, name one: {choices}")
    return pending[0]


def decision_from(
    typed: DecisionInput, request: PendingRequest | None, *, by: str
) -> HumanDecision:
    """Return the decision for the arguments that were shown; raises `BadRequest` if it does not fit.

    A decision about a request that is not pending is sent all the same: the run replies with the outcome.
    """
    fields: dict[str, Any] = {
        "request_id": request.request_id if request else typed.request_id,
        "decision": typed.verb,
        "by": by,
        "comment": typed.comment,
        "arguments_hash": typed.arguments_hash
        or (request.arguments_hash if request else UNSEEN_HASH),
    }
    if typed.verb == "edit":
        fields["arguments"] = typed.arguments
    if typed.verb == "answer":
        fields["answer"] = parse_answer(typed.answer or "", request)
    if request is not None:
        _check_request(typed, request)
    return validated(HumanDecision, fields)


def _check_request(typed: DecisionInput, request: PendingRequest) -> None:
    name = f"request {request.request_id!r} of run {typed.run_id!r}"
    is_question = request.kind == "question"
    if is_question and typed.verb in ("approve", "edit"):
        raise BadRequest(f"{name} is a question: answer or deny it")
    if not is_question and typed.verb == "answer":
        raise BadRequest(f"{name} is a call: approve, edit or deny it")
    if request.signers and not typed.signs:
        raise BadRequest(
            f"{name} needs a signature: --key FILE, the key of {' or '.join(request.signers)}"
            " (outlast keygen creates one)"
        )
    if typed.arguments_hash not in (None, request.arguments_hash):
        raise BadRequest(
            f"--hash: the arguments of request {request.request_id!r} have changed"
            f" ({request.arguments_hash}): look at them again"
        )


def parse_answer(text: str, request: PendingRequest | None) -> JsonValue:
    """Return an answer: the text itself if the question wants text, else JSON; raises `BadRequest`.

    A question that wants true or false also takes yes and no.
    """
    schema = request.answer_schema if request else None
    if not isinstance(schema, dict) or schema.get("type") == "string":
        return text
    if schema.get("type") == "boolean":
        return _yes_or_no(text)
    try:
        return from_json(text)
    except ValueError as error:
        problem = f"{cut(text, MAX_QUOTED_BYTES)!r} is not JSON ({error})"
        raise BadRequest(f"answer: {problem}; the question wants {json.dumps(schema)}") from None


def _yes_or_no(text: str) -> bool:
    try:
        return YES_OR_NO[text.strip().lower()]
    except KeyError:
        quoted = repr(cut(text, MAX_QUOTED_BYTES))
        raise BadRequest(f"answer: {quoted} is not true or false: write true or false") from None
