"""Feeds of runs: one reader of a run, however many clients follow it.

Each query of a run costs its worker time and, on Temporal Cloud, money. So the clients that follow one run
share one reader, which ends when the last of them leaves.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import structlog

from outlast.client.client import Client
from outlast.client.run_connection import RunConnection
from outlast.client.runs import Run
from outlast.client.streams import POLL_INTERVAL, stream_entries
from outlast.client.text_deltas import WRITES_WITHIN_S
from outlast.errors import InternalError, OutlastError, RunFailed, Unavailable
from outlast_workers.gateway.answer_cursor import AnswerCursor, Place
from outlast_workers.gateway.answer_hub import AnswerHub, HubAnswer
from outlast_workers.gateway.run_events import EventReader, RunEvent

BEGIN = Place()
"""The place of a client that has seen nothing."""

MAX_FEEDS = 1_000
"""Runs that are followed at the same time."""

log = structlog.get_logger("outlast.gateway")


class TooManyFeeds(OutlastError):
    """Raised if a further run cannot be followed now."""


class GatewayStops(Unavailable):
    """Raised in calls that follow a run when the gateway stops: repeat the call later."""


class RunFeed:
    """The events of one run so far. Clients read them from any position, and wait for more."""

    def __init__(self, run: RunConnection, hub: AnswerHub) -> None:
        self.events: list[RunEvent] = []
        self.version = 0
        self.error: OutlastError | None = None
        self.has_ended = False
        self.readers = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._look = asyncio.Event()
        self._reader = EventReader()
        self.task = asyncio.create_task(self._read(run, hub))

    @property
    def position(self) -> int:
        """The number of transcript entries so far."""
        return self._reader.position

    async def _read(self, run: RunConnection, hub: AnswerHub) -> None:
        reader = self._reader
        try:
            with hub.watch(run.id, lambda: self._note_text(hub.get(run.id))):
                entries = stream_entries(
                    run, POLL_INTERVAL, self._look, lambda: self._pause_s(hub.get(run.id))
                )
                async with aclosing(entries):
                    async for entry in entries:
                        self._add(*reader.read(entry))
            try:
                self._add(reader.ended(await run.result()))
            except RunFailed as failed:
                self._add(reader.ended(failed))
        except OutlastError as error:
            self.error = error
        except Exception as error:  # without an error, clients would take the run for ended
            log.exception("feed.failed", workflow_id=run.id)
            self.error = InternalError(f"outlast has a bug: {type(error).__name__}; see the log")
        finally:
            self.has_ended = True
            self._wake()

    def _add(self, *events: RunEvent) -> None:
        self.events.extend(events)
        self._wake()

    def _wake(self) -> None:
        self.version += 1
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            _release(waiter)

    def _note_text(self, answer: HubAnswer | None) -> None:
        """Wake the clients for new text, and read the entries before it, or after its end."""
        if answer is not None and (answer.entry > self.position or answer.has_ended):
            self.look()
        self._wake()

    def _pause_s(self, answer: HubAnswer | None) -> float:
        """Return how long nobody queries the run: while a model writes its next entry.

        The hub shows when the model call has ended.
        """
        if answer is None or answer.has_ended or answer.entry != self.position:
            return 0.0
        return answer.changed_at + WRITES_WITHIN_S - time.monotonic()

    def look(self) -> None:
        """Read what is new in the run now."""
        self._look.set()

    def stop(self) -> None:
        """End the feed for all of its clients."""
        self.error = GatewayStops("the gateway stops: repeat the call later")
        self.task.cancel()

    def since(self, after: int) -> list[RunEvent]:
        """Return the events so far after the position `after`, and what the run waits for now."""
        durable = [event for event in self.events if event.is_durable and event.is_news(after)]
        return durable if self.has_ended else [*durable, *self._reader.waiting.values()]

    async def wait(self, version: int, timeout_s: float) -> bool:
        """Wait for a change after a version, such as an event; return False after `timeout_s`."""
        if self.version != version or self.has_ended:
            return True
        # A plain future: a busy run wakes each of its clients tens of times a second.
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(timeout_s, _release, waiter)
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)
        return self.version != version or self.has_ended


def _release(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


class RunFeeds:
    """The feeds of a process, by workflow id. The hub has the answers that models write now.

    A tenant follows at most `max_tenant_feeds` runs.
    """

    def __init__(self, client: Client, hub: AnswerHub, max_tenant_feeds: int = MAX_FEEDS) -> None:
        self._client = client
        self._hub = hub
        self._max_tenant_feeds = max_tenant_feeds
        self._feeds: dict[str, RunFeed] = {}

    @property
    def count(self) -> int:
        """The number of runs that are followed."""
        return len(self._feeds)

    def look(self, run: Run) -> None:
        """Read what is new in a run that is followed now."""
        if (feed := self._feeds.get(run.id)) is not None:
            feed.look()

    def stop(self) -> None:
        """End all feeds, so that the process can stop. A client continues at another process."""
        for feed in self._feeds.values():
            feed.stop()

    async def follow(
        self, run: Run, *, after: Place = BEGIN, beat_s: float
    ) -> AsyncGenerator[RunEvent | None, None]:
        """Yield the events of a run after a place, and None every `beat_s` without one.

        A client that reads slowly gets the text of an answer in larger pieces: nothing waits in a queue.
        Ends after `run_ended`. Raises `TooManyFeeds`, `GatewayStops`, and the errors of `Run.stream`.
        """
        feed = self._feed(run)
        feed.readers += 1
        cursor = AnswerCursor.at(after)
        try:
            seen, news = len(feed.events), feed.since(after.entries)
            while True:  # ends with the run, or with the client
                version = feed.version
                for event in self._settled(run.id, cursor, news):
                    yield event
                # A new feed reads the run from its first entry.
                news = [event for event in feed.events[seen:] if event.is_news(after.entries)]
                seen = len(feed.events)
                if news:
                    continue
                if feed.has_ended:
                    if feed.error is not None:
                        raise feed.error
                    return
                # The client may know more than a feed that has not read the newest entries yet.
                if feed.position >= after.entries:
                    for event in cursor.read(self._hub.get(run.id), feed.position):
                        yield event
                if not await feed.wait(version, beat_s):
                    yield None
        finally:
            feed.readers -= 1
            if feed.readers == 0:
                await self._drop(run.id, feed)

    def _settled(
        self, run_id: str, cursor: AnswerCursor, news: list[RunEvent]
    ) -> Iterator[RunEvent]:
        """Yield events, each after the text that its client lacks before it."""
        for event in news:
            yield from cursor.settle(event, self._hub.get(run_id))
            yield event

    def _feed(self, run: Run) -> RunFeed:
        feed = self._feeds.get(run.id)
        if feed is None or feed.has_ended:
            self._check_room(run.id)
            handle = self._client.temporal.get_workflow_handle(run.id)
            feed = self._feeds[run.id] = RunFeed(RunConnection(handle), self._hub)
        else:
            feed.look()  # the client may have sent something just now
        return feed

    def _check_room(self, run_id: str) -> None:
        if len(self._feeds) >= MAX_FEEDS:
            raise TooManyFeeds(f"{MAX_FEEDS:,} runs are followed already; repeat the call later")
        tenant = f"{run_id.partition('/')[0]}/"
        if sum(each.startswith(tenant) for each in self._feeds) >= self._max_tenant_feeds:
            raise TooManyFeeds(
                f"the tenant follows {self._max_tenant_feeds:,} runs already; repeat the call later"
            )

    async def _drop(self, run_id: str, feed: RunFeed) -> None:
        if self._feeds.get(run_id) is feed:
            del self._feeds[run_id]
        feed.task.cancel()
        await asyncio.gather(feed.task, return_exceptions=True)
