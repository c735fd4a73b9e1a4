"""Idempotency keys of tool calls, and the lease of the attempt that may use them."""

import json
import time
from contextvars import ContextVar

from temporalio import activity
from temporalio.api.common.v1 import Payload

from outlast.call_proof import CALL_PROOF
from outlast.errors import AttemptLost

UNDO_SUFFIX = ".undo"
VERIFY_SUFFIX = ".verify"
"""Suffixes that a companion tool's call adds to the id of the call that it belongs to."""

KEY_HEADER = "outlast-idempotency-key"
"""The header with which the run passes the key to the worker of a tool."""

CALL_KEY: ContextVar[str] = ContextVar("idempotency_key", default="")
"""The key of the current call: the run sets it for the header, and the worker from it."""


class Lease:
    """The time for which the server believes that an attempt runs: until its heartbeats stop.

    A worker that was frozen for longer goes on with calls that another worker makes again.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._renewed_at = _now()
        self._is_lost = False

    def renew(self) -> None:
        """Note a heartbeat. A lease that has expired stays expired."""
        self._is_lost = self.is_lost
        self._renewed_at = _now()

    @property
    def is_lost(self) -> bool:
        """Whether the server has given the attempt up."""
        return self._is_lost or _now() - self._renewed_at > self._timeout_s


LEASE: ContextVar[Lease | None] = ContextVar("lease", default=None)
"""The lease of the current attempt, if it sends heartbeats. The worker sets it during a call."""


def check_lease() -> None:
    """Raise `AttemptLost` if the server has given the current attempt up."""
    lease = LEASE.get()
    if lease is not None and lease.is_lost:
        raise AttemptLost(
            "this attempt sent no heartbeat for too long, so another worker may make the call: stop here"
        )


def idempotency_key() -> str:
    """Return the key of the current tool call, which is the same in all of its attempts.

    Pass it to the system that a `write` changes, so that the system can recognise a repetition. A
    `compensate` or `verify` tool gets the key of the call that it belongs to. The key is also the same
    after the run continued as new or was reset. Outside of a run the key is empty. Raises `AttemptLost` if
    the worker was frozen for so long that another one may make the call.
    """
    if not activity.in_activity():
        return ""
    check_lease()
    if key := CALL_KEY.get():
        return key
    info = activity.info()
    proof = CALL_PROOF.get()
    run_id = info.workflow_run_id if proof is None or not proof.nonce else proof.nonce
    return f"{info.workflow_id}/{run_id}/{root_call_id(info.activity_id)}"


def root_call_id(call_id: str) -> str:
    """Return the id of the call that a companion's call belongs to, or the id itself."""
    return call_id.removesuffix(UNDO_SUFFIX).removesuffix(VERIFY_SUFFIX)


def key_payload(key: str) -> Payload:
    """Return a key as the payload of a header."""
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(key).encode())


def key_of(payload: Payload | None) -> str:
    """Return the key of a header, or nothing if there is none that can be read."""
    try:
        key = json.loads(payload.data) if payload is not None else ""
    except ValueError:
        return ""
    return key if isinstance(key, str) else ""


def _now() -> float:
    """Return seconds that go on while a process is frozen, and while a machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if _HAS_BOOTTIME else time.monotonic()


_HAS_BOOTTIME = hasattr(time, "CLOCK_BOOTTIME")
