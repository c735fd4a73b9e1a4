"""What decides how many workers a pool has, as the platforms document it.

KEDA takes a deployment from 0 to its first replica and back to 0. In between, the HPA computes
`ceil(metric / target)`, ignores small deviations, and scales in to the highest number that it wanted
within its stabilization window. `bench/scaling/bursts.py` has the same loop over real worker processes.
"""

import math
from collections import deque
from collections.abc import Callable

from outlast_workers.plan.pools import Pool

COOLOFF_S = 0.1
"""Least time between two invocations for tasks that found no slot, in Temporal's worker controller 1.32."""

CONTROLLER_POLL_S = 60.0
"""How often that controller looks at the backlog."""


class _Counts:
    """What the demand service reads: counts that the server and the workers renew now and then."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._backlog = self._busy = 0
        self._counted_at = self._reported_at = -math.inf

    def metric(self) -> int:
        """Return the demand, or the backlog alone for a pool that scales by it."""
        pool, now = self._pool, self._pool.clock.now
        if now - self._counted_at >= pool.plan.counts_age_s:
            self._backlog, self._counted_at = pool.backlog, now
        if now - self._reported_at >= pool.plan.reports_age_s:
            self._busy, self._reported_at = pool.busy, now
        return self._backlog + (0 if pool.plan.scaling == "backlog" else self._busy)


def wanted(metric: int, replicas: int, *, target: float, tolerance: float) -> int:
    """Return how many replicas the HPA wants, by its documented formula with its tolerance."""
    if replicas and abs(metric / (replicas * target) - 1) <= tolerance:
        return replicas
    return math.ceil(metric / target)


def scale(pool: Pool) -> None:
    """Start what scales a pool."""
    kind = pool.plan.scaling
    if kind in ("demand", "backlog"):
        _every(pool, _Keda(pool).look, min(pool.plan.poll_s, pool.plan.sync_s))
    elif kind == "dispatch":
        _every(pool, _Dispatcher(pool).look, pool.plan.poll_s)
    elif kind == "invoke":
        controller = _Controller(pool)
        pool.missed.append(controller.invoke)
        _every(pool, controller.look, CONTROLLER_POLL_S)
    if pool.plan.evictions_per_hour:
        _evict_later(pool)


def _is_quiet(pool: Pool) -> bool:
    return not pool.busy and not pool.waiting and len(pool.workers) <= pool.plan.min_workers


def _every(pool: Pool, look: Callable[[], None], seconds: float) -> None:
    """Look at a pool now and at every interval. With nothing to do, wait for the next task first."""

    def again() -> None:
        look()
        if _is_quiet(pool):
            pool.missed.append(woken)
        else:
            pool.clock.after(seconds, again)

    def woken() -> None:
        pool.missed.remove(woken)
        # A task arrives anywhere in the interval of a loop that has not looked.
        pool.clock.after(seconds * pool.chance.random(), again)

    again()


class _Hpa:
    """The HPA's memory: what it wanted, and when it last removed a worker."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._wanted: deque[tuple[float, int]] = deque()
        self._removed_at = -math.inf

    def sync(self, metric: int) -> None:
        """Add workers, or remove one."""
        pool, plan, now = self._pool, self._pool.plan, self._pool.clock.now
        replicas = len(pool.workers)
        target = plan.slots * plan.utilization
        ready = wanted(metric, replicas, target=target, tolerance=plan.tolerance)
        want = min(max(ready, plan.min_workers, 1), plan.max_workers)
        self._wanted.append((now, want))
        while self._wanted[0][0] < now - plan.stabilization_s:
            self._wanted.popleft()
        most = max(count for _, count in self._wanted)
        for _ in range(min(want - replicas, plan.max_added)):
            pool.start()
        surplus = replicas - max(want, min(replicas, most))
        while surplus > 0 and now - self._removed_at >= plan.removal_s:
            pool.stop_one()
            surplus -= 1
            self._removed_at = now if plan.removal_s else -math.inf


class _Keda:
    """KEDA, which has the HPA scale what is not at zero."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._counts = _Counts(pool)
        self._hpa = _Hpa(pool)
        self._active_at = self._polled_at = self._synced_at = -math.inf

    def look(self) -> None:
        """Poll or sync, where its time has come."""
        pool, now = self._pool, self._pool.clock.now
        if now - self._polled_at >= pool.plan.poll_s:
            self._polled_at = now
            self._activate(self._counts.metric(), now)
        if pool.workers and now - self._synced_at >= pool.plan.sync_s:
            self._synced_at = now
            self._hpa.sync(self._counts.metric())

    def _activate(self, metric: int, now: float) -> None:
        pool = self._pool
        if metric > 0:
            self._active_at = now
            if not pool.workers:
                pool.start()
        elif not pool.plan.min_workers and now - self._active_at > pool.plan.cooldown_s:
            for worker in list(pool.workers):
                pool.stop(worker)


class _Dispatcher:
    """Starts as many workers as demand asks for. They end by themselves."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._counts = _Counts(pool)

    def look(self) -> None:
        """Start what is missing."""
        pool, plan = self._pool, self._pool.plan
        want = max(math.ceil(self._counts.metric() / plan.slots), plan.min_workers)
        for _ in range(min(want, plan.max_workers) - len(pool.workers)):
            pool.start()


class _Controller:
    """Temporal's controller, which invokes a function for tasks that found no slot."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._invoked_at = -math.inf

    def invoke(self) -> None:
        """Start a worker, unless one was started just now."""
        pool, now = self._pool, self._pool.clock.now
        if now - self._invoked_at >= COOLOFF_S and len(pool.workers) < pool.plan.max_workers:
            self._invoked_at = now
            pool.start()

    def look(self) -> None:
        """Start a worker if tasks wait."""
        if self._pool.backlog:
            self.invoke()


def _evict_later(pool: Pool) -> None:
    per_s = pool.plan.evictions_per_hour / 3_600 * max(1, len(pool.workers))
    pool.clock.after(pool.chance.expovariate(per_s), _evict, pool)


def _evict(pool: Pool) -> None:
    if pool.workers:
        pool.evict(pool.chance.choice(pool.workers))
        while len(pool.workers) < pool.plan.min_workers:
            pool.start()
    _evict_later(pool)
