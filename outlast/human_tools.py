"""The tool with which a model asks a person."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from outlast.contracts.agents import ToolSpec
from outlast.contracts.human import Approval, Escalation
from outlast.errors import DefinitionError
from outlast.jsonschema.schema_checks import check_derived
from outlast.jsonschema.schemas import Schema, schema_of
from outlast.tools import DEFAULT_AUDIENCE

PARAMETERS: Schema = {
    "type": "object",
    "properties": {
        "question": {"type": "string", "minLength": 1, "maxLength": 2_000},
    },
    "required": ["question"],
    "additionalProperties": False,
}


def ask_human(
    answer: Any = str,
    *,
    audience: str = DEFAULT_AUDIENCE,
    name: str = "ask_human",
    description: str = "Ask a person, who answers when they can.",
    max_calls: int | None = None,
    expires: timedelta = timedelta(days=1),
    remind: timedelta | None = None,
    escalate: Sequence[Escalation] = (),
) -> ToolSpec:
    """Return a tool with which a model asks a person of an audience for an answer of a type.

    The model reads `{"answer": …}`, or that the person declined, or that the question expired. `remind` is
    the time between reminders. Raises `DefinitionError` for a type without a schema.
    """
    what = f"the answer of {name!r}"
    schema = schema_of(answer, what=what)
    try:
        check_derived(schema, what)
        approval = Approval(
            audience=audience,
            expires_s=expires.total_seconds(),
            remind_s=remind.total_seconds() if remind else None,
            escalate=tuple(escalate),
        )
        return ToolSpec(
            name=name,
            description=description,
            parameters=PARAMETERS,
            kind="question",
            approval=approval,
            answer_schema=schema,
            max_calls=max_calls,
        )
    except ValueError as error:
        raise DefinitionError(f"{name}: {error}") from None
