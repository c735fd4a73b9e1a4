"""A simulation of KEDA's ScaledJob under a trickle of calls, with and without a bounded life of its Jobs.

The poller that waited longest gets the next call. So rare calls keep every Job from its idle exit. With a
bounded life a Job ends anyway, and KEDA starts another only if demand needs one.

    python -m bench.job_lives
"""

import math
import random
from dataclasses import dataclass, field

STEP_S = 5.0
"""KEDA's polling interval, and the step of the simulation."""

SEED = 7


@dataclass(frozen=True)
class Jobs:
    """A ScaledJob and its load: `burst` Jobs run at the beginning, and then calls arrive evenly."""

    burst: int = 8
    slots: int = 8
    gpus: int = 2
    calls_per_minute: float = 1.6
    call_s: float = 30.0
    idle_exit_s: float = 300.0
    max_life_s: float = math.inf
    hours: float = 24.0


@dataclass
class Job:
    """One Job: when it ends, if its life is bounded, and the ends of its calls."""

    ends_at: float
    busy_at: float = 0.0
    calls: list[float] = field(default_factory=list)


def gpu_hours(jobs: Jobs) -> float:
    """Return the GPU hours that the Jobs take in the simulated time."""
    chance = random.Random(SEED)  # noqa: S311

    def started(now: float) -> Job:
        return Job(now + jobs.max_life_s * chance.uniform(0.9, 1), busy_at=now)

    running = [started(0.0) for _ in range(jobs.burst)]
    hours, due, now = 0.0, 0.0, 0.0
    while now < jobs.hours * 3600:
        for job in running:
            job.calls = [end for end in job.calls if end > now]
            job.busy_at = now if job.calls else job.busy_at
        running = [job for job in running if not _is_over(job, jobs, now)]
        while due <= now:
            free = [job for job in running if now < job.ends_at and len(job.calls) < jobs.slots]
            if not free:
                break
            job = min(free, key=lambda one: one.busy_at)
            job.calls.append(now + jobs.call_s)
            job.busy_at = now
            due += 60 / jobs.calls_per_minute
        polling = [job for job in running if now < job.ends_at]
        waiting = max(0, math.ceil((now - due) / (60 / jobs.calls_per_minute)))
        demand = waiting + sum(len(job.calls) for job in polling)
        for _ in range(math.ceil(demand / jobs.slots) - len(polling)):
            running.append(started(now))
        hours += len(running) * jobs.gpus * STEP_S / 3600
        now += STEP_S
    return hours


def _is_over(job: Job, jobs: Jobs, now: float) -> bool:
    is_idle = not job.calls and now - job.busy_at >= jobs.idle_exit_s
    return is_idle or (not job.calls and now >= job.ends_at)


if __name__ == "__main__":
    for life_s in (math.inf, 3600.0):
        print(f"max_life_s {life_s:g}: {gpu_hours(Jobs(max_life_s=life_s)):.0f} GPU hours a day")
