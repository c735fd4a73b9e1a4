"""Input for MCP servers: what a server asks in the middle of a call becomes questions to people.

The server forgets the call meanwhile, and gets its own `state` back with the answers. So they may come days
later, after the worker and the server were restarted.
"""

from dataclasses import replace
from typing import Any

from pydantic import BaseModel, Field, JsonValue, ValidationError
from temporalio.exceptions import ActivityError, ApplicationError

from outlast.contracts.bounds import MAX_SERVER_FORMS, MAX_SERVER_STATE
from outlast.errors import InputRequired
from outlast.text.json_text import to_json
from outlast_workflows.calls.call_batch import PlannedCall
from outlast_workflows.calls.companion_calls import audience_of
from outlast_workflows.people.human_requests import HumanRequests

MAX_ROUNDS = 10
"""How often a server may ask about one call."""

INPUT_SUFFIX = ".input"
"""What follows a call's id in that of the request to a person."""


class Form(BaseModel):
    """One question of a server, and the JSON Schema of its answer. Without one, it shows a link."""

    key: str
    message: str
    answer_schema: dict[str, JsonValue]
    is_link: bool = False


class ServerQuestions(BaseModel):
    """What a server asks before it makes a call."""

    state: str | None = Field(default=None, max_length=MAX_SERVER_STATE)
    forms: list[Form] = Field(default=[], max_length=MAX_SERVER_FORMS)


def questions_of(error: ActivityError) -> ServerQuestions | None:
    """Return what a server asks, or None if a call failed for another reason."""
    cause = error.cause
    if not isinstance(cause, ApplicationError) or cause.type != InputRequired.__name__:
        return None
    try:
        return ServerQuestions.model_validate(cause.details[0] if cause.details else {})
    except ValidationError:
        return None


async def with_input(
    call: PlannedCall, questions: ServerQuestions, requests: HumanRequests, round_number: int
) -> PlannedCall:
    """Return the call with the answers of people.

    If a person declines a question, the server receives `decline`. If a question expires: `cancel`.
    """
    responses: dict[str, Any] = {}
    for number, form in enumerate(questions.forms, 1):
        # Handlers run meanwhile; `HumanRequests` protects the request.
        settled, answer = await requests.ask_about(
            replace(call, id=f"{call.id}{INPUT_SUFFIX}.{round_number}.{number}"),
            question=f"the MCP server of {call.tool.name} asks: {form.message}",
            answer_schema=form.answer_schema,
            audience=audience_of(call.tool),
        )
        if settled is None or settled.outcome != "answered":
            is_denied = settled is not None and settled.outcome == "denied"
            responses[form.key] = {"action": "decline" if is_denied else "cancel"}
        else:
            content = {} if form.is_link else {"content": answer}
            responses[form.key] = {"action": "accept", **content}
    return replace(call, input=to_json({"state": questions.state, "responses": responses}))
