"""A circuit breaker for one model server, shared by all calls of a worker process."""

import time
from collections.abc import Callable
from datetime import timedelta

from outlast.errors import ModelError, ModelFailure

FAILURES = 3
"""Failed calls in a row that open the breaker."""

SESSIONS = 2
"""Sessions whose calls must fail before the breaker opens."""

FIRST_REST_S = 5.0
LONGEST_REST_S = 60.0
"""How long the breaker stays open: at first, and at most. The time doubles after each failed trial call."""

DOWN = frozenset(
    (
        ModelFailure.CONNECTION,
        ModelFailure.TIMEOUT,
        ModelFailure.OVERLOADED,
        ModelFailure.SERVER_ERROR,
    )
)
"""Failures that the server causes, and not the request."""


class Breaker:
    """Counts failures in a row. While it is open, calls fail at once, save one trial call at a time.

    It opens only if calls of at least two sessions failed: a request that breaks the server must not
    stop the requests of others.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._rest_s = FIRST_REST_S
        self._open_until = 0.0
        self._is_trying = False
        self._last_error: ModelError | None = None
        self._sessions: set[str] = set()

    def admit(self) -> None:
        """Let a call pass, or raise the last failure with the time until the next trial call."""
        if self._last_error is None or not self._is_open:
            return
        now = self._clock()
        if now >= self._open_until:
            # This call is the trial. The others wait for its result.
            self._open_until = now + self._rest_s
            self._is_trying = True
            return
        left_s = self._open_until - now
        raise ModelError(
            f"the server failed {self._failures} times in a row; the next call is made in {left_s:.0f} s; "
            f"the last failure: {self._last_error.message}",
            kind=self._last_error.kind,
            retry_after=timedelta(seconds=left_s),
        )

    @property
    def _is_open(self) -> bool:
        return self._failures >= FAILURES and len(self._sessions) >= SESSIONS

    def record_failure(self, error: ModelError, *, session: str) -> None:
        """Count a failure of the server. Any other failure shows that the server is up."""
        if error.kind not in DOWN:
            self.record_success()
            return
        was_open = self._is_open
        self._failures += 1
        self._last_error = error
        if len(self._sessions) < SESSIONS:
            self._sessions.add(session)
        if not self._is_open:
            return
        if self._is_trying:
            self._rest_s = min(2 * self._rest_s, LONGEST_REST_S)
        elif not was_open:
            self._rest_s = FIRST_REST_S
        else:
            # The call started before the breaker opened, and tells nothing new.
            return
        self._is_trying = False
        self._open_until = self._clock() + self._rest_s

    def record_success(self) -> None:
        """Close the breaker."""
        self._failures = 0
        self._is_trying = False
        self._last_error = None
        self._sessions.clear()
