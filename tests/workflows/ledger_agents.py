"""Agents whose bookings can be undone, with a tool that any worker may serve."""

import asyncio
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowFailureError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from outlast import Agent, tool
from outlast.contracts.agents import ToolSpec

UNDONE: list[str] = []


@tool(effect="idempotent")
def undo(ref: str) -> None:
    """Undo a call."""
    UNDONE.append(ref)


@tool(effect="write", compensate=undo)
def book(ref: str) -> str:
    """Book."""
    return ref


@tool(effect="read")
def look(place: str) -> str:
    """Look."""
    return place


FOREIGN = ToolSpec(
    name="foreign",
    parameters={"type": "object", "properties": {"ref": {"type": "string"}}},
    effect="write",
    compensate=book.spec.compensate,
)
plain = Agent(name="plain", instructions="Answer.", tools=[look, book])
user = Agent(name="user", instructions="Use.", tools=[FOREIGN, book])


def payload(data: bytes, encoding: bytes = b"json/plain") -> RawValue:
    return RawValue(Payload(metadata={"encoding": encoding}, data=data))


async def fails(handle: Any) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(handle.result(), 40)
    assert isinstance(failed.value.cause, ApplicationError)
    return failed.value.cause
