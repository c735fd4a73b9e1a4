"""Runs on pools: each run is a series of steps, and each step tries the legs of its route in turn."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from outlast_workers.plan.clock import Clock
from outlast_workers.plan.pools import Pool, PoolPlan, Task, Usage
from outlast_workers.plan.scaling import scale

Role = Literal["generate", "tools"]

PATIENCE_S = 86_400.0
"""How long after the last arrival the simulation waits for runs that have not ended."""


@dataclass(frozen=True)
class SimulatedRun:
    """When a run arrives, and how many seconds each of its steps works without other calls beside it."""

    arrives_at: float
    steps: Sequence[tuple[Role, float]]


@dataclass(frozen=True)
class SimulatedLeg:
    """A pool that can serve a step, and how long a step waits for a slot there."""

    pool: str
    start_within_s: float | None = None


Routes = Mapping[Role, Sequence[SimulatedLeg]]


@dataclass
class Outcome:
    """What came of the runs, in the order of their arrival. A run that did not end has no completion."""

    start_delays: list[float | None]
    completions: list[float | None]
    step_waits: list[float] = field(default_factory=list)
    """What each step waited for a slot."""
    calls_s: dict[Role, list[float]] = field(default_factory=lambda: {"generate": [], "tools": []})
    """What each step took, with the calls beside it."""
    served: dict[str, int] = field(default_factory=dict)
    """How many steps each pool served."""
    usage: dict[str, Usage] = field(default_factory=dict)
    ended_at: float = 0.0

    @property
    def unfinished(self) -> int:
        """Return how many runs did not end in time."""
        return sum(completion is None for completion in self.completions)


def simulate(
    runs: Sequence[SimulatedRun], pools: Mapping[str, PoolPlan], routes: Routes, *, seed: int
) -> Outcome:
    """Return what comes of the runs. Equal arguments give equal outcomes."""
    clock = Clock()
    made = {
        name: Pool(clock, plan, random.Random(f"{seed} {name}"))  # noqa: S311 no secret
        for name, plan in pools.items()
    }
    for pool in made.values():
        scale(pool)
    outcome = Outcome([None] * len(runs), [None] * len(runs), served=dict.fromkeys(made, 0))
    open_runs = _OpenRuns(len(runs))
    for number, run in enumerate(runs):
        progress = _Progress(clock, run, number, made, routes, outcome, open_runs)
        clock.after(run.arrives_at, progress.advance)
    last = runs[-1].arrives_at if runs else 0.0
    clock.run(last + PATIENCE_S, open_runs.are_over)
    outcome.ended_at = clock.now
    outcome.usage = {name: pool.usage for name, pool in made.items()}
    return outcome


@dataclass
class _OpenRuns:
    count: int

    def are_over(self) -> bool:
        """Return whether every run has ended."""
        return not self.count


@dataclass(eq=False, slots=True)
class _Progress:
    """A run that goes from step to step, and from leg to leg."""

    clock: Clock
    run: SimulatedRun
    number: int
    pools: Mapping[str, Pool]
    routes: Routes
    outcome: Outcome
    open_runs: _OpenRuns
    step: int = 0
    scheduled_at: float = 0.0
    leg: int = 0

    def advance(self) -> None:
        """Schedule the next step, or end."""
        if self.step == len(self.run.steps):
            self.outcome.completions[self.number] = self.clock.now - self.run.arrives_at
            self.open_runs.count -= 1
            return
        self.scheduled_at = self.clock.now
        self._try_leg(0)

    def _try_leg(self, leg: int) -> None:
        self.leg = leg
        role, seconds = self.run.steps[self.step]
        legs = self.routes[role]
        task = Task(seconds, self._ended)
        self.pools[legs[leg].pool].put(task)
        # A step waits for the last leg without a bound: a plan has to show how long that is.
        within_s = legs[leg].start_within_s
        if task.is_waiting and within_s is not None and leg + 1 < len(legs):
            self.clock.after(within_s, self._spill, task)

    def _spill(self, task: Task) -> None:
        if task.is_waiting:
            task.is_withdrawn = True
            self._try_leg(self.leg + 1)

    def _ended(self, task: Task) -> None:
        role, _ = self.run.steps[self.step]
        wait_s = task.started_at - self.scheduled_at
        self.outcome.step_waits.append(wait_s)
        self.outcome.calls_s[role].append(self.clock.now - task.started_at)
        self.outcome.served[self.routes[role][self.leg].pool] += 1
        if not self.step:
            self.outcome.start_delays[self.number] = wait_s
        self.step += 1
        self.advance()
