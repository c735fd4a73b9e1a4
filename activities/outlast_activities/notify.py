"""The activity that notifies people of a pending request."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol
from urllib.parse import quote

from temporalio import activity

from outlast.contracts.human import PendingRequest
from outlast.contracts.notices import Notice, NotifyInput
from outlast.decide_commands import decide_command, decisions_on, outlast_command
from outlast.text.safe_text import notice_line, visible_line
from outlast.text.texts import call_text

MAX_SUBJECT_BYTES = 300
"""A call or a question in the text of a notice."""

MAX_NAME_BYTES = 100
"""An audience, an agent or a run in the text of a notice."""

ANY_AUDIENCE = "*"
"""Stands for all audiences that have no channels of their own."""


class Channel(Protocol):
    """A way to notify people."""

    async def send(self, notice: Notice) -> None:
        """Send a notice, or raise. Temporal retries with the same key, so a notice may come twice."""
        ...


DecisionLink = Callable[[str, str, PendingRequest], str]
"""Returns the URL of the page to decide a request of a run, from its workflow id and run id."""


class RequestQueries(Protocol):
    """Queries a running workflow for its requests."""

    async def pending(self, workflow_id: str, run_id: str) -> list[PendingRequest]:
        """Return the requests that nobody has decided yet."""
        ...


class NoticeSpans(Protocol):
    """Makes the spans of notices."""

    def notice(self, notice: NotifyInput) -> AbstractContextManager[None]:
        """Make the span of one attempt to send a notice."""
        ...


class NotifyActivities:
    """The notifications of a worker. `channels` are the channels by audience, in their order."""

    def __init__(
        self,
        queries: RequestQueries,
        channels: Mapping[str, Sequence[Channel]],
        *,
        ui_url: str | None = None,
        link_to: DecisionLink | None = None,
        spans: NoticeSpans | None = None,
    ) -> None:
        self._spans = spans
        self._queries = queries
        self._channels = channels
        self._ui_url = ui_url
        self._link_to = link_to

    @activity.defn(name="notify")
    async def notify(self, input: NotifyInput) -> str:  # noqa: A002 Temporal's word
        """Send one notice on one channel. Return what happened to it.

        Nothing is sent if the request was decided meanwhile, or if this worker no longer has the channel.
        """
        with self._spans.notice(input) if self._spans else nullcontext():
            return await self._send(input)

    async def _send(self, input: NotifyInput) -> str:  # noqa: A002
        info = activity.info()
        workflow_id, run_id = info.workflow_id or "", info.workflow_run_id or ""
        channels = self._channels.get(input.audience, self._channels.get(ANY_AUDIENCE, ()))
        if input.channel >= len(channels):
            return "no such channel"
        pending = await self._queries.pending(workflow_id, run_id)
        request = next(
            (request for request in pending if request.request_id == input.request_id), None
        )
        if request is None:
            return "decided meanwhile"
        await channels[input.channel].send(self._notice(input, request, workflow_id, run_id))
        return "sent"

    def _notice(
        self, wanted: NotifyInput, request: PendingRequest, workflow_id: str, run_id: str
    ) -> Notice:
        namespace = activity.info().namespace or "default"
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
            outlast_commands={
                decision: outlast_command(workflow_id, request, decision)
                for decision in decisions_on(request)
            },
            url=run_url(self._ui_url, namespace, workflow_id, run_id),
            decide_url=self._link_to(workflow_id, run_id, request) if self._link_to else None,
            text=_text(request, wanted.audience, workflow_id),
        )


def run_url(ui_url: str | None, namespace: str, workflow_id: str, run_id: str) -> str | None:
    """Return the page of a run in the Web UI, or None without a Web UI."""
    if not ui_url:
        return None
    path = "/".join(quote(part, safe="") for part in (namespace, "workflows", workflow_id, run_id))
    return f"{ui_url.rstrip('/')}/namespaces/{path}"


def _text(request: PendingRequest, audience: str, workflow_id: str) -> str:
    """Return a notice as one line: who decides, about what, for which agent and run, and why."""

    def name(text: str) -> str:
        return notice_line(visible_line(text), MAX_NAME_BYTES)

    agent = f"agent {name(request.agent)}, " if request.agent else ""
    place = f"({agent}run {name(workflow_id)}, request {name(request.request_id)})"
    if request.kind == "question":
        question = notice_line(visible_line(request.question or ""), MAX_SUBJECT_BYTES)
        return f"{name(audience)}: {question} {place}"
    call = call_text(request.tool, request.arguments, MAX_SUBJECT_BYTES)
    why = notice_line(visible_line(request.user_message), MAX_SUBJECT_BYTES)
    because = f" The user wrote: {why}" if why else ""
    return f"{name(audience)}: approve {notice_line(call, MAX_SUBJECT_BYTES)}? {place}{because}"
