"""The tool with which a model asks a person."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from outlast.agents.tool_options import DEFAULT_AUDIENCE, RESERVED, seconds
from outlast.agents.tool_parameters import check_type
from outlast.contracts.agents import ToolSpec
from outlast.contracts.human import Approval, Escalation
from outlast.errors import DefinitionError
from outlast.jsonschema.schema_checks import check_derived
from outlast.jsonschema.schemas import Schema
from outlast.jsonschema.type_schemas import schema_of
from outlast.validation import explain

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
    expires_s = seconds(expires, f"{name}: expires")
    remind_s = None if remind is None else seconds(remind, f"{name}: remind")
    check_type(answer, what)
    schema = schema_of(answer, what=what)
    if name in RESERVED:
        raise DefinitionError(f"{name} has the name of an activity of outlast; pass another name=")
    try:
        check_derived(schema, what)
        approval = Approval(
            audience=audience, expires_s=expires_s, remind_s=remind_s, escalate=tuple(escalate)
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
    except ValidationError as error:
        raise DefinitionError(f"{name}: {explain(error)}") from None
    except (ValueError, TypeError) as error:
        raise DefinitionError(f"{name}: {error}") from None
