"""Human requests: opened, kept on their clock, and settled by a person or by time."""

from collections.abc import Callable, Mapping
from datetime import timedelta

from pydantic import JsonValue
from temporalio import workflow

from outlast.contracts.agents import ToolSpec
from outlast.contracts.human import Approval, PendingRequest, SettledRequest, hash_of
from outlast.contracts.messages import ToolCall
from outlast.contracts.notices import Reason
from outlast.errors import ToolFailed
from outlast_workflows.people.escalation import after, next_moment
from outlast_workflows.people.notifications import Notifying
from outlast_workflows.run_display import Presence
from outlast_workflows.state import Steering

MAX_TRAIL = 100
"""Settled requests that a result tells of."""


class Requests:
    """The human requests of one run."""

    def __init__(
        self,
        steering: Steering,
        presence: Presence,
        notifying: Notifying,
        keys: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._steering = steering
        self._presence = presence
        self._notifying = notifying
        self._keys = keys

    async def approval(
        self, call_id: str, call: ToolCall, clock: Approval, *, is_moot: Callable[[], bool]
    ) -> tuple[SettledRequest | None, ToolCall]:
        """Ask whether a call may be made; return the outcome, and the call as people edited it.

        Without an outcome the question was moot: the run is ending.
        """
        request = _opened(call_id, call, clock)
        settled = await self._settled(request, clock, is_moot)
        edited = self._steering.edits.pop(call_id, None)
        if settled is None or edited is None or settled.outcome == "expired":
            return settled, call
        return settled, call.model_copy(update={"arguments": edited})

    async def answer(
        self,
        call_id: str,
        call: ToolCall,
        tool: ToolSpec,
        *,
        is_moot: Callable[[], bool],
        question: str | None = None,
    ) -> tuple[SettledRequest | None, JsonValue]:
        """Ask a question; return the outcome, and the answer where there is one.

        Without a `question` it is the one that the call asks.
        """
        if tool.approval is None:
            raise ToolFailed(
                f"{tool.name} (call {call_id}): a question needs approval=, who is asked"
            )
        request = _opened(call_id, call, tool.approval).model_copy(
            update={
                "kind": "question",
                "question": question or str(call.arguments.get("question", "")),
                "answer_schema": tool.answer_schema,
            }
        )
        settled = await self._settled(request, tool.approval, is_moot)
        return settled, self._steering.answers.pop(call_id, None)

    async def _settled(
        self, request: PendingRequest, clock: Approval, is_moot: Callable[[], bool]
    ) -> SettledRequest | None:
        steering, call_id = self._steering, request.request_id
        steering.pending[call_id] = request = self._for_signers(request, clock)
        self._presence.show("waiting_for_human", f"{_what(request)} waits for {request.audience}")
        self._notifying.tell(request, "opened")
        try:
            await self._wait(call_id, clock, is_moot)
        finally:
            del steering.pending[call_id]
        return steering.settled.get(call_id)

    def _for_signers(self, request: PendingRequest, clock: Approval) -> PendingRequest:
        """Return a request with who may sign, and what a signature is bound to, where one is demanded."""
        if not any(audience in self._keys for audience in clock.audiences):
            return request
        nonce = request.nonce or workflow.uuid4().hex
        signers = sorted(self._keys.get(request.audience, {}))
        changed: dict[str, object] = {"signers": signers, "nonce": nonce}
        if signers and not request.signers:
            changed["approved_by"] = []  # what was said without proof counts no more
        return request.model_copy(update=changed)

    async def _wait(self, call_id: str, clock: Approval, is_moot: Callable[[], bool]) -> None:
        """Wait until a request is settled or moot; settle it when its time is up."""
        steering = self._steering
        asked = steering.pending[call_id].arguments_hash
        while True:  # bounded: reminders and escalations are, and then it expires
            moment = next_moment(steering.pending[call_id], clock)
            try:
                await workflow.wait_condition(
                    lambda: is_moot() or call_id in steering.settled,
                    timeout=max(timedelta(0), moment.at - workflow.now()),
                    timeout_summary=moment.summary(call_id),
                )
            except TimeoutError:
                if call_id in steering.settled:
                    return  # the decision came in the same workflow task, and was answered: it stands
                request = steering.pending[call_id]
                if moment.what == "expire":
                    steering.settled[call_id] = _expired(request, asked)
                    return
                reason: Reason = "escalated" if moment.what == "escalate" else "reminded"
                steering.pending[call_id] = self._for_signers(after(request, moment), clock)
                workflow.logger.warning(
                    f"request.{reason}",
                    extra={"request_id": call_id, "audience": moment.audience},
                )
                self._notifying.tell(steering.pending[call_id], reason)
                self._presence.show(
                    "waiting_for_human", f"{_what(request)} waits for {moment.audience}"
                )
            else:
                return

    def show_acting(self, turn: int, doing: str = "") -> None:
        """Show what the run does, unless a person has to do something first: then that."""
        if self._steering.pending:
            waiting = ", ".join(self._steering.pending)
            self._presence.show("waiting_for_human", f"requests {waiting}")
        else:
            self._presence.show("acting", doing or f"turn {turn}")


def _opened(call_id: str, call: ToolCall, clock: Approval) -> PendingRequest:
    now = workflow.now()
    return PendingRequest(
        request_id=call_id,
        tool=call.tool,
        arguments=call.arguments,
        arguments_hash=hash_of(call.arguments),
        audience=clock.audience,
        quorum=clock.quorum,
        opened_at=now,
        expires_at=now + timedelta(seconds=clock.expires_s),
    )


def _expired(request: PendingRequest, asked: str) -> SettledRequest:
    """Return how a request ended that nobody settled: of the arguments of the call, not of an edit."""
    return SettledRequest(
        request_id=request.request_id,
        tool=request.tool,
        outcome="expired",
        approved_by=list(filter(None, request.approved_by)),
        edited_by=request.edited_by,
        arguments_hash=asked,
        audience=request.audience,
        at=request.expires_at,
    )


def _what(request: PendingRequest) -> str:
    return request.tool if request.kind == "approval" else f"question {request.request_id}"
