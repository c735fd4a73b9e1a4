"""Agents whose tools record their effects at the ledger. Each call says how long it takes.

`before_s` passes before the effect and `after_s` after it, so that a fault can strike at either side.
`decide` tells the robot of the suite how a person decides about the call.
"""

import asyncio
import random
import time

from pydantic import BaseModel

from outlast import Agent, Approval, ToolContext, ToolError, ask_human, tool
from tests.long.chaos.ledger import record, record_in_thread


class Report(BaseModel):
    """The type of every answer."""

    text: str
    turns: int


async def _make(
    context: ToolContext, ref: str, before_s: float, after_s: float, amount: int = 0
) -> str:
    await asyncio.sleep(before_s)
    await record(context, "effect", ref, amount)
    await asyncio.sleep(after_s)
    return f"made {ref}"


def _make_in_thread(context: ToolContext, ref: str, before_s: float, after_s: float) -> str:
    time.sleep(before_s)
    record_in_thread(context, "effect", ref)
    time.sleep(after_s)
    return f"made {ref}"


@tool(effect="read")
async def look(ref: str, before_s: float, after_s: float) -> str:
    """Read something."""
    await asyncio.sleep(before_s + after_s)
    return f"looked at {ref}: " + "x" * 2_000


@tool(effect="read")
def look_in_thread(ref: str, before_s: float, after_s: float) -> str:
    """Read something that is not there."""
    time.sleep(before_s + after_s)
    raise ToolError(f"there is no {ref}")


@tool(effect="idempotent")
async def store(context: ToolContext, ref: str, before_s: float, after_s: float) -> str:
    """Store something; a repeat is harmless."""
    return await _make(context, ref, before_s, after_s)


@tool(effect="read")
async def find(context: ToolContext, ref: str) -> str | None:
    """Return what a call made, or None if it did not happen."""
    return f"made {ref}" if await record(context, "find", ref) else None


@tool(effect="idempotent")
async def cancel(context: ToolContext, ref: str) -> None:
    """Undo a call."""
    await record(context, "undo", ref)


@tool(effect="idempotent")
def cancel_in_thread(context: ToolContext, ref: str) -> None:
    """Undo a call."""
    record_in_thread(context, "undo", ref)


@tool(effect="write")
async def note(context: ToolContext, ref: str, before_s: float, after_s: float) -> str:
    """Write something that nobody can find or undo."""
    return await _make(context, ref, before_s, after_s)


@tool(effect="write", verify=find)
async def transfer(context: ToolContext, ref: str, before_s: float, after_s: float) -> str:
    """Write something that can be found."""
    return await _make(context, ref, before_s, after_s)


@tool(effect="write", verify=find)
def transfer_in_thread(context: ToolContext, ref: str, before_s: float, after_s: float) -> str:
    """Write something that can be found."""
    return _make_in_thread(context, ref, before_s, after_s)


@tool(effect="write", compensate=cancel)
async def book(context: ToolContext, ref: str, before_s: float, after_s: float) -> str:
    """Write something that can be undone."""
    return await _make(context, ref, before_s, after_s)


@tool(effect="write", compensate=cancel_in_thread)
def book_in_thread(context: ToolContext, ref: str, before_s: float, after_s: float) -> str:
    """Write something that can be undone."""
    return _make_in_thread(context, ref, before_s, after_s)


@tool(effect="write", compensate=cancel, verify=find)
async def reserve(context: ToolContext, ref: str, before_s: float, after_s: float) -> str:
    """Write something that can be found and undone."""
    return await _make(context, ref, before_s, after_s)


@tool(effect="write", compensate=cancel, verify=find)
def reserve_in_thread(context: ToolContext, ref: str, before_s: float, after_s: float) -> str:
    """Write something that can be found and undone."""
    return _make_in_thread(context, ref, before_s, after_s)


@tool(effect="irreversible", approval=Approval(audience="leads", expires_s=1_800), verify=find)
async def pay(
    context: ToolContext, ref: str, before_s: float, after_s: float, amount: int, decide: str
) -> str:
    """Pay, once a person approves."""
    return await _make(context, ref, before_s, after_s, amount)


@tool(effect="irreversible", approval=Approval(audience="leads", quorum=2, expires_s=1_800))
async def pay_by_two(
    context: ToolContext, ref: str, before_s: float, after_s: float, amount: int, decide: str
) -> str:
    """Pay, once two people approve."""
    return await _make(context, ref, before_s, after_s, amount)


@tool(effect="irreversible", approval=Approval(audience="leads", expires_s=6))
async def flash(
    context: ToolContext, ref: str, before_s: float, after_s: float, amount: int, decide: str
) -> str:
    """Pay, if a person approves within seconds."""
    return await _make(context, ref, before_s, after_s, amount)


@tool(
    effect="write",
    approval=Approval(audience="leads", remind_s=60, expires_s=1_800),
    compensate=cancel,
    verify=find,
)
async def order(
    context: ToolContext, ref: str, before_s: float, after_s: float, amount: int, decide: str
) -> str:
    """Order something that can be undone, once a person approves."""
    return await _make(context, ref, before_s, after_s, amount)


@tool(effect="write")
async def decline(ref: str, before_s: float, after_s: float) -> str:
    """Fail, in a way that ends the run."""
    await asyncio.sleep(before_s + after_s)
    raise ValueError("declined")


@tool(effect="read")
async def read_noise(ref: str, size: int) -> str:
    """Return text that cannot be compressed."""
    return random.Random(ref).randbytes(size // 2).hex()


QUICK = (look, look_in_thread, store)
WRITES = (note, transfer, transfer_in_thread)
UNDOABLE = (book, book_in_thread, reserve, reserve_in_thread)
APPROVED = (pay, pay_by_two, flash, order)

COMPENSATED = frozenset(entry.name for entry in (*UNDOABLE, order))
"""Tools whose effects are undone when their run does not complete."""

QUORUM = {"pay": 1, "pay_by_two": 2, "flash": 1, "order": 1}

ASK = "ask_clerk"

helper = Agent(
    name="helper",
    instructions="Do what the plan says.",
    tools=[*QUICK, *WRITES, *UNDOABLE],
    output=Report,
)
doer = Agent(
    name="doer",
    instructions="Do what the plan says.",
    tools=[
        *QUICK,
        *WRITES,
        *UNDOABLE,
        *APPROVED,
        decline,
        read_noise,
        ask_human(str, audience="clerks", name=ASK),
        helper,
    ],
    output=Report,
)
talker = Agent(name="talker", instructions="Answer.", tools=[look, store], output=Report)
