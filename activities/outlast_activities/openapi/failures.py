"""What a failed call of an HTTP API means: the model reads it, another attempt follows, or nobody knows."""

from collections.abc import Callable
from http import HTTPStatus

from outlast.contracts.effects import EFFECTFUL, Effect
from outlast.errors import ConnectionLost, Failure, ToolError
from outlast.text.texts import cut
from outlast_activities.openapi.answers import Answer
from outlast_activities.policies.attempts import TOOL_ATTEMPTS, backoff
from outlast_activities.providers.error_bodies import words_of
from outlast_activities.providers.error_classes import retry_after

MAX_ERROR_BYTES = 4_000
"""Bytes of the error of a call that the model reads."""

MAX_REASON_BYTES = 300
"""Bytes of the reason of a lost connection."""

NOT_TAKEN = (408, 425, 429)
"""Statuses with which a server says that it did not begin the call, and may take it later."""

NEVER = (501, 505, 508, 510)
"""Statuses of servers that another attempt does not change."""


class CallFailures:
    """The failures of one attempt of a call."""

    def __init__(
        self, tool: str, effect: Effect, attempt: int, clean: Callable[[str], str]
    ) -> None:
        self._tool = tool
        self._changes = effect in EFFECTFUL
        self._attempt = attempt
        self._is_last = attempt >= TOOL_ATTEMPTS[effect]
        self._clean = clean

    def check(self, answer: Answer) -> None:
        """Raise for an answer that is an error."""
        status = answer.status
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            reason = (
                f"the server answered {status}, a redirect to another place that is not followed"
            )
            raise self.rejected(reason, status)
        words = words_of(answer.error_body())
        reason = f"the server answered {status}" + (f": {words}" if words else "")
        if status in NOT_TAKEN:
            raise self._not_made(reason, status, answer)
        if status < 500 or status in NEVER:
            raise self.rejected(reason, status)
        raise self._may_have_happened(reason, status, answer)

    def rejected(self, reason: str, status: int = HTTPStatus.BAD_REQUEST) -> Failure:
        """Return the failure of a call that the server rejects. The model reads it."""
        return self._final(f"{self._tool}: {self._line(reason, MAX_ERROR_BYTES)}", status)

    def unreadable(self, reason: str) -> Failure:
        """Return the failure of a call that has happened, and whose result cannot be read."""
        happened = "the call has happened, but " if self._changes else ""
        line = self._line(reason, MAX_REASON_BYTES)
        return self._final(f"{self._tool}: {happened}{line}", HTTPStatus.BAD_GATEWAY)

    def not_sent(self, reason: str) -> Failure:
        """Return the failure of a call that did not reach the server."""
        return self._not_made(
            f"the server cannot be reached: {reason}", HTTPStatus.SERVICE_UNAVAILABLE, None
        )

    def lost(self, reason: str, status: int = HTTPStatus.SERVICE_UNAVAILABLE) -> Failure:
        """Return the failure of a call whose answer did not arrive."""
        return self._may_have_happened(f"the server did not answer: {reason}", status, None)

    def _final(self, text: str, status: int) -> Failure:
        """Return a failure that is not retried, and whose outcome is known."""
        del status
        return ToolError(text)

    def _unknown(self, text: str, status: int) -> Failure:
        """Return the failure of a call that may have happened."""
        del status
        return ConnectionLost(text)

    def _not_made(self, reason: str, status: int, answer: Answer | None) -> Failure:
        if self._changes or self._is_last:
            return self.rejected(f"the call was not made: {reason}", status)
        return self._again(reason, answer)

    def _may_have_happened(self, reason: str, status: int, answer: Answer | None) -> Failure:
        if self._changes:
            line = self._line(reason, MAX_REASON_BYTES)
            return self._unknown(f"{self._tool}: {line}; the call may have happened", status)
        return self.rejected(reason, status) if self._is_last else self._again(reason, answer)

    def _again(self, reason: str, answer: Answer | None) -> Failure:
        wait = None if answer is None else retry_after(answer.headers)
        return ConnectionLost(
            f"{self._tool}: {self._line(reason, MAX_REASON_BYTES)}",
            retryable=True,
            retry_after=None if wait is None else max(wait, backoff(self._attempt)),
        )

    def _line(self, text: str, most_bytes: int) -> str:
        return cut(self._clean(text), most_bytes)
