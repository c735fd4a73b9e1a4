"""Questions: what a model worker is told of a turn."""

from outlast.contracts.agents import Leg
from outlast.contracts.generation import GenerateInput
from outlast.contracts.messages import Message
from outlast_workflows.budget import Ask, left_of
from outlast_workflows.state import RunState

INLINE = {"user": 4_000, "assistant": 0, "tool": 250}
"""Characters up to which a new entry is told to a model worker outright. What is longer stands in the
history already, and the worker has kept it or asks for it."""


def question_of(state: RunState, plan: Ask, leg: Leg) -> GenerateInput:
    """Return what a model worker is asked: it knows the rest of the transcript, or asks for it."""
    tokens_left, cost_left_usd = left_of(state.limits, state.usage)
    return GenerateInput(
        turn=state.turn,
        agent_digest=state.agent_digest,
        length=len(state.messages),
        digest=state.digest,
        added=tuple(map(_reference, state.messages[state.sent :])),
        tools=plan.tools,
        answer=plan.answer,
        max_calls=plan.max_calls,
        tokens_left=tokens_left,
        cost_left_usd=cost_left_usd,
        price=None if cost_left_usd is None else leg.price,
        server=leg.server,
        model=leg.model,
        is_last_leg=leg is state.agent.route.legs[-1],
    )


def _reference(message: Message) -> Message:
    """Return an entry as a model worker is told of it: without its content where that is long."""
    if len(message.content or "") <= INLINE[message.role]:
        return message
    return message.model_copy(update={"content": None})
