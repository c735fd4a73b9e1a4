"""Effects: what a call does to the world, how it is undone, and how it is found out whether it happened."""

from typing import Literal

from pydantic import Field
from temporalio import activity

from outlast.contracts.base import OutputModel, WireModel

Effect = Literal["read", "idempotent", "write", "irreversible"]

EFFECTFUL: tuple[Effect, ...] = ("write", "irreversible")
"""Effects of calls that may not be repeated blindly."""

RESULT = "result"
"""The parameter of a compensating tool that is given what the call returned."""


WAITED = "outlast-waited-s"
"""Metadata of a tool's result: the seconds that the call waited for its worker."""

UNDO_SUFFIX = ".undo"
VERIFY_SUFFIX = ".verify"
"""What follows a call's id in that of the call of a companion."""


class CompanionTool(WireModel):
    """Another tool that is called about a call: to undo it, or to find out whether it happened.

    It `takes` those of the call's arguments that it has parameters for; one that undoes may take the
    `result` too.
    """

    tool: str
    takes: tuple[str, ...] = ()
    effect: Effect = "idempotent"
    timeout_s: float = Field(default=60, gt=0)


class CompensationOutcome(OutputModel):
    """What became of an effect after its run did not complete; `detail` says why it is not undone."""

    call_id: str
    tool: str
    outcome: Literal["undone", "undone_by_hand", "not_undone"]
    detail: str = ""


def idempotency_key() -> str:
    """Return the key of the tool call that is running: the same over all of its attempts.

    For the systems that a `write` reaches, which can tell a repeat by it. A `compensate` or `verify` tool
    has the key of the call that it is about. Outside of a run it is empty.
    """
    if not activity.in_activity():
        return ""
    info = activity.info()
    call_id = info.activity_id.removesuffix(UNDO_SUFFIX).removesuffix(VERIFY_SUFFIX)
    return f"{info.workflow_id}/{info.workflow_run_id}/{call_id}"
