"""Idempotency keys of tool calls."""

from temporalio import activity

from outlast.call_proof import CALL_PROOF

UNDO_SUFFIX = ".undo"
VERIFY_SUFFIX = ".verify"
"""Suffixes that a companion tool's call adds to the id of the call that it belongs to."""


def idempotency_key() -> str:
    """Return the key of the current tool call, which is the same in all of its attempts.

    Pass it to the system that a `write` changes, so that the system can recognise a repetition. A
    `compensate` or `verify` tool gets the key of the call that it belongs to. Outside of a run the key is
    empty.
    """
    if not activity.in_activity():
        return ""
    info = activity.info()
    call_id = info.activity_id.removesuffix(UNDO_SUFFIX).removesuffix(VERIFY_SUFFIX)
    proof = CALL_PROOF.get()
    if proof is not None and proof.nonce:
        # A reset of the run repeats the nonce: a signature pays once.
        return f"{info.workflow_id}/{proof.nonce}/{call_id}"
    return f"{info.workflow_id}/{info.workflow_run_id}/{call_id}"
