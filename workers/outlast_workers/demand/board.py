"""The last reading of each target that is asked for, renewed by one poll for all who ask."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from outlast_workers.demand.demand import Reading, Target
from outlast_workers.demand.reading import NotRead, Source

READ_WITHIN_S = 20.0
"""A reading is three to six calls, and more pages only where there are thousands of workers."""

READ_AT_ONCE = 10
"""Readings under way together: a poll is not a burst."""

FORGOTTEN_AFTER_S = 600.0
"""Scalers ask every few seconds, or minutes; who has not asked for so long does not ask any more."""

MAX_ASKED = 500
"""Targets that are kept because somebody asked: names that a stranger invents use no more memory."""

log = structlog.get_logger("outlast.demand")


@dataclass(frozen=True)
class Latest:
    """A reading, its age, and why there is no newer one."""

    reading: Reading
    age_s: float
    error: str | None


@dataclass
class _Entry:
    asked_at: float
    reading: Reading | None = None
    read_at: float = 0.0
    error: str | None = None
    under_way: asyncio.Task[None] | None = None


class Board:
    """Keeps readings of the targets that are `watched` or were asked for lately.

    A reading is given out until it is `keep_s` old, however the server is.
    """

    def __init__(
        self,
        source: Source,
        *,
        watched: Iterable[Target] = (),
        poll_s: float,
        keep_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._poll_s = poll_s
        self._keep_s = keep_s
        self._clock = clock
        self._watched = frozenset(watched)
        self._entries = {target: _Entry(asked_at=clock()) for target in self._watched}
        self._places = asyncio.Semaphore(READ_AT_ONCE)
        self._polled = asyncio.Event()
        self.is_closed = False

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is polled for, in order of name."""
        return tuple(
            sorted(self._entries, key=lambda one: (one.task_queue, one.deployment, one.build_id))
        )

    async def run(self) -> None:
        """Poll until cancelled."""
        try:
            while True:
                self._forget()
                await asyncio.gather(*map(self._renewed, self.targets))
                self._polled.set()
                self._polled = asyncio.Event()
                await asyncio.sleep(self._poll_s)
        finally:
            self.is_closed = True
            self._polled.set()

    async def next_poll(self) -> None:
        """Wait until the poll that is next has ended, or there will be none."""
        await self._polled.wait()

    async def latest(self, target: Target) -> Latest:
        """Return the last reading, and go on polling for it; raises `NotRead` as `peek` does.

        All who ask for a target that was never read wait for the same first reading.
        """
        entry = self._asked(target)
        if entry.reading is None and entry.error is None:
            # Shielded: who goes away takes the reading from nobody else.
            await asyncio.shield(self._renewed(target))
        return self.peek(target)

    def peek(self, target: Target) -> Latest:
        """Return the last reading; raises `NotRead` where there is none, or none young enough."""
        entry = self._entries.get(target)
        if entry is None or entry.reading is None:
            raise NotRead((entry and entry.error) or "there is no reading yet")
        age_s = self._clock() - entry.read_at
        if age_s > self._keep_s:
            raise NotRead(
                f"the last reading is {age_s:.0f} s old: {entry.error or 'polls are late'}"
            )
        return Latest(entry.reading, age_s, entry.error)

    def readings(self) -> list[Reading]:
        """Return the last reading of every target that `peek` has one of, oldest first."""
        found: list[Reading] = []
        for target in self._entries:
            with contextlib.suppress(NotRead):
                found.append(self.peek(target).reading)
        return sorted(found, key=lambda reading: reading.as_of)

    def age_s(self, target: Target) -> float | None:
        """Return how old the last reading is, or None."""
        entry = self._entries.get(target)
        return None if entry is None or entry.reading is None else self._clock() - entry.read_at

    def _asked(self, target: Target) -> _Entry:
        entry = self._entries.get(target)
        if entry is None:
            asked = self._entries.keys() - self._watched
            if len(asked) >= MAX_ASKED:
                del self._entries[min(asked, key=lambda one: self._entries[one].asked_at)]
            entry = self._entries[target] = _Entry(asked_at=self._clock())
        entry.asked_at = self._clock()
        return entry

    def _forget(self) -> None:
        since = self._clock() - FORGOTTEN_AFTER_S
        for target in self._entries.keys() - self._watched:
            if self._entries[target].asked_at < since:
                del self._entries[target]

    def _renewed(self, target: Target) -> asyncio.Task[None]:
        """Return the reading of a target that is under way, begun here if there was none."""
        entry = self._entries[target]
        if entry.under_way is None or entry.under_way.done():
            entry.under_way = asyncio.create_task(self._renew(target, entry))
        return entry.under_way

    async def _renew(self, target: Target, entry: _Entry) -> None:
        async with self._places:
            began = self._clock()
            try:
                async with asyncio.timeout(READ_WITHIN_S):
                    entry.reading = await self._source.read(target)
            except (NotRead, TimeoutError) as error:
                reason = str(error) or "Temporal does not answer"
                if entry.error is None:
                    log.warning("demand.not_read", task_queue=target.task_queue, reason=reason)
                entry.error = reason
                return
        if entry.error is not None:
            log.info("demand.read_again", task_queue=target.task_queue)
        entry.read_at, entry.error = began, None
