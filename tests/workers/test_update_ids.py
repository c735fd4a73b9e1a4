"""A decision that is sent again and again is one update of the run, from the page and from the command."""

from collections import Counter

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from outlast import Agent, Approval, tool
from tests.workers.callback.test_page import form, waiting


@tool(effect="irreversible", approval=Approval(audience="leads", quorum=2))
def refund(order_id: str, amount_usd: float) -> str:
    """Refund an order."""
    return f"refunded {order_id} {amount_usd}"


async def test_a_vote_that_is_repeated_uses_up_no_updates(temporal: Client) -> None:
    desk = Agent(name="desk", instructions="Refund.", tools=[refund])
    async with waiting(temporal, desk) as (run, request, browser, link):
        for _ in range(8):
            page = await browser.post(link, data=form(request, "approve"))
            assert page.status_code in (200, 422), page.text
        handle = temporal.get_workflow_handle(run.id)
        events = Counter([event.event_type async for event in handle.fetch_history_events()])
        # The first vote, and the same vote once it is counted.
        assert events[EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED] <= 2
        await run.deny(request, by="bo")
        await run.result()
