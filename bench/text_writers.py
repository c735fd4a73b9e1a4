"""Writers of answers, in a process of their own: what a worker does while models write."""

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Barrier

from outlast_workers.answer_publisher import PublishedAnswer, answer_publisher
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.gateway import EventsSettings

WORD = "word "
"""What each token adds."""

WITHIN_S = 60.0
"""How long a connection, or a run's beginning, may take on a busy machine."""

Arrivals = list[tuple[int, float]]
"""Numbers of characters, and when they were there: seconds of the clock that all processes share."""


@dataclass
class Writer:
    """A model that writes one answer, and when it wrote how many characters."""

    answer: PublishedAnswer
    characters: int = 0
    written: Arrivals = field(default_factory=list)

    def write(self) -> None:
        """Add a token."""
        self.characters += len(WORD)
        self.written.append((self.characters, time.perf_counter()))
        self.answer.add(WORD)


def write_answers(
    url: str, run_ids: Sequence[str], tokens: int, gap_s: float, barrier: Barrier
) -> list[Arrivals]:
    """Write an answer of each run at the same time, once readers have its first word."""
    gc.disable()  # the times that it keeps are no part of a worker
    return asyncio.run(_write(url, run_ids, tokens, gap_s, barrier))


async def _write(
    url: str, run_ids: Sequence[str], tokens: int, gap_s: float, barrier: Barrier
) -> list[Arrivals]:
    async with answer_publisher(Settings(events=EventsSettings(urls=(url,)))) as publisher:
        assert publisher is not None
        writers = [Writer(publisher.open(run_id, entry=0, turn=1, attempt=1)) for run_id in run_ids]
        for writer in writers:
            writer.write()
            writer.written.clear()
        await asyncio.to_thread(barrier.wait, WITHIN_S)
        begin = time.perf_counter()
        for number in range(tokens * len(writers)):
            # The runs take turns, and a late token does not delay the next one.
            due = begin + number * gap_s / len(writers)
            if (wait_s := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            writers[number % len(writers)].write()
        # The publisher sends until it ends, so it ends after the readers have everything.
        await asyncio.to_thread(barrier.wait, WITHIN_S)
    return [writer.written for writer in writers]
