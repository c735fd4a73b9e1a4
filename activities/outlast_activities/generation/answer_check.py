"""Whether the answer of a model is a valid decision, and what is wrong with it."""

from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import JsonValue, ValidationError
from temporalio import activity

from outlast.contracts.messages import Decision, Opaque
from outlast.errors import ModelError, ModelFailure
from outlast.text.json_text import to_json
from outlast.text.texts import cut
from outlast_activities.generation.decision_text import decision_value
from outlast_activities.generation.prompt_source import PromptSource
from outlast_activities.policies.decision_check import size_problem

MAX_OPAQUE_BYTES = 256_000
"""Bytes of what a model needs back with one decision. More is left out, and the model thinks anew."""

MAX_PROBLEM = 200
"""Bytes of a parser's message, which the model reads."""


class Checker(Protocol):
    """Validates answers against a JSON Schema, even if the server enforces it."""

    def problem(self, value: JsonValue, schema: dict[str, Any], *, key: str) -> str | None:
        """Return what is wrong with `value` in one line, or None."""
        ...


@dataclass(frozen=True)
class RejectedAnswer:
    """An answer that is not a valid decision. `error` is set if the server failed."""

    failure: ModelFailure
    problem: str
    text: str = ""
    error: ModelError | None = None


def parsed(text: str, source: PromptSource, checker: Checker) -> Decision | RejectedAnswer:
    """Return the decision in a text, or what is wrong with it."""
    if not text.strip():
        return RejectedAnswer(ModelFailure.EMPTY, "it is empty", text)
    try:
        value = decision_value(text)
    except ValueError as error:
        reason = cut(str(error), MAX_PROBLEM)
        return RejectedAnswer(ModelFailure.UNCONSTRAINED, f"it is not JSON ({reason})", text)
    problem = size_problem(value) or _schema_problem(value, source, checker)
    if problem is not None:
        return RejectedAnswer(ModelFailure.SCHEMA_INVALID, problem, text)
    try:
        # The parser of the payload codec: what it cannot read must not leave the worker.
        return Decision.model_validate_json(to_json(value))
    except ValidationError:
        problem = "it has a value that cannot be recorded"
        return RejectedAnswer(ModelFailure.SCHEMA_INVALID, problem, text)


def _schema_problem(value: JsonValue, source: PromptSource, checker: Checker) -> str | None:
    try:
        return checker.problem(value, source.schema, key=source.schema_key)
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 an answer that cannot be checked is not accepted
        return f"it cannot be checked ({type(error).__name__})"


def bounded_opaque(opaque: Opaque | None) -> Opaque | None:
    """Return what a model needs back, or None if it is too large for a history."""
    if opaque is None:
        return None
    size = len(opaque.content.encode(errors="replace"))
    if size <= MAX_OPAQUE_BYTES:
        return opaque
    activity.logger.warning(
        "generation.opaque_dropped",
        extra={"bytes": size, "most": MAX_OPAQUE_BYTES, "issuer": opaque.issuer},
    )
    return None
