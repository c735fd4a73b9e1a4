"""Effects of tool calls, and the companion tools that undo or verify them."""

from typing import Literal

from pydantic import Field

from outlast.contracts.base import WireModel
from outlast.contracts.bounds import MAX_INSTANT_S

Effect = Literal["read", "idempotent", "write", "irreversible"]

EFFECTFUL: tuple[Effect, ...] = ("write", "irreversible")
"""Effects of calls that must not be repeated blindly."""

RESULT = "result"
"""The parameter of a `compensate` tool that receives the result of the call that it undoes."""


class CompanionTool(WireModel):
    """A tool that undoes a call of another tool, or verifies whether the call happened.

    `takes` are the arguments of the call that it receives: those it has parameters for. A tool that undoes
    may also take the `result`.
    """

    tool: str
    takes: tuple[str, ...] = ()
    effect: Effect = "idempotent"
    timeout_s: float = Field(default=60, gt=0, le=MAX_INSTANT_S)


NOT_BEGUN = "not begun"
"""Detail of the `WorkerShutdown` of a call whose tool did not run yet, so that it had no effect."""
