"""Simulated time: calls in the order of their times, and of their scheduling where those are equal."""

import heapq
from collections.abc import Callable
from typing import Any


class Clock:
    """Seconds that pass from call to call."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._scheduled = 0

    def after(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        """Schedule a call."""
        self._scheduled += 1
        heapq.heappush(self._due, (self.now + seconds, self._scheduled, call, arguments))

    def run(self, until_s: float, is_over: Callable[[], bool]) -> None:
        """Make calls until a time, or until it is over."""
        due = self._due
        while due and due[0][0] <= until_s and not is_over():
            self.now, _, call, arguments = heapq.heappop(due)
            call(*arguments)
