"""A breaker for one server: what just failed for everybody is not asked by each for itself."""

import time
from collections.abc import Callable
from datetime import timedelta

from outlast.errors import ModelError, ModelFailure

FAILURES = 3
"""Calls that fail in a row before the server is left alone: one may be bad luck."""

FIRST_REST_S = 5.0
LONGEST_REST_S = 60.0
"""How long it is left alone: at first, and at most, when each look finds it down still."""

DOWN = frozenset(
    (
        ModelFailure.CONNECTION,
        ModelFailure.TIMEOUT,
        ModelFailure.OVERLOADED,
        ModelFailure.SERVER_ERROR,
    )
)
"""Failures that say something of the server and nothing of the request."""


class Breaker:
    """Counts failures in a row; when open, one call at a time is let through to look."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._rest_s = FIRST_REST_S
        self._closed_at = 0.0
        self._looking = False
        self._last: ModelError | None = None

    def admit(self) -> None:
        """Let a call through, or raise what the last one failed with and when to come again."""
        if self._last is None or self._failures < FAILURES:
            return
        now = self._clock()
        if now >= self._closed_at:
            # This call looks; the others wait for what it finds.
            self._closed_at = now + self._rest_s
            self._looking = True
            return
        left = self._closed_at - now
        raise ModelError(
            f"not asked for {left:.0f} s, it failed {self._failures} times in a row: "
            f"{self._last.message}",
            kind=self._last.kind,
            retry_after=timedelta(seconds=left),
        )

    def failed(self, error: ModelError) -> None:
        """Count a failure that is the server's; any other shows that it is there."""
        if error.kind not in DOWN:
            self.succeeded()
            return
        self._failures += 1
        self._last = error
        if self._looking:
            self._rest_s = min(2 * self._rest_s, LONGEST_REST_S)
        elif self._failures == FAILURES:
            self._rest_s = FIRST_REST_S
        elif self._failures > FAILURES:
            # It was in flight when the breaker opened, and says nothing new.
            return
        self._looking = False
        self._closed_at = self._clock() + self._rest_s

    def succeeded(self) -> None:
        """Forget the failures."""
        self._failures = 0
        self._looking = False
        self._last = None
