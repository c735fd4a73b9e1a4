"""The activity that tells people of a request."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

from temporalio import activity

from outlast.contracts.human import PendingRequest
from outlast.contracts.notices import Notice, NotifyInput
from outlast.decide_commands import decide_command, decisions_on

ANYBODY = "*"
"""The channels of audiences that have none of their own."""


class Channel(Protocol):
    """A way to reach people."""

    async def send(self, notice: Notice) -> None:
        """Send a notice, or raise: Temporal tries again. The same notice may come twice, with its key."""
        ...


LinkTo = Callable[[str, str, PendingRequest], str]
"""Returns the page on which a request of a run (workflow id, run id) is settled."""


class RequestSource(Protocol):
    """Asks a run for its requests."""

    async def pending(self, workflow_id: str, run_id: str) -> list[PendingRequest]:
        """Return the requests that nobody has settled yet."""
        ...


class NotifyActivities:
    """Sends notices. `channels` are those of each audience, in their order."""

    def __init__(
        self,
        source: RequestSource,
        channels: Mapping[str, Sequence[Channel]],
        *,
        ui_url: str | None = None,
        link_to: LinkTo | None = None,
    ) -> None:
        self._source = source
        self._channels = channels
        self._ui_url = ui_url
        self._link_to = link_to

    @activity.defn(name="notify")
    async def notify(self, input: NotifyInput) -> str:  # noqa: A002 Temporal's word
        """Send one notice on one channel; return what became of it.

        A request that was settled meanwhile is not told of, and neither is one whose channel this worker
        does not have any more.
        """
        info = activity.info()
        workflow_id, run_id = info.workflow_id or "", info.workflow_run_id or ""
        channels = self._channels.get(input.audience, self._channels.get(ANYBODY, ()))
        if input.channel >= len(channels):
            return "no such channel"
        pending = await self._source.pending(workflow_id, run_id)
        request = next((one for one in pending if one.request_id == input.request_id), None)
        if request is None:
            return "settled meanwhile"
        await channels[input.channel].send(self._notice(input, request, workflow_id, run_id))
        return "sent"

    def _notice(
        self, wanted: NotifyInput, request: PendingRequest, workflow_id: str, run_id: str
    ) -> Notice:
        namespace = activity.info().namespace or "default"
        base = (self._ui_url or "").rstrip("/")
        url = f"{base}/namespaces/{namespace}/workflows/{quote(workflow_id, safe='')}/{run_id}"
        what = request.question if request.kind == "question" else f"approve {request.tool}?"
        return Notice(
            key="/".join(
                quote(part, safe="")
                for part in (
                    workflow_id,
                    run_id,
                    wanted.request_id,
                    str(wanted.number),
                    str(wanted.channel),
                )
            ),
            reason=wanted.reason,
            audience=wanted.audience,
            workflow_id=workflow_id,
            run_id=run_id,
            request=request,
            commands={
                decision: decide_command(workflow_id, request, decision)
                for decision in decisions_on(request)
            },
            url=url if self._ui_url else None,
            decide_url=self._link_to(workflow_id, run_id, request) if self._link_to else None,
            text=f"{wanted.audience}: {what} (run {workflow_id}, request {request.request_id})",
        )
