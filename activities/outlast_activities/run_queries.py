"""Queries of running workflows, for what the memory of a worker lacks."""

from datetime import timedelta

from temporalio.client import Client

from outlast.contracts.agents import PinnedAgent
from outlast.contracts.human import PendingRequest
from outlast.contracts.messages import Message, TranscriptPage
from outlast.contracts.requests import TranscriptQuery
from outlast.temporal.queries import query

QUERY_TIMEOUT = timedelta(seconds=10)
"""The timeout of one query. After it the attempt of the activity fails, and Temporal retries it."""


class WorkflowQueries:
    """Implements `RunQueries` and `RequestQueries` with the queries of `AgentWorkflow`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def agent(self, workflow_id: str, run_id: str) -> PinnedAgent:
        """Return the agent that the run pinned."""
        handle = self._client.get_workflow_handle(workflow_id, run_id=run_id)
        agent: PinnedAgent = await query(
            handle, "agent", result_type=PinnedAgent, rpc_timeout=QUERY_TIMEOUT
        )
        return agent

    async def messages(self, workflow_id: str, run_id: str, since: int) -> list[Message]:
        """Return the transcript from entry `since` to its end, page by page."""
        messages: list[Message] = []
        start: int | None = since
        while start is not None:  # bounded: each page has at least one entry, or is the last
            page = await self._page(workflow_id, run_id, TranscriptQuery(since=start))
            if page.leaves_out:
                # Requested only now: a run on an older build rejects the field.
                wanted = TranscriptQuery(since=start, opaque=True)
                page = await self._page(workflow_id, run_id, wanted)
            messages.extend(page.messages)
            start = page.next
        return messages

    async def _page(self, workflow_id: str, run_id: str, wanted: TranscriptQuery) -> TranscriptPage:
        handle = self._client.get_workflow_handle(workflow_id, run_id=run_id)
        page: TranscriptPage = await query(
            handle,
            "transcript",
            [wanted.model_dump(exclude_defaults=True)],
            result_type=TranscriptPage,
            rpc_timeout=QUERY_TIMEOUT,
        )
        return page

    async def pending(self, workflow_id: str, run_id: str) -> list[PendingRequest]:
        """Return the pending requests of a run to people."""
        handle = self._client.get_workflow_handle(workflow_id, run_id=run_id)
        requests: list[PendingRequest] = await query(
            handle, "pending_requests", result_type=list[PendingRequest], rpc_timeout=QUERY_TIMEOUT
        )
        return requests
