"""Leases: how long an attempt of a tool call may believe that it is the only one."""

import time

from outlast.errors import AttemptLost


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

    def check(self) -> None:
        """Raise `AttemptLost` if the server has given the attempt up."""
        if self.is_lost:
            raise AttemptLost(
                "this attempt sent no heartbeat for too long, so another worker may make the call:"
                " stop here"
            )


def _now() -> float:
    """Return seconds that go on while a process is frozen, and while a machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if _HAS_BOOTTIME else time.monotonic()


_HAS_BOOTTIME = hasattr(time, "CLOCK_BOOTTIME")
