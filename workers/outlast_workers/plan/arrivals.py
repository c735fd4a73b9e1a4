"""When runs arrive and how long their steps work, from a seed."""

import random

from outlast_workers.plan.simulation import Role, SimulatedRun
from outlast_workers.plan.workload import Arrivals, Workload


def sample_runs(workload: Workload, until_s: float) -> list[SimulatedRun]:
    """Return the runs that arrive before a time. Equal arguments give equal runs."""
    chance = random.Random(f"{workload.seed} arrivals")  # noqa: S311 no secret
    work = random.Random(f"{workload.seed} work")  # noqa: S311
    times = arrival_times(workload.arrivals, workload.runs_per_s, until_s, chance)
    return [SimulatedRun(time, _steps(workload, work)) for time in times]


def arrival_times(
    arrivals: Arrivals, per_s: float, until_s: float, chance: random.Random
) -> list[float]:
    """Return the arrivals before a time, at a mean rate of `per_s`."""
    total = 0.0
    times: list[float] = []
    while True:
        total += gamma(chance, 1.0, arrivals.cv2)
        time = _time_of(total / per_s, arrivals)
        if time >= until_s:
            return times
        times.append(time)


def gamma(chance: random.Random, mean: float, cv2: float) -> float:
    """Return a random time with a mean and a squared coefficient of variation."""
    return chance.gammavariate(1 / cv2, mean * cv2) if cv2 and mean else mean


def _time_of(even: float, arrivals: Arrivals) -> float:
    """Return when a run arrives that, at an even rate, would arrive at `even`.

    A period begins with its quiet part and ends with its spike. Both parts together have its mean rate.
    """
    period, spike = arrivals.spike_every_s, arrivals.spike_s
    quiet_rate = period / (period + (arrivals.spike_factor - 1) * spike)
    periods, rest = divmod(even, period)
    quiet = (period - spike) * quiet_rate
    if rest <= quiet:
        return periods * period + rest / quiet_rate
    in_spike = (rest - quiet) / (quiet_rate * arrivals.spike_factor)
    return periods * period + period - spike + in_spike


def _steps(workload: Workload, work: random.Random) -> list[tuple[Role, float]]:
    steps: list[tuple[Role, float]] = []
    for turn in range(workload.turns):
        steps.append(("generate", gamma(work, workload.call_s, workload.work_cv2)))
        if turn < workload.turns - 1:
            steps.append(("tools", gamma(work, workload.tool_s, workload.work_cv2)))
    return steps
