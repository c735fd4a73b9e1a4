"""The last reading of each queried target. One poll serves all callers."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from outlast_workers.demand.demand_query import Reading, Target
from outlast_workers.demand.temporal_source import ReadingFailed, Source

READING_TIMEOUT_S = 20.0
"""A reading takes three to six calls. It takes more pages only with thousands of workers."""

MAX_CONCURRENT_READINGS = 10
"""A bound on concurrent readings, so that a poll is not a burst of calls."""

FORGET_AFTER_S = 600.0
"""Scalers query every few seconds or minutes. A target without a query for so long is dropped."""

MAX_QUERIED_TARGETS = 500
"""A bound on targets that are kept because of a query, so that invented names use no more memory."""

log = structlog.get_logger("outlast.demand")


@dataclass(frozen=True)
class CachedReading:
    """A reading, its age, and the reason why there is no newer one."""

    reading: Reading
    age_s: float
    error: str | None


@dataclass
class _Entry:
    queried_at: float
    queries: int = 0
    reading: Reading | None = None
    read_at: float = 0.0
    error: str | None = None
    task: asyncio.Task[None] | None = None


class ReadingCache:
    """Polls for the `watched` targets and for those queried lately, and keeps their last readings.

    A reading is returned until it is `keep_s` old, even while the server does not answer.
    """

    def __init__(
        self,
        source: Source,
        *,
        watched: Iterable[Target] = (),
        poll_s: float,
        keep_s: float,
        only_watched: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._poll_s = poll_s
        self._keep_s = keep_s
        self._clock = clock
        self._watched = frozenset(watched)
        self._only_watched = only_watched
        self._entries = {target: _Entry(queried_at=clock()) for target in self._watched}
        # Queries for unknown names must not delay the readings of the watched targets.
        self._watched_slots = asyncio.Semaphore(MAX_CONCURRENT_READINGS)
        self._other_slots = asyncio.Semaphore(MAX_CONCURRENT_READINGS)
        self._poll_ended = asyncio.Event()
        self.is_closed = False

    @property
    def watched(self) -> tuple[Target, ...]:
        """The targets that are polled even without a query, sorted by name."""
        return tuple(target for target in self.targets if target in self._watched)

    def admits(self, target: Target) -> bool:
        """Return whether the demand of a target may be queried."""
        return not self._only_watched or target in self._watched

    @property
    def targets(self) -> tuple[Target, ...]:
        """The polled targets, sorted by name."""
        return tuple(
            sorted(
                self._entries,
                key=lambda target: (target.task_queue, target.deployment, target.build_id),
            )
        )

    async def run(self) -> None:
        """Poll until cancelled."""
        try:
            while True:  # ends with the process
                self._forget_unused()
                await asyncio.gather(*map(self._refresh, self.targets))
                self._poll_ended.set()
                self._poll_ended = asyncio.Event()
                await asyncio.sleep(self._poll_s)
        finally:
            self.is_closed = True
            self._poll_ended.set()

    async def next_poll(self) -> None:
        """Wait until the next poll has ended, or until the cache is closed."""
        await self._poll_ended.wait()

    async def latest(self, target: Target) -> CachedReading:
        """Return the last reading, and keep polling for it; raises `ReadingFailed` as `peek` does.

        All callers that query a new target wait for the same first reading.
        """
        entry = self._queried(target)
        if entry.reading is None and entry.error is None:
            # Shielded: a cancelled caller must not cancel the reading of the others.
            await asyncio.shield(self._refresh(target))
        return self.peek(target)

    def peek(self, target: Target) -> CachedReading:
        """Return the last reading; raises `ReadingFailed` if there is none, or if it is too old."""
        entry = self._entries.get(target)
        if entry is None or entry.reading is None:
            raise ReadingFailed((entry and entry.error) or "there is no reading yet")
        age_s = self._clock() - entry.read_at
        if age_s > self._keep_s:
            raise ReadingFailed(
                f"the last reading is {age_s:.0f} s old: {entry.error or 'polls are late'}"
            )
        return CachedReading(entry.reading, age_s, entry.error)

    def readings(self) -> list[Reading]:
        """Return the last reading of every target for which `peek` returns one, oldest first."""
        readings: list[Reading] = []
        for target in self._entries:
            with contextlib.suppress(ReadingFailed):
                readings.append(self.peek(target).reading)
        return sorted(readings, key=lambda reading: reading.as_of)

    def age_s(self, target: Target) -> float | None:
        """Return the age of the last reading, or None if there is none."""
        entry = self._entries.get(target)
        return None if entry is None or entry.reading is None else self._clock() - entry.read_at

    def _queried(self, target: Target) -> _Entry:
        entry = self._entries.get(target)
        if entry is None:
            queried = self._entries.keys() - self._watched
            if len(queried) >= MAX_QUERIED_TARGETS:
                del self._entries[min(queried, key=self._use_of)]
            entry = self._entries[target] = _Entry(queried_at=self._clock())
        entry.queried_at = self._clock()
        entry.queries += 1
        return entry

    def _use_of(self, target: Target) -> tuple[bool, float]:
        """Return how useful a target is. A scaler queries again and again, and a scan only once."""
        entry = self._entries[target]
        return entry.queries > 1, entry.queried_at

    def _forget_unused(self) -> None:
        since = self._clock() - FORGET_AFTER_S
        for target in self._entries.keys() - self._watched:
            if self._entries[target].queried_at < since:
                del self._entries[target]

    def _refresh(self, target: Target) -> asyncio.Task[None]:
        """Return the task that reads a target, and start one if none is running."""
        entry = self._entries[target]
        if entry.task is None or entry.task.done():
            entry.task = asyncio.create_task(self._read(target, entry))
        return entry.task

    async def _read(self, target: Target, entry: _Entry) -> None:
        is_watched = target in self._watched
        async with self._watched_slots if is_watched else self._other_slots:
            started_at = self._clock()
            try:
                async with asyncio.timeout(READING_TIMEOUT_S):
                    entry.reading = await self._source.read(target)
            except (ReadingFailed, TimeoutError) as error:
                reason = str(error) or "Temporal does not answer"
                if entry.error is None:
                    log.warning("demand.read_failed", task_queue=target.task_queue, reason=reason)
                entry.error = reason
                return
        if entry.error is not None:
            log.info("demand.read_recovered", task_queue=target.task_queue)
        entry.read_at, entry.error = started_at, None
