"""How much is tried, and how long one input may take."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from hypothesis import HealthCheck, Phase, settings

from outlast import OutlastError

SCALE = float(os.environ.get("FUZZ_SCALE", "1"))
"""`FUZZ_SCALE=20 make test-fuzz` tries twenty times as many inputs."""

MOST_CPU_S = 1.0
"""CPU seconds that one input may take: more would stop an event loop or a workflow thread."""


class TooSlow(BaseException):
    """Raised in an input that takes too long; nothing that catches `Exception` hides it."""


@contextlib.contextmanager
def alarm(cpu_s: float = MOST_CPU_S) -> Iterator[None]:
    """Raise `TooSlow` in the block once this process has spent so much CPU time in it."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise TooSlow(f"more than {cpu_s:g} s of CPU")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def refusals(*others: type[Exception]) -> Iterator[None]:
    """Suppress errors of outlast's tree (and `others`), which are refusals by name; set the alarm."""
    with alarm(), contextlib.suppress(OutlastError, *others):
        yield


def examples(count: int) -> settings:
    """Return the settings of a fuzz test that tries `count` inputs."""
    return settings(
        max_examples=max(1, int(count * SCALE)),
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
