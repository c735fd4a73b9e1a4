"""Checks of what programs pass to a client: a wrong argument is a `BadRequest` that names it."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from outlast.errors import BadRequest
from outlast.text.texts import shown

if TYPE_CHECKING:
    from outlast.agents.agent import Agent


def agent_name(agent: "Agent[Any, Any] | str") -> str:
    """Return the name of an agent, or raise `BadRequest` for what is neither an agent nor a name."""
    name = agent if isinstance(agent, str) else getattr(agent, "name", None)
    if not isinstance(name, str):
        raise BadRequest(f"agent: {shown(agent)} is not an agent; give an Agent, or its name")
    return name


def checked_queue(task_queue: object) -> str:
    """Return the name of a task queue, or raise `BadRequest`."""
    if not isinstance(task_queue, str) or not task_queue or not task_queue.isprintable():
        raise BadRequest(
            f"task_queue: {shown(task_queue)} is not the name of a task queue; give printable text"
        )
    return task_queue


def checked_duration(name: str, value: object) -> timedelta:
    """Return the value of an argument that is a duration, or raise `BadRequest`."""
    if not isinstance(value, timedelta):
        raise BadRequest(
            f"{name}: {shown(value)} is not a duration; give a timedelta, such as timedelta(minutes=5)"
        )
    return value
