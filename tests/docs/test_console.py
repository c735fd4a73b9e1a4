"""The console output that docs/steering.md shows is the output of the command."""

from datetime import UTC, datetime, timedelta

from outlast.contracts.human import PendingRequest
from outlast.terminal.inbox import Inbox, InboxEntry, inbox_lines
from outlast.terminal.request_text import request_lines
from tests.docs.prose import ROOT

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = PendingRequest(
    request_id="2.1",
    tool="refund",
    arguments={"order_id": "A-1042", "amount_usd": 80},
    audience="support-leads",
    agent="refund-desk",
    user_message="My order A-1042 arrived broken.",
    tool_description="Refund an order, in part or in full.",
    effect="irreversible",
    opened_at=NOW - timedelta(minutes=3),
    expires_at=NOW + timedelta(hours=23, minutes=56),
)


def test_the_inbox_in_the_docs_is_that_of_the_command() -> None:
    inbox = Inbox(entries=(InboxEntry("r2", REQUEST),))
    assert "\n".join(inbox_lines(inbox, now=NOW)) in page()


def test_the_request_in_the_docs_is_that_of_the_command() -> None:
    assert "\n".join(request_lines("r2", REQUEST, now=NOW)) in page()


def page() -> str:
    return (ROOT / "docs" / "steering.md").read_text()
