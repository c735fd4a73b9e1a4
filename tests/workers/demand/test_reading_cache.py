"""One poll serves all callers, and readings are kept while the source does not answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx2
import pytest
from outlast_workers.demand import reading_cache
from outlast_workers.demand.demand_query import Load, Reading, Target
from outlast_workers.demand.http_api import http_api
from outlast_workers.demand.reading_cache import ReadingCache
from outlast_workers.demand.temporal_source import ReadingFailed

Q = Target("q")


class FakeSource:
    """A source that records each reading, and fails while it is `away`."""

    def __init__(self) -> None:
        self.read_of: list[Target] = []
        self.away = False

    async def read(self, target: Target) -> Reading:
        self.read_of.append(target)
        await asyncio.sleep(0.01)
        if self.away:
            raise ReadingFailed("away")
        count = len(self.read_of)
        return Reading({"workflow": Load(), "activity": Load(count)}, datetime.now(UTC))


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def polling(cache: ReadingCache) -> AsyncIterator[None]:
    task = asyncio.create_task(cache.run())
    try:
        yield
    finally:
        task.cancel()


async def test_two_hundred_callers_cause_one_poll() -> None:
    source = FakeSource()
    cache = ReadingCache(source, poll_s=60, keep_s=60)
    readings = await asyncio.gather(*(cache.latest(Q) for _ in range(200)))
    assert source.read_of == [Q]
    assert {latest.reading.loads["activity"].backlog for latest in readings} == {1}


async def test_a_cancelled_caller_does_not_cancel_the_reading_of_others() -> None:
    source = FakeSource()
    cache = ReadingCache(source, poll_s=60, keep_s=60)
    first, second = (asyncio.create_task(cache.latest(Q)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).error is None
    assert source.read_of == [Q]


async def test_only_watched_and_recently_queried_targets_are_polled() -> None:
    source, clock = FakeSource(), Clock()
    cache = ReadingCache(source, watched=[Target("own")], poll_s=0.02, keep_s=60, clock=clock)
    await cache.latest(Q)
    assert set(cache.targets) == {Target("own"), Q}
    clock.now += reading_cache.FORGET_AFTER_S + 1
    async with polling(cache):
        await cache.next_poll()
    assert set(cache.targets) == {Target("own")}


async def test_invented_names_evict_each_other_but_no_watched_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading_cache, "MAX_QUERIED_TARGETS", 3)
    cache = ReadingCache(FakeSource(), watched=[Target("own")], poll_s=60, keep_s=60)
    for number in range(6):
        await cache.latest(Target(f"invented-{number}"))
    assert cache.targets == (
        Target("invented-3"),
        Target("invented-4"),
        Target("invented-5"),
        Target("own"),
    )


async def test_the_last_reading_is_returned_with_the_error_until_it_is_too_old() -> None:
    source, clock = FakeSource(), Clock()
    cache = ReadingCache(source, watched=[Q], poll_s=0.02, keep_s=30, clock=clock)
    await cache.latest(Q)
    source.away = True
    async with polling(cache):
        await cache.next_poll()
        clock.now += 29
        latest = await cache.latest(Q)
        assert (latest.age_s, latest.error) == (29, "away")
        assert latest.reading.loads["activity"].backlog == 1
        clock.now += 2
        with pytest.raises(ReadingFailed, match="the last reading is 31 s old: away"):
            await cache.latest(Q)
        source.away = False
        await cache.next_poll()
        await cache.next_poll()
        latest = await cache.latest(Q)
        assert (latest.age_s, latest.error) == (0, None)


async def test_a_target_without_any_reading_is_an_error() -> None:
    source = FakeSource()
    source.away = True
    cache = ReadingCache(source, poll_s=60, keep_s=60)
    for _ in range(2):
        with pytest.raises(ReadingFailed, match="away"):
            await cache.latest(Q)
    assert source.read_of == [Q], "the next poll reads again, not each caller"


async def test_names_of_strangers_do_not_push_out_a_target_that_is_queried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading_cache, "MAX_QUERIED_TARGETS", 20)
    clock = Clock()
    cache = ReadingCache(FakeSource(), watched=[Target("own")], poll_s=60, keep_s=60, clock=clock)
    await cache.latest(Target("regular"))
    await cache.latest(Target("regular"))
    for number in range(60):
        clock.now += 1
        await cache.latest(Target(f"stranger {number}"))

    assert {Target("own"), Target("regular")} <= set(cache.targets)
    assert len(cache.targets) <= 21
    assert cache.watched == (Target("own"),)


async def test_readings_of_strangers_do_not_delay_the_watched_targets() -> None:
    released = asyncio.Event()

    class Slow(FakeSource):
        async def read(self, target: Target) -> Reading:
            if target.task_queue != "own":
                await released.wait()
            return await super().read(target)

    cache = ReadingCache(Slow(), watched=[Target("own")], poll_s=60, keep_s=60)
    strangers = [asyncio.create_task(cache.latest(Target(f"{number}"))) for number in range(50)]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await cache.latest(Target("own"))
    released.set()
    await asyncio.gather(*strangers)


@pytest.mark.parametrize("only_watched", [False, True])
async def test_only_watched_targets_are_metrics_and_others_can_be_rejected(
    only_watched: bool,
) -> None:
    cache = ReadingCache(
        FakeSource(), watched=[Target("own")], poll_s=60, keep_s=60, only_watched=only_watched
    )
    transport = httpx2.ASGITransport(http_api(cache, lambda _: 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://demand") as client:
        await client.get("/demand/own")
        answers = [
            (await client.get(f"/demand/{name}")).status_code
            for name in ("stranger", "a/b", "own?deployment=d&build_id=b", "%22}%0A", "x" * 900)
        ]
        metrics = (await client.get("/metrics")).text
        await client.get("/demand/" + "x" * 5_000)

    assert set(answers) == ({404} if only_watched else {200})
    assert 'task_queue="own"' in metrics
    assert metrics.count("outlast_demand{") == 1
    if only_watched:
        assert cache.targets == (Target("own"),)
