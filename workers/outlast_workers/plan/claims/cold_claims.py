"""Claims about waiting: autoscaling lag, cold starts, and pods that are evicted."""

import math
import random
from statistics import fmean

from outlast_workers.plan.arrivals import arrival_times, gamma
from outlast_workers.plan.claims.verdicts import Finding
from outlast_workers.plan.pools import PoolPlan
from outlast_workers.plan.simulation import (
    Outcome,
    Role,
    Routes,
    SimulatedLeg,
    SimulatedRun,
    simulate,
)
from outlast_workers.plan.workload import Arrivals

SEED = 1

LOST_S = 60.0
"""A step that waits for longer than this counts as one that the spike loses."""

_ONE: Routes = {"generate": (SimulatedLeg("pool"),), "tools": (SimulatedLeg("pool"),)}


def autoscaling_lag() -> Finding:
    """Return the finding on polling intervals and warm minimums under a spike of five times."""
    rows: list[tuple[str, ...]] = [
        ("cold start", "polling", "minimum", "mean wait", "95 % wait at most", "over a minute")
    ]
    lost: dict[tuple[float, bool], float] = {}
    for cold_s in (10.0, 82.0, 172.0):
        for poll_s, minimum in ((30.0, 0), (5.0, 0), (30.0, 2), (5.0, 2)):
            waits = sorted(_spike(cold_s, poll_s, minimum).step_waits)
            late = fmean(wait > LOST_S for wait in waits)
            if (poll_s, minimum) in ((30.0, 0), (5.0, 2)):
                lost[cold_s, minimum > 0] = late
            p95 = waits[math.ceil(0.95 * len(waits)) - 1]
            times = (f"{cold_s:g} s", f"{poll_s:g} s", f"{minimum}", f"{fmean(waits):.0f} s")
            rows.append((*times, f"{p95:.0f} s", f"{late:.0%}".replace("%", " %")))
    text = (
        "the cold start: nothing is lost, because tasks wait in the queue."
        f" With a cold start of 10 s, {lost[10.0, False]:.0%} of the steps wait for more than a minute with"
        f" polling at 30 s and no minimum, and {lost[10.0, True]:.0%} with 5 s and 2 warm workers. With"
        f" 172 s (a node and a model), it is {lost[172.0, False]:.0%} and {lost[172.0, True]:.0%}: only a"
        " minimum as large as the spike helps, or spillover. Beyond the first worker, the HPA reads every"
        " 15 s, and KEDA's polling interval changes little"
    ).replace("%", " %")
    claim = (
        "Polling every 30 s with no minimum loses a spike of 5 times; 5 s and a warm minimum do not"
    )
    return Finding(claim, "depends", text, tuple(rows))


def _spike(cold_s: float, poll_s: float, minimum: int) -> Outcome:
    """Run an hour with two spikes on workers with 4 slots: 4 tasks at a time, and 20 in a spike."""
    chance = random.Random(SEED)  # noqa: S311 no secret
    spikes = Arrivals(cv2=1, spike_factor=5, spike_s=180, spike_every_s=1_800)
    mean = (1_620 + 5 * 180) / 1_800 * 4 / 20
    times = arrival_times(spikes, mean, 3_600, chance)
    runs = [SimulatedRun(time, [("tools", gamma(chance, 20.0, 0.5))]) for time in times]
    plan = PoolPlan(
        scaling="demand", slots=4, min_workers=minimum, cold_start_s=cold_s, poll_s=poll_s
    )
    return simulate(runs, {"pool": plan}, _ONE, seed=SEED)


def cold_start() -> Finding:
    """Return the finding on the cold starts of a chain of four steps."""
    rows: list[tuple[str, ...]] = [
        ("cold start", "tool between two calls", "idle exit", "cold starts of 4 steps", "waited")
    ]
    for cold_s in (10.0, 82.0):
        for tool_s in (10.0, 60.0):
            for exit_s in (30.0, 120.0):
                waited = sum(_chain(cold_s, tool_s, exit_s).step_waits)
                shown = (
                    f"{cold_s:g} s",
                    f"{tool_s:g} s",
                    f"{exit_s:g} s",
                    f"{waited / cold_s:.0f}",
                )
                rows.append((*shown, f"{waited:.0f} s"))
    claim = (
        "A 7B model loads in 8 to 12 s on an A10G; a chain of 4 steps pays 40 s on its cold path"
    )
    text = (
        "the idle exit beside the time of a tool: a chain pays one cold start while its worker is still"
        " warm, and four only if each tool outlasts the idle exit. And 8 to 12 s are less than weights take"
        " alone: vLLM with an 8B model needs 82 s with filled caches, of these 18 s for the weights, and"
        " 294 s without caches (tensorfuse.io, L40S)"
    )
    return Finding(claim, "depends", text, tuple(rows))


def _chain(cold_s: float, tool_s: float, exit_s: float) -> Outcome:
    steps: list[tuple[Role, float]] = [("generate", 2.0), ("tools", tool_s)] * 4
    routes: Routes = {"generate": (SimulatedLeg("gpu"),), "tools": (SimulatedLeg("cpu"),)}
    pools = {
        "gpu": PoolPlan(scaling="invoke", cold_start_s=cold_s, idle_exit_s=exit_s),
        "cpu": PoolPlan(min_workers=1, max_workers=1),
    }
    return simulate([SimulatedRun(0.0, steps)], pools, routes, seed=SEED)


def pod_eviction() -> Finding:
    """Return the finding on runs of two hours whose pods are evicted."""
    rows: list[tuple[str, ...]] = [
        ("evictions an hour", "a run in one process survives", "runs that ended here", "longer by")
    ]
    ended = True
    for per_hour in (0.1, 0.5, 2.0):
        outcome = _long_runs(per_hour)
        runs = len(outcome.completions)
        done = [completion for completion in outcome.completions if completion is not None]
        ended = ended and not outcome.unfinished
        longer = fmean(done) / 7_200 - 1
        rows.append(
            (
                f"{per_hour:g}",
                f"{math.exp(-2 * per_hour):.0%}".replace("%", " %"),
                f"{len(done)} of {runs}",
                f"{longer:.1%}".replace("%", " %"),
            )
        )
    claim = "A run of 2 hours is killed by node pressure"
    text = (
        "whether the run lives in the pod: in outlast it is a workflow, and an eviction costs the step in"
        " flight. The length of a step decides, and not the length of the run"
    )
    return Finding(claim, "contradicted" if ended else "depends", text, tuple(rows))


def _long_runs(per_hour: float) -> Outcome:
    """Run 20 runs of two hours, in steps of a minute, on workers that are evicted."""
    steps: list[tuple[Role, float]] = [("tools", 60.0)] * 120
    plan = PoolPlan(
        scaling="demand", slots=4, min_workers=6, cold_start_s=100, evictions_per_hour=per_hour
    )
    runs = [SimulatedRun(60.0 * number, steps) for number in range(20)]
    return simulate(runs, {"pool": plan}, _ONE, seed=SEED)
