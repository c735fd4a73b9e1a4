"""Human requests: approvals and questions, which wait for people until they are settled or expire."""

from collections.abc import Mapping
from datetime import timedelta

from pydantic import JsonValue
from temporalio import workflow

from outlast.contracts.agents import ToolSpec
from outlast.contracts.human import Approval, PendingRequest, SettledRequest, hash_of
from outlast.contracts.notices import Reason
from outlast.contracts.proofs import CallProof
from outlast.errors import ToolFailed
from outlast.jsonschema.schemas import Schema
from outlast.text.texts import cut
from outlast_workflows.calls.call_batch import PlannedCall
from outlast_workflows.people.escalation import after_step, next_step
from outlast_workflows.people.notifications import Notifications
from outlast_workflows.run_display import RunDisplay
from outlast_workflows.run_metrics import count_request, record_request
from outlast_workflows.run_waits import trace_request
from outlast_workflows.state import InboundState
from outlast_workflows.step_failures import error_of_result
from outlast_workflows.time_limits import SHORTEST_TIMER_S

EXPIRY_PATCH = "expiry-leaves-a-timer"

MAX_DECISIONS = 100
"""Settled requests that a result lists."""

MAX_CALL_ERROR_BYTES = 200
"""Bytes of an approved call's error in a settled request. The transcript has all of it."""


class HumanRequests:
    """The human requests of one run.

    A request is in `pending` from its opening until the call that waits for it goes on. The handler of
    `decide` moves it on: it counts votes in `pending`, and writes `settled`, `edits` and `answers`. The
    waiting call reads `settled` first and removes its own entries, so a decision counts once.
    """

    def __init__(
        self,
        inbound: InboundState,
        display: RunDisplay,
        notifications: Notifications,
        keys: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._inbound = inbound
        self._display = display
        self._notifications = notifications
        self._keys = keys
        self._proofs: dict[str, CallProof] = {}

    def is_approved(self, call_id: str) -> bool:
        """Return whether people approved a call."""
        settled = self._inbound.settled.get(call_id)
        return settled is not None and settled.outcome == "approved"

    async def approve(
        self, call: PlannedCall, approval: Approval
    ) -> tuple[SettledRequest | None, dict[str, JsonValue] | None]:
        """Ask whether a call may be made; return the outcome, and the arguments if people edited them.

        The outcome is None if the request is moot: another call of the batch ends the run.
        """
        settled = await self._wait_for_outcome(_new_request(call, approval), call, approval)
        edited = self._inbound.edits.pop(call.id, None)
        self._display.show_acting()
        if settled is None or settled.outcome == "expired":
            return settled, None
        return settled, edited

    def note_call_error(self, call_id: str, content: str) -> None:
        """Record the error that an approved call returned, for those who approved it."""
        settled, error = self._inbound.settled.get(call_id), error_of_result(content)
        if settled is not None and error:
            error = cut(error, MAX_CALL_ERROR_BYTES)
            self._inbound.settled[call_id] = settled.model_copy(update={"call_error": error})

    def take_proof(self, call_id: str) -> CallProof | None:
        """Return the signed votes of a settled request, once, or None if its audience does not sign."""
        return self._proofs.pop(call_id, None)

    async def ask(
        self, call: PlannedCall, question: str | None = None
    ) -> tuple[SettledRequest | None, JsonValue]:
        """Ask a question; return the outcome, and the answer if there is one.

        Without a `question`, the question is an argument of the call.
        """
        tool = call.tool
        if tool.approval is None:
            raise ToolFailed(
                f"{tool.name} (call {call.id}): a question needs approval=, which names the audience"
            )
        request = _new_request(call, tool.approval).model_copy(
            update={
                "kind": "question",
                "question": question or str(call.arguments.get("question", "")),
                "answer_schema": tool.answer_schema,
            }
        )
        settled = await self._wait_for_outcome(request, call, tool.approval)
        answer = self._inbound.answers.pop(call.id, None)
        self._display.show_acting()
        return settled, answer

    async def ask_about(
        self, call: PlannedCall, *, question: str, answer_schema: Schema, audience: str
    ) -> tuple[SettledRequest | None, JsonValue]:
        """Ask people of an audience a question of outlast itself about a call."""
        tool = ToolSpec(
            name=call.tool.name,
            parameters={},
            kind="question",
            approval=Approval(audience=audience),
            answer_schema=answer_schema,
        )
        return await self.ask(PlannedCall(call.id, tool, call.call, call.batch), question)

    async def _wait_for_outcome(
        self, request: PendingRequest, call: PlannedCall, approval: Approval
    ) -> SettledRequest | None:
        pending = self._inbound.pending
        request = self._display.with_reason(request, call.tool)
        pending[call.id] = request = self._with_signers(request, approval)
        self._show_waiting(request)
        self._notifications.send(request, "opened")
        count_request(request)
        try:
            await self._wait(call, approval)
        finally:
            settled = self._inbound.settled.get(call.id)
            record_request(request, settled)
            trace_request(pending[call.id], settled)
            nonce = pending.pop(call.id).nonce
            votes = tuple(self._inbound.votes.pop(call.id, ()))
            if nonce:
                self._proofs[call.id] = CallProof(nonce=nonce, votes=votes)
        return self._inbound.settled.get(call.id)

    def _with_signers(self, request: PendingRequest, approval: Approval) -> PendingRequest:
        """Return a request with its signers and its nonce, if its audiences decide by signature."""
        if not any(audience in self._keys for audience in approval.audiences):
            return request
        nonce = request.nonce or workflow.uuid4().hex
        signers = sorted(self._keys.get(request.audience, {}))
        update: dict[str, object] = {"signers": signers, "nonce": nonce}
        if signers and not request.signers:
            update["approved_by"] = []  # votes without a signature do not count any more
        return request.model_copy(update=update)

    async def _wait(self, call: PlannedCall, approval: Approval) -> None:
        """Wait until a request is settled or moot, and settle it as expired when its time is over.

        Cancellation while it waits: the error passes through, and `_wait_for_outcome` removes the request.
        """
        pending, settled = self._inbound.pending, self._inbound.settled
        opened_hash = pending[call.id].arguments_hash
        while True:  # bounded: reminders and escalations are, and then the request expires
            step = next_step(pending[call.id], approval)
            try:
                # The handler of `decide` runs meanwhile, and changes the request. So it is read anew from
                # `pending` after the wait.
                await workflow.wait_condition(
                    lambda: call.batch.is_broken or call.id in settled,
                    timeout=max(timedelta(0), step.at - workflow.now()),
                    timeout_summary=step.summary(pending[call.id]),
                )
            except TimeoutError:
                if call.id in settled:
                    return  # the decision came in the workflow task of the timeout, and was accepted
                if step.kind == "expire":
                    settled[call.id] = _expired_outcome(pending[call.id], opened_hash)
                    await _leave_a_command(call.id)
                    return
                pending[call.id] = self._with_signers(after_step(pending[call.id], step), approval)
                self._remind(
                    pending[call.id], "escalated" if step.kind == "escalate" else "reminded"
                )
            else:
                return

    def _remind(self, request: PendingRequest, reason: Reason) -> None:
        workflow.logger.warning(
            f"request.{reason}",
            extra={"request_id": request.request_id, "audience": request.audience},
        )
        self._notifications.send(request, reason)
        self._show_waiting(request)

    def _show_waiting(self, request: PendingRequest) -> None:
        subject = request.tool if request.kind == "approval" else f"question {request.request_id}"
        self._display.show("waiting_for_human", f"{subject} waits for {request.audience}")


async def _leave_a_command(request_id: str) -> None:
    """Start a timer, so that the history shows where a request expired.

    The SDK takes workflow tasks without any command for one when it replays. Then a decision that came
    after the expiry could come before it, and a late approval would count.
    """
    if workflow.patched(EXPIRY_PATCH):
        # Handlers run meanwhile. The request is settled already, so a decision about it is rejected.
        await workflow.sleep(SHORTEST_TIMER_S, summary=f"request {request_id} has expired")


def _new_request(call: PlannedCall, approval: Approval) -> PendingRequest:
    now = workflow.now()
    return PendingRequest(
        request_id=call.id,
        tool=call.tool.name,
        arguments=call.arguments,
        arguments_hash=hash_of(call.arguments),
        audience=approval.audience,
        quorum=approval.quorum,
        opened_at=now,
        expires_at=now + timedelta(seconds=approval.expires_s),
    )


def _expired_outcome(request: PendingRequest, opened_hash: str) -> SettledRequest:
    """Return the outcome of an expired request: about the arguments of the call, not of an edit."""
    return SettledRequest(
        request_id=request.request_id,
        tool=request.tool,
        outcome="expired",
        approved_by=list(filter(None, request.approved_by)),
        edited_by=request.edited_by,
        arguments_hash=opened_hash,
        audience=request.audience,
        at=request.expires_at,
    )
