"""One poll for all who ask, and what is given out when the source is silent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from outlast_workers.demand import board as boards
from outlast_workers.demand.board import Board
from outlast_workers.demand.demand import Load, Reading, Target
from outlast_workers.demand.reading import NotRead

Q = Target("q")


class FakeSource:
    """A source that counts how often it is read, and can be away."""

    def __init__(self) -> None:
        self.read_of: list[Target] = []
        self.away = False

    async def read(self, target: Target) -> Reading:
        self.read_of.append(target)
        await asyncio.sleep(0.01)
        if self.away:
            raise NotRead("away")
        count = len(self.read_of)
        return Reading({"workflow": Load(), "activity": Load(count)}, datetime.now(UTC))


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def polling(board: Board) -> AsyncIterator[None]:
    task = asyncio.create_task(board.run())
    try:
        yield
    finally:
        task.cancel()


async def test_two_hundred_callers_cause_one_poll() -> None:
    source = FakeSource()
    board = Board(source, poll_s=60, keep_s=60)
    readings = await asyncio.gather(*(board.latest(Q) for _ in range(200)))
    assert source.read_of == [Q]
    assert {latest.reading.loads["activity"].backlog for latest in readings} == {1}


async def test_a_caller_that_goes_away_takes_the_reading_from_nobody() -> None:
    source = FakeSource()
    board = Board(source, poll_s=60, keep_s=60)
    first, second = (asyncio.create_task(board.latest(Q)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).error is None
    assert source.read_of == [Q]


async def test_only_what_is_watched_or_was_asked_for_lately_is_polled_for() -> None:
    source, clock = FakeSource(), Clock()
    board = Board(source, watched=[Target("own")], poll_s=0.02, keep_s=60, clock=clock)
    await board.latest(Q)
    assert set(board.targets) == {Target("own"), Q}
    clock.now += boards.FORGOTTEN_AFTER_S + 1
    async with polling(board):
        await board.next_poll()
    assert set(board.targets) == {Target("own")}


async def test_invented_names_push_each_other_out_and_nothing_that_is_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(boards, "MAX_ASKED", 3)
    board = Board(FakeSource(), watched=[Target("own")], poll_s=60, keep_s=60)
    for number in range(6):
        await board.latest(Target(f"invented-{number}"))
    assert board.targets == (
        Target("invented-3"),
        Target("invented-4"),
        Target("invented-5"),
        Target("own"),
    )


async def test_the_last_reading_is_given_out_with_the_reason_until_it_is_too_old() -> None:
    source, clock = FakeSource(), Clock()
    board = Board(source, watched=[Q], poll_s=0.02, keep_s=30, clock=clock)
    await board.latest(Q)
    source.away = True
    async with polling(board):
        await board.next_poll()
        clock.now += 29
        latest = await board.latest(Q)
        assert (latest.age_s, latest.error) == (29, "away")
        assert latest.reading.loads["activity"].backlog == 1
        clock.now += 2
        with pytest.raises(NotRead, match="the last reading is 31 s old: away"):
            await board.latest(Q)
        source.away = False
        await board.next_poll()
        await board.next_poll()
        latest = await board.latest(Q)
        assert (latest.age_s, latest.error) == (0, None)


async def test_what_was_never_read_is_an_error_and_not_nothing() -> None:
    source = FakeSource()
    source.away = True
    board = Board(source, poll_s=60, keep_s=60)
    for _ in range(2):
        with pytest.raises(NotRead, match="away"):
            await board.latest(Q)
    assert source.read_of == [Q], "the next poll asks again, not each caller"
