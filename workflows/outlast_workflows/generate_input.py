"""The input of a model call: the transcript by reference, and what the run still allows."""

from decimal import Decimal

from outlast.contracts.agents import Leg
from outlast.contracts.generation import GenerateInput
from outlast.contracts.messages import Message
from outlast_workflows.budget import TakeTurn
from outlast_workflows.state import Transcript

INLINE = {"user": 4_000, "assistant": 0, "tool": 250}
"""Characters up to which a new entry is sent to a model worker, by role. A longer entry is in the history
already: the worker has it in its cache, or queries the run for it."""


def generate_input(
    transcript: Transcript,
    plan: TakeTurn,
    leg: Leg,
    *,
    turn: int,
    agent_digest: str,
    left: tuple[int | None, Decimal | None],
    is_last_leg: bool,
) -> GenerateInput:
    """Return the input of a model call on a leg; `left` are the tokens and dollars that are left."""
    tokens_left, cost_left_usd = left
    return GenerateInput(
        turn=turn,
        agent_digest=agent_digest,
        length=len(transcript.messages),
        digest=transcript.digest,
        added=tuple(map(_reference, transcript.messages[transcript.sent :])),
        tools=plan.tools,
        answer=plan.answer,
        max_calls=plan.max_calls,
        tokens_left=tokens_left,
        cost_left_usd=cost_left_usd,
        price=None if cost_left_usd is None else leg.price,
        server=leg.server,
        model=leg.model,
        is_last_leg=is_last_leg,
    )


def _reference(message: Message) -> Message:
    """Return an entry without its content if that is long."""
    if len(message.content or "") <= INLINE[message.role]:
        return message
    return message.model_copy(update={"content": None})
