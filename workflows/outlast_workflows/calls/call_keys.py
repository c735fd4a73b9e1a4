"""Idempotency keys of the calls of a run: which ones stay the same if the run, or its caller, is reset."""

from dataclasses import dataclass

from temporalio import workflow

from outlast.temporal.call_headers import CHILD_KEY_HEADER, root_call_id, text_of
from outlast_workflows.calls.call_batch import PlannedCall


@dataclass(frozen=True)
class CallKeys:
    """What begins the keys of one run's calls.

    `own` is of this run alone. `inherited` is of the call that runs this agent, and empty if nobody called
    it: a reset of the caller starts another run of the agent with the same text.
    """

    own: str
    inherited: str = ""

    @property
    def stable(self) -> str:
        """What begins the keys that a reset of a caller repeats; empty in a run of an older build."""
        return self.inherited or self.own

    def key_of(self, call: PlannedCall) -> str:
        """Return the idempotency key of a call, which its companions share.

        A call that can be undone has a key of its run alone. An agent that fails undoes such calls. If
        the next run had the same key, the receiver would return the result of an effect that is gone.
        """
        if call.key:
            return call.key
        base = self.stable if call.tool.compensate is None else self.own
        return f"{base}/{call.place or root_call_id(call.id)}" if base else ""

    def of_child(self, place: str, agent: str) -> str:
        """Return what begins the keys of an agent that a call in this place runs."""
        return f"{self.stable}/{place}-{agent}" if self.stable else ""


def own_key_base() -> str:
    """Return what begins the idempotency keys of a run: the same after a reset, and in the whole chain.

    The runs of a cron schedule and the attempts of a retried run are one chain for the server. Each of them
    makes its calls anew.
    """
    info = workflow.info()
    run_id = workflow.uuid4().hex if _is_repeated() else info.first_execution_run_id
    return f"{info.workflow_id}/{run_id}"


def inherited_key_base() -> str:
    """Return what the caller of this run gave it, or an empty text."""
    info = workflow.info()
    if info.parent is None or _is_repeated():
        return ""
    return text_of(info.headers.get(CHILD_KEY_HEADER))


def _is_repeated() -> bool:
    info = workflow.info()
    return bool(info.cron_schedule) or info.attempt > 1
