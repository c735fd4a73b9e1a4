"""The simulation beside formulas and rules: Erlang C, queues in order, spillover, exits, scale-in."""

import heapq
import math
import random
from collections.abc import Sequence

import pytest
from outlast_workers.plan.clock import Clock
from outlast_workers.plan.pools import Pool, PoolPlan, Task
from outlast_workers.plan.simulation import (
    Outcome,
    Role,
    Routes,
    SimulatedLeg,
    SimulatedRun,
    simulate,
)

ONE: Routes = {"generate": (SimulatedLeg("pool"),), "tools": (SimulatedLeg("pool"),)}


def single_steps(arrivals: Sequence[float], work: Sequence[float]) -> list[SimulatedRun]:
    return [
        SimulatedRun(arrival, [("tools", seconds)])
        for arrival, seconds in zip(arrivals, work, strict=True)
    ]


def on_one_pool(runs: Sequence[SimulatedRun], plan: PoolPlan, seed: int = 1) -> Outcome:
    return simulate(runs, {"pool": plan}, ONE, seed=seed)


def fixed(workers: int, slots: int = 1) -> PoolPlan:
    return PoolPlan(slots=slots, min_workers=workers, max_workers=workers)


def exponential(count: int, mean: float, chance: random.Random) -> list[float]:
    """Return the quantiles of an exponential distribution in random order: less noise than samples."""
    values = [-mean * math.log(1 - (number + 0.5) / count) for number in range(count)]
    chance.shuffle(values)
    return values


def poisson(count: int, per_s: float, chance: random.Random) -> list[float]:
    time, times = 0.0, []
    for gap in exponential(count, 1 / per_s, chance):
        time += gap
        times.append(time)
    return times


def erlang_c(servers: int, load: float) -> float:
    """Return the probability of waiting in M/M/c, by the recursion of Erlang B."""
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def test_as_many_runs_wait_as_erlang_c_says() -> None:
    """tests/long/scaling/test_erlang.py has more servers, and mean waits."""
    servers, utilization, count, chance = 2, 0.5, 40_000, random.Random(3)
    runs = single_steps(
        poisson(count, servers * utilization, chance), exponential(count, 1.0, chance)
    )
    waits = on_one_pool(runs, fixed(servers)).step_waits
    waiting = sum(wait > 1e-9 for wait in waits) / count
    assert waiting == pytest.approx(erlang_c(servers, servers * utilization), rel=0.02)


@pytest.mark.parametrize(("workers", "slots"), [(3, 1), (1, 3)])
def test_waits_are_exactly_those_of_a_queue_in_order(workers: int, slots: int) -> None:
    chance = random.Random(5)
    arrivals = poisson(2_000, 2.7, chance)
    work = [chance.gammavariate(2, 0.5) for _ in arrivals]
    free_at = [0.0] * (workers * slots)
    expected = {}
    for arrival, seconds in zip(arrivals, work, strict=True):
        start = max(arrival, heapq.heappop(free_at))
        heapq.heappush(free_at, start + seconds)
        expected[arrival] = start - arrival
    outcome = on_one_pool(single_steps(arrivals, work), fixed(workers, slots))
    assert outcome.start_delays == pytest.approx(list(expected.values()))


def test_equal_seeds_give_equal_outcomes_and_others_do_not() -> None:
    chance = random.Random(7)
    arrivals = poisson(200, 0.5, chance)
    runs = single_steps(arrivals, exponential(200, 10.0, chance))
    plan = PoolPlan(scaling="demand", slots=2, cold_start_s=30, evictions_per_hour=1)
    assert on_one_pool(runs, plan, seed=1) == on_one_pool(runs, plan, seed=1)
    assert on_one_pool(runs, plan, seed=1) != on_one_pool(runs, plan, seed=2)


def test_a_step_spills_to_the_next_leg_when_no_slot_is_free_in_time() -> None:
    routes: Routes = {
        "generate": (SimulatedLeg("near", start_within_s=20), SimulatedLeg("far")),
        "tools": (),
    }
    runs = [SimulatedRun(0.0, [("generate", 30.0)]) for _ in range(3)]
    pools = {"near": fixed(1), "far": fixed(1)}
    outcome = simulate(runs, pools, routes, seed=1)
    # The third waits for 20 s on the first leg, and then for the second on the other one.
    assert outcome.completions == [30, 50, 80]
    assert outcome.served == {"near": 1, "far": 2}


def test_a_withdrawn_task_is_not_run_and_counts_for_no_demand() -> None:
    routes: Routes = {
        "generate": (SimulatedLeg("near", start_within_s=10), SimulatedLeg("far")),
        "tools": (),
    }
    runs = [SimulatedRun(float(second), [("generate", 100.0)]) for second in range(50)]
    pools = {"near": fixed(2), "far": fixed(50)}
    outcome = simulate(runs, pools, routes, seed=1)
    assert outcome.served == {"near": 2, "far": 48}
    assert outcome.usage["near"].busy_s == 200


def test_a_worker_is_paid_from_its_start_until_its_idle_exit() -> None:
    plan = PoolPlan(scaling="invoke", cold_start_s=2, idle_exit_s=5)
    outcome = on_one_pool(single_steps([10.0, 16.0, 60.0], [3.0, 3.0, 3.0]), plan)
    # The second finds the first worker idle, which then exits at 24.
    assert outcome.usage["pool"].machine_seconds(0, 50) == pytest.approx(14)
    assert outcome.start_delays == [2, 0, 2]


def test_a_chain_pays_one_cold_start_while_its_worker_stays_warm() -> None:
    def chain(tool_s: float) -> float:
        steps: list[tuple[Role, float]] = [("generate", 2.0), ("tools", tool_s)] * 4
        routes: Routes = {"generate": (SimulatedLeg("gpu"),), "tools": (SimulatedLeg("cpu"),)}
        gpu = PoolPlan(scaling="invoke", cold_start_s=10, idle_exit_s=30)
        outcome = simulate(
            [SimulatedRun(0.0, steps)], {"gpu": gpu, "cpu": fixed(1)}, routes, seed=1
        )
        return sum(outcome.step_waits)

    assert chain(tool_s=29) == 10
    assert chain(tool_s=31) == 40


def test_an_evicted_worker_costs_a_run_its_step_and_not_the_run() -> None:
    steps: list[tuple[Role, float]] = [("tools", 60.0)] * 120
    plan = PoolPlan(min_workers=1, max_workers=1, evictions_per_hour=2, hand_back_s=10)
    outcome = on_one_pool([SimulatedRun(0.0, steps)], plan)
    interrupted = outcome.usage["pool"].interrupted
    assert outcome.unfinished == 0
    assert interrupted > 0
    assert outcome.completions[0] is not None
    assert 7_200 < outcome.completions[0] <= 7_200 + interrupted * 70


def test_scaling_by_the_backlog_interrupts_work_and_demand_does_not() -> None:
    def interrupted(scaling: str) -> int:
        plan = PoolPlan(
            scaling="backlog" if scaling == "backlog" else "demand",
            min_workers=1,
            max_workers=12,
            cold_start_s=30,
            drain_s=20,
            removal_s=0,
        )
        waves = [900.0 * wave + 10 * number for wave in range(3) for number in range(8)]
        outcome = on_one_pool(single_steps(waves, [500.0] * len(waves)), plan)
        assert outcome.unfinished == 0
        return outcome.usage["pool"].interrupted

    assert interrupted("demand") == 0
    assert interrupted("backlog") > 3


def test_a_machine_that_was_kept_needs_no_boot() -> None:
    clock = Clock()
    plan = PoolPlan(cold_start_s=1, machine_boot_s=60, machine_keep_s=100)
    pool = Pool(clock, plan, random.Random(1))
    started_at: list[float] = []

    def end(task: Task) -> None:
        started_at.append(task.started_at)
        pool.stop_one()

    for arrival in (0.0, 100.0, 300.0):
        clock.after(arrival, pool.start)
        clock.after(arrival, pool.put, Task(10.0, end))
    clock.run(1_000.0, lambda: False)
    assert started_at == [61, 101, 361]
    # One machine from 0 to 211, and one from 300 to 471.
    assert pool.usage.machine_seconds(0, 1_000) == pytest.approx(211 + 171)


def test_calls_on_one_gpu_slow_each_other_down() -> None:
    plan = PoolPlan(slots=16, min_workers=1, batch_slowdown=0.1)
    outcome = on_one_pool(single_steps([0.0, 0.0, 0.0], [10.0] * 3), plan)
    assert outcome.completions == pytest.approx([10, 11, 12])


def test_a_bounded_life_ends_a_worker_that_a_trickle_keeps() -> None:
    chance = random.Random(2)
    runs = single_steps([10.0 * number for number in range(360)], exponential(360, 5.0, chance))
    endless = PoolPlan(scaling="invoke", idle_exit_s=60)
    bounded = PoolPlan(scaling="invoke", idle_exit_s=60, max_life_s=300)
    assert on_one_pool(runs, endless).usage["pool"].starts < 5
    assert on_one_pool(runs, bounded).usage["pool"].starts >= 10


def test_tasks_of_an_evicted_worker_start_again_in_their_order() -> None:
    """All start at the same time, so only the order in which they began can decide."""
    for _ in range(20):
        clock = Clock()
        pool = Pool(clock, PoolPlan(scaling="demand", slots=8, min_workers=1), random.Random(1))
        (worker,) = pool.workers
        tasks = [Task(60.0, done=lambda _: None) for _ in range(8)]
        for task in sorted(tasks, key=id, reverse=True):
            pool.put(task)
        pool.evict(worker)
        clock.run(2.0, is_over=lambda: False)
        assert [*pool.waiting] == sorted(tasks, key=id, reverse=True)
