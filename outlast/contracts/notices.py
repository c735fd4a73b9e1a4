"""Notices: how people are told that a request waits for them."""

from typing import Literal

from pydantic import JsonValue

from outlast.contracts.base import OutputModel, WireModel
from outlast.contracts.human import PendingRequest

Reason = Literal["opened", "reminded", "escalated"]


class NotifyInput(WireModel):
    """Asks for one notice on one of the channels of an audience; the request is asked of the run itself."""

    request_id: str
    audience: str
    reason: Reason = "opened"
    channel: int = 0
    number: int = 0
    """Of the notices of a request: their keys tell one from the other."""


class Notice(OutputModel):
    """What a channel is given: all that a person needs to decide, and nothing to look up.

    `key` is the same in every attempt to send it.
    """

    key: str
    reason: Reason
    audience: str
    workflow_id: str
    run_id: str
    request: PendingRequest
    commands: dict[str, str]
    url: str | None = None
    """The run in the Web UI."""
    decide_url: str | None = None
    """The page on which the request is settled; whoever has it may."""
    text: str

    def as_json(self) -> dict[str, JsonValue]:
        """Return it as JSON."""
        told: dict[str, JsonValue] = self.model_dump(mode="json")
        return told
