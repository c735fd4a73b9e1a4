"""Notices: how an audience learns that a request waits for it."""

from typing import Literal

from pydantic import JsonValue

from outlast.contracts.base import OutputModel, WireModel
from outlast.contracts.human import PendingRequest

Reason = Literal["opened", "reminded", "escalated"]


class NotifyInput(WireModel):
    """One notice on one channel of an audience. The activity queries the run for the request."""

    request_id: str
    audience: str
    reason: Reason = "opened"
    channel: int = 0
    number: int = 0
    """The number of the notice within its request; it is part of the key."""


class Notice(OutputModel):
    """The content of a notice: everything that a person needs to decide.

    `key` is the same in all attempts to send the notice.
    """

    key: str
    reason: Reason
    audience: str
    workflow_id: str
    run_id: str
    request: PendingRequest
    commands: dict[str, str]
    outlast_commands: dict[str, str] = {}
    """The same decisions as short commands of `outlast`."""
    url: str | None = None
    """The run in the Web UI."""
    decide_url: str | None = None
    """The decision page of the request. Anyone with this link can decide."""
    text: str
    """The notice as one line for people, without markup, links and mentions. Untrusted text in the other
    fields is raw."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the notice as JSON."""
        body: dict[str, JsonValue] = self.model_dump(mode="json")
        return body
