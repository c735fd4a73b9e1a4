"""The waits of a run: the run describes each one, and its next activity makes the span.

No workflow makes spans, because a replay repeats them. An activity for each wait would be an action more.
So the descriptions travel in a header of the next activity that the run starts in any case. Workflows
import this module, so it imports nothing of OpenTelemetry.
"""

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Final

from pydantic import TypeAdapter, ValidationError

from outlast.contracts.base import WireModel
from outlast.text.texts import cut

WAITS_HEADER: Final = "outlast-trace-waits"
"""Header of an activity, a child or the next run of a chain: the waits whose spans are still to be made."""

TASK_HEADER: Final = "outlast-trace-task"
"""Header of an activity or a child: the place of the pipeline's task that starts it."""

CURRENT_TASK: ContextVar[str] = ContextVar("current_task", default="")
"""The place of the task that runs: in a pipeline, and in the activities that it starts."""

MAX_WAITS = 16
"""Waits that one header describes, because a history records it. A trace lacks the others."""

MAX_WAIT_NAME_BYTES = 100
"""Bytes of the name of a wait and of its key."""


class Wait(WireModel):
    """A wait that has ended, as its span describes it. `key` names it within its run."""

    name: str
    key: str
    began_ns: int
    ended_ns: int
    traceparent: str
    """The span of the run, which is the parent."""
    workflow_id: str
    run_id: str
    attributes: dict[str, str] = {}


_WAITS: TypeAdapter[list[Wait]] = TypeAdapter(list[Wait])


class WaitLog:
    """The waits of one run whose spans are still to be made, at most `MAX_WAITS`.

    `count` is the number of waits of the run so far.
    """

    def __init__(
        self, traceparent: str, workflow_id: str, run_id: str, earlier: Iterable[Wait] = ()
    ) -> None:
        self._traceparent = traceparent
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._waits = list(earlier)
        self.count = 0

    def add(
        self,
        name: str,
        key: str,
        *,
        began_ns: int,
        ended_ns: int,
        attributes: Mapping[str, str],
    ) -> None:
        """Add a wait that has ended."""
        self.count += 1
        if not self._traceparent or len(self._waits) >= MAX_WAITS:
            return
        wait = Wait(
            name=cut(name, MAX_WAIT_NAME_BYTES),
            key=cut(key, MAX_WAIT_NAME_BYTES),
            began_ns=began_ns,
            ended_ns=max(began_ns, ended_ns),
            traceparent=self._traceparent,
            workflow_id=self._workflow_id,
            run_id=self._run_id,
            attributes={each: value for each, value in attributes.items() if value},
        )
        self._waits.append(wait)

    def take(self) -> bytes:
        """Return the waits so far as JSON, and forget them. Without waits, it is empty."""
        if not self._waits:
            return b""
        waits, self._waits = self._waits, []
        return _WAITS.dump_json(waits)


WAIT_LOG: ContextVar[WaitLog | None] = ContextVar("wait_log", default=None)
"""The log of the current run, or None without a collector."""


def waits_in(data: bytes) -> list[Wait]:
    """Return the waits in a header. One that cannot be read is as none."""
    try:
        return _WAITS.validate_json(data)[:MAX_WAITS] if data else []
    except ValidationError:
        return []


def nanoseconds(moment: datetime) -> int:
    """Return a moment as spans have it. Moments of Temporal have microseconds."""
    return int(moment.timestamp() * 1_000_000) * 1_000
