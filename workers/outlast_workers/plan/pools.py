"""Task queues with their workers, as a simulation in seconds: slots, cold starts, idle exits, drains.

A queue behaves as Temporal's do. A task goes to the slot that has waited longest, and a task without a slot
waits. The simulation knows no network and no server load: see docs/choosing.md for what it leaves out.
"""

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from outlast_workers.plan.clock import Clock

Scaling = Literal["fixed", "demand", "backlog", "dispatch", "invoke"]
"""How a pool gets workers.

`demand` and `backlog` are KEDA with the HPA, by our demand service or by KEDA's own `temporal` trigger.
`dispatch` starts what demand asks for and never ends a worker: Modal's dispatcher, and ScaledJobs. `invoke`
starts a worker for each task that finds no slot, as Temporal does with Lambda.
"""


@dataclass(frozen=True)
class PoolPlan:
    """The workers of one task queue. Times are in seconds."""

    scaling: Scaling = "fixed"
    slots: int = 1
    min_workers: int = 0
    max_workers: int = 1_000
    initial_workers: int = 0
    """Workers at the beginning: the size that the pool has found before."""
    cold_start_s: float = 0.0
    """From the decision to start a worker until it polls, on a machine that runs already."""
    measured_starts_s: tuple[float, ...] = ()
    """What each start took, beginning with those of the minimum: replaces `cold_start_s`."""
    machine_boot_s: float = 0.0
    """What a new machine adds to it."""
    machine_keep_s: float = 0.0
    """How long a machine stays, and is billed, after its worker ended."""
    idle_exit_s: float | None = None
    max_life_s: float | None = None
    drain_s: float = 25.0
    """How long tasks in flight may go on after scale-in. Longer ones go back to the queue."""
    batch_slowdown: float = 0.0
    """By what share a call takes longer for each other call on the same worker."""
    poll_s: float = 5.0
    counts_age_s: float = 5.0
    """How old the server's count of the backlog may be."""
    reports_age_s: float = 5.0
    """How old the workers' reports of busy slots may be."""
    utilization: float = 0.9
    tolerance: float = 0.1
    sync_s: float = 15.0
    stabilization_s: float = 300.0
    cooldown_s: float = 300.0
    max_added: int = 10
    """Workers that the HPA adds in one sync."""
    removal_s: float = 60.0
    """Least time between two removals of one worker."""
    spares_busy: bool = True
    """Whether scale-in takes the least busy worker, as with deletion costs, or any."""
    evictions_per_hour: float = 0.0
    """How often a platform takes a worker away, per worker."""
    hand_back_s: float = 1.0
    """From an eviction until the tasks of the worker are in the queue again."""


@dataclass(eq=False)
class Task:
    """A step of a run on a queue."""

    work_s: float
    done: Callable[["Task"], None]
    """Called when the step has ended."""
    started_at: float = math.nan
    is_withdrawn: bool = False

    @property
    def is_waiting(self) -> bool:
        """Return whether the task has never had a slot."""
        return math.isnan(self.started_at)


@dataclass(eq=False)
class Worker:
    """A process with slots."""

    began: float
    busy: dict[Task, None] = field(default_factory=dict)
    """The tasks in the order of their starts. A set would have the order of their addresses."""
    is_ready: bool = False
    is_draining: bool = False
    is_gone: bool = False
    idle_since: float = 0.0


@dataclass
class Usage:
    """What a pool used. A place is a worker, or a machine that waits for the next one."""

    changes: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 0)])
    """The number of places from each time on."""
    starts: int = 0
    most_workers: int = 0
    interrupted: int = 0
    busy_s: float = 0.0

    def machine_seconds(self, begin: float, end: float, *, per_machine: int = 1) -> float:
        """Return the seconds of all machines from `begin` to `end`; each has room for some places."""
        total = 0.0
        following = [*self.changes[1:], (end, 0)]
        for (since, places), (until, _) in zip(self.changes, following, strict=True):
            lasting = min(until, end) - max(since, begin)
            if lasting > 0:
                total += lasting * math.ceil(places / per_machine)
        return total


class Pool:
    """A queue and its workers. `scaling` modules decide how many there are."""

    def __init__(self, clock: Clock, plan: PoolPlan, chance: random.Random) -> None:
        self.clock = clock
        self.plan = plan
        self.chance = chance
        self.usage = Usage()
        self.workers: list[Worker] = []
        self.waiting: deque[Task] = deque()
        self.missed: list[Callable[[], None]] = []
        """Called for a task that finds no slot."""
        self.busy = 0
        self._free: deque[Worker] = deque()
        self._spare: list[float] = []
        self._places = 0
        for _ in range(max(plan.min_workers, plan.initial_workers)):
            self.start(is_warm=not plan.measured_starts_s)

    @property
    def backlog(self) -> int:
        """Return how many tasks wait for a slot."""
        return sum(not task.is_withdrawn for task in self.waiting)

    def put(self, task: Task) -> None:
        """Add a task. It starts at once if a slot is free."""
        self.waiting.append(task)
        self._assign()
        if task.is_waiting:
            self._miss()

    def start(self, *, is_warm: bool = False) -> None:
        """Start a worker, in a machine that was kept if there is one."""
        worker = Worker(self.clock.now)
        self.workers.append(worker)
        wait_s = 0.0 if is_warm else self._start_s()
        self.usage.starts += not is_warm
        self.usage.most_workers = max(self.usage.most_workers, len(self.workers))
        if not self._reuse_machine():
            wait_s += 0.0 if is_warm else self.plan.machine_boot_s
            self._change_places(1)
        if wait_s:
            self.clock.after(wait_s, self._ready, worker)
        else:
            self._ready(worker)

    def _start_s(self) -> float:
        measured = self.plan.measured_starts_s
        return measured[self.usage.starts % len(measured)] if measured else self.plan.cold_start_s

    def stop(self, worker: Worker) -> None:
        """Let a worker drain: it takes no more tasks and ends with its last one."""
        worker.is_draining = True
        self.workers.remove(worker)
        if not worker.busy:
            self._end(worker)
        elif math.isfinite(self.plan.drain_s):
            self.clock.after(self.plan.drain_s, self._interrupt, worker)

    def stop_one(self) -> None:
        """Stop the worker that scale-in picks."""
        if self.plan.spares_busy:
            self.stop(min(self.workers, key=lambda worker: len(worker.busy)))
        else:
            self.stop(self.chance.choice(self.workers))

    def evict(self, worker: Worker) -> None:
        """Take a worker away at once. Its tasks start again after `hand_back_s`."""
        if worker in self.workers:
            self.workers.remove(worker)
        self._interrupt(worker, after_s=self.plan.hand_back_s)

    def _ready(self, worker: Worker) -> None:
        if worker.is_draining or worker.is_gone:
            return
        worker.is_ready = True
        self._free.extend([worker] * self.plan.slots)
        self._idle(worker)
        if self.plan.max_life_s is not None:
            self.clock.after(self.plan.max_life_s, self._end_of_life, worker)
        self._assign()

    def _end_of_life(self, worker: Worker) -> None:
        if worker in self.workers:
            self.stop(worker)

    def _assign(self) -> None:
        while self.waiting and self._free:
            if self.waiting[0].is_withdrawn:
                self.waiting.popleft()
                continue
            worker = self._free.popleft()
            if not (worker.is_draining or worker.is_gone):
                self._begin(worker, self.waiting.popleft())

    def _begin(self, worker: Worker, task: Task) -> None:
        seconds = task.work_s * (1 + self.plan.batch_slowdown * len(worker.busy))
        worker.busy[task] = None
        self.busy += 1
        if task.is_waiting:
            task.started_at = self.clock.now
        self.clock.after(seconds, self._finish, worker, task, seconds)

    def _finish(self, worker: Worker, task: Task, seconds: float) -> None:
        if task not in worker.busy:
            return  # it was interrupted
        del worker.busy[task]
        self.busy -= 1
        self.usage.busy_s += seconds
        if worker.is_draining:
            if not worker.busy:
                self._end(worker)
        else:
            self._free.append(worker)
            if not worker.busy:
                self._idle(worker)
            self._assign()
        task.done(task)

    def _idle(self, worker: Worker) -> None:
        worker.idle_since = since = self.clock.now
        if self.plan.idle_exit_s is not None:
            self.clock.after(self.plan.idle_exit_s, self._exit_if_idle, worker, since)

    def _exit_if_idle(self, worker: Worker, since: float) -> None:
        is_idle = not worker.busy and worker.idle_since == since
        if is_idle and worker in self.workers and len(self.workers) > self.plan.min_workers:
            self.stop(worker)

    def _interrupt(self, worker: Worker, after_s: float = 0.0) -> None:
        if worker.is_gone:
            return
        lost = sorted(worker.busy, key=lambda task: task.started_at)
        worker.busy.clear()
        self.busy -= len(lost)
        self.usage.interrupted += len(lost)
        self._end(worker)
        for task in reversed(lost):
            self.clock.after(after_s, self._put_back, task)

    def _put_back(self, task: Task) -> None:
        self.waiting.appendleft(task)
        self._assign()
        if self.waiting:
            self._miss()

    def _miss(self) -> None:
        for call in list(self.missed):
            call()

    def _end(self, worker: Worker) -> None:
        worker.is_gone = True
        if not self.plan.machine_keep_s:
            self._change_places(-1)
            return
        until = self.clock.now + self.plan.machine_keep_s
        self._spare.append(until)
        self.clock.after(self.plan.machine_keep_s, self._drop_machine, until)

    def _reuse_machine(self) -> bool:
        if self._spare:
            self._spare.pop()
            return True
        return False

    def _drop_machine(self, until: float) -> None:
        if until in self._spare:
            self._spare.remove(until)
            self._change_places(-1)

    def _change_places(self, by: int) -> None:
        self._places += by
        self.usage.changes.append((self.clock.now, self._places))
