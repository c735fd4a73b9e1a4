"""Deciding: what a person typed about a request that was shown becomes a decision, or a refusal."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from pydantic import JsonValue

from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.errors import BadRequest
from outlast.json_text import from_json
from outlast.terminal.inbox import arguments_lines
from outlast.texts import cut
from outlast.validation import validated

MAX_QUOTED_BYTES = 60

UNSEEN = "unseen"
"""No arguments have this hash: a request that was not shown can be asked after and not be settled."""


def chosen(
    pending: Sequence[PendingRequest], request_id: str | None, *, run_id: str
) -> PendingRequest | None:
    """Return the request that is meant; None for a named one that is not pending."""
    if request_id is not None:
        return next((one for one in pending if one.request_id == request_id), None)
    if not pending:
        raise BadRequest(f"run {run_id!r} waits for nobody's decision")
    if len(pending) > 1:
        listed = ", ".join(f"{one.request_id} ({one.tool}, {one.audience})" for one in pending)
        raise BadRequest(f"run {run_id!r} waits for several decisions, name one: {listed}")
    return pending[0]


def decision_of(
    options: argparse.Namespace, request: PendingRequest | None, *, by: str
) -> HumanDecision:
    """Return the decision, bound to what was shown; raises `BadRequest` if it does not fit the request.

    Of a request that is not pending the run says what became of it.
    """
    said: dict[str, Any] = {"decision": options.verb, "by": by, "comment": options.comment}
    said["request_id"] = request.request_id if request else options.request
    said["arguments_hash"] = options.hash or (request.arguments_hash if request else UNSEEN)
    if options.verb == "edit":
        said["arguments"] = options.arguments
    if options.verb == "answer":
        said["answer"] = answer_of(options.answer, request)
    if request is not None:
        _check_kind(options.verb, request, run_id=options.run)
        if request.signers and options.key is None:
            raise BadRequest(
                f"request {request.request_id!r} of run {options.run!r} is decided by signature:"
                f" --key FILE, the key of {' or '.join(request.signers)} (outlast keygen makes one)"
            )
        if options.hash not in (None, request.arguments_hash):
            raise BadRequest(
                f"--hash: the arguments of request {request.request_id!r} are others by now"
                f" ({request.arguments_hash}): look at them again"
            )
    return validated(HumanDecision, said)


def _check_kind(verb: str, request: PendingRequest, *, run_id: str) -> None:
    is_question = request.kind == "question"
    if is_question and verb in ("approve", "edit"):
        raise BadRequest(
            f"request {request.request_id!r} of run {run_id!r} is a question: answer or deny it"
        )
    if not is_question and verb == "answer":
        raise BadRequest(
            f"request {request.request_id!r} of run {run_id!r} is a call: approve, edit or deny it"
        )


def answer_of(text: str, request: PendingRequest | None) -> JsonValue:
    """Return an answer as typed where text is asked for, else as JSON; raises `BadRequest`."""
    schema = request.answer_schema if request else None
    if not isinstance(schema, dict) or schema.get("type") == "string":
        return text
    try:
        return from_json(text)
    except ValueError as error:
        wrong = f"{cut(text, MAX_QUOTED_BYTES)!r} is not JSON ({error})"
        raise BadRequest(f"answer: {wrong}; what is asked for is {json.dumps(schema)}") from None


def decision_lines(decision: HumanDecision, request: PendingRequest) -> list[str]:
    """Return what a decision says beyond its verb."""
    lines: list[str] = []
    if decision.arguments is not None:
        lines += ["  edited to", *arguments_lines(request.arguments, decision.arguments)]
    if decision.decision == "answer":
        lines += [f"  answer: {json.dumps(decision.answer, ensure_ascii=False)}"]
    return lines + ([f"  comment: {decision.comment}"] if decision.comment else [])
