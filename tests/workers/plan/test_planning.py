"""Plans: what is cheapest and why, deterministic output, and the command line."""

import json
from datetime import date

import pytest
from outlast_workers.__main__ import main
from outlast_workers.plan.break_even import break_evens
from outlast_workers.plan.estimate import ROUGH, Effort, priced, simulated
from outlast_workers.plan.planning import Plan, plan, plan_json, prices_for
from outlast_workers.plan.price_list import shipped_prices
from outlast_workers.plan.report import report
from outlast_workers.plan.workload import (
    ARCHITECTURES,
    ArchitectureName,
    Model,
    Workload,
    preset,
)

TODAY = date(2026, 11, 27)
SMALL = preset("spiky").model_copy(update={"concurrent_runs": 3.0, "turns": 4})


def planned(workload: Workload) -> Plan:
    return plan(workload, prices_for(workload, TODAY))


@pytest.fixture(scope="module")
def small() -> Plan:
    return planned(SMALL)


def test_a_few_spiky_runs_are_cheapest_on_serverless(small: Plan) -> None:
    assert small.cheapest.architecture.name == "serverless"
    assert set(small.estimates) == set(ARCHITECTURES)


def test_the_same_seed_gives_the_same_bytes(small: Plan) -> None:
    text = json.dumps(plan_json(small))
    assert json.dumps(plan_json(planned(SMALL))) == text


def test_every_part_of_the_cost_adds_up(small: Plan) -> None:
    for one in plan_json(small)["architectures"].values():
        parts = dict(one["usd_per_month"])
        total = parts.pop("total")
        assert total == pytest.approx(sum(parts.values()), abs=3)


def test_the_json_names_the_prices_with_dates_and_sources(small: Plan) -> None:
    prices = plan_json(small)["prices"]
    assert {"serverless.A10G", "node.A10G", "temporal.action"} <= set(prices)
    assert all({"date", "source"} <= set(price) for price in prices.values())


def test_an_architecture_that_starts_too_late_gets_a_warm_minimum() -> None:
    load = preset("spiky").model_copy(update={"concurrent_runs": 3.0})
    patient = load.model_copy(update={"start_p95_s": 300.0})
    hurried = load.model_copy(update={"start_p95_s": 5.0})
    late, soon = (simulated("serverless", load, effort=ROUGH) for load in (patient, hurried))
    assert late.architecture.pools["gpu"].plan.min_workers == 0
    assert soon.architecture.pools["gpu"].plan.min_workers >= 1
    assert late.start_p95_s > 5 >= soon.start_p95_s
    prices = shipped_prices()
    assert priced(late, patient, prices).cost.total < priced(soon, hurried, prices).cost.total


def test_the_warm_minimum_is_paid_for_all_day() -> None:
    prices = shipped_prices()
    result = simulated("managed", SMALL, effort=ROUGH)
    seldom = SMALL.model_copy(update={"active_hours_per_day": 0.1})
    usd = priced(result, seldom, prices).cost.compute
    gpu_usd = 730 * sum(
        amount * prices.hourly(name)
        for name, amount in result.architecture.pools["gpu"].bill.items()
    )
    assert usd >= gpu_usd


def test_people_cost_what_the_team_says() -> None:
    team = SMALL.team.model_copy(update={"usd_per_hour": 0.0})
    result = simulated("kubernetes", SMALL, effort=ROUGH)
    free = SMALL.model_copy(update={"team": team})
    assert priced(result, free, shipped_prices()).cost.people == 0
    assert priced(result, SMALL, shipped_prices()).cost.people == 100 * (24 + 16)


@pytest.mark.parametrize(
    ("actions", "usd"),
    [(1e6, 55), (13.75e6, 756.25), (40e6, 1_987.5)],
    ids=["developer", "still developer", "business: 37.5 million in four tiers, and 500"],
)
def test_temporal_cloud_costs_what_its_price_page_says(actions: float, usd: float) -> None:
    from outlast_workers.plan.costs import temporal_usd  # noqa: PLC0415

    workload = SMALL.model_copy(update={"kilobytes_per_turn": 0.0})
    chosen = simulated("serverless", workload, effort=ROUGH).architecture
    per_run = actions / workload.runs_per_month
    assert temporal_usd(chosen, workload, per_run, shipped_prices()) == pytest.approx(usd)


def test_a_part_of_a_large_load_costs_what_the_whole_costs() -> None:
    load = preset("steady")
    prices = shipped_prices()
    part, whole = (
        priced(simulated("kubernetes", load, effort=effort), load, prices).cost.compute
        for effort in (Effort(20_000, 300.0, 900.0), Effort(10**6, 300.0, 900.0))
    )
    assert part == pytest.approx(whole, rel=0.1)


def test_a_model_behind_an_api_needs_no_gpus() -> None:
    api = SMALL.model_copy(update={"model": Model(kind="api")})
    one = priced(simulated("kubernetes", api, effort=ROUGH), api, shipped_prices())
    assert set(one.pools) == {"cpu"}
    per_call = (4_000 * 0.5 + 300 * 1.5) / 1e6
    assert one.cost.tokens == pytest.approx(per_call * 4 * api.runs_per_month)


def test_the_command_prints_the_plan_and_warns_of_old_prices(
    small: Plan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast_workers.__main__._run_to_exit", lambda command: command)
    monkeypatch.setattr("outlast_workers.plan.commands.plan", lambda workload, prices: small)
    assert main(["plan", "--workload", "spiky", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["cheapest"] == "serverless"
    assert err.startswith("warning: ")
    assert err.count("\n") == 1
    assert main(["plan", "--workload", "spiky"]) == 0
    assert "* Cheapest: serverless" in capsys.readouterr().out


def test_the_report_names_the_cheapest_and_what_the_team_assumes(small: Plan) -> None:
    text = report(small)
    assert "* Cheapest: serverless" in text
    bound = f"{small.workload.start_p95_s:g}"
    assert f"19 of 20 runs must start within {bound} s: start_p95_s of the workload." in text
    assert "100 USD an hour" in text
    assert "Break-even" in text
    assert "What decides" in text


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--concurrency", "0"], "'0' is not a number above 0"),
        (["--concurrency", "nan"], "'nan' is not a number above 0"),
        (["--seed", "-1"], "'-1' is not a whole number"),
        (["--model", "tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_wrong_options_are_named(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["plan", *words])
    assert problem in capsys.readouterr().err


def test_costs_that_only_touch_have_no_break_even() -> None:
    """Two curves that meet at one load of the search, and keep their order beside it."""
    workload = preset("spiky").model_copy(update={"concurrent_runs": 20.0})

    def touching(name: ArchitectureName, concurrent_runs: float) -> float:
        return 100 if name == "managed" else 100 + abs(concurrent_runs - 5) - 0.01

    def crossing(name: ArchitectureName, concurrent_runs: float) -> float:
        return 100 if name == "managed" else 80 + concurrent_runs

    assert break_evens("managed", workload, touching, ["serverless"]) == []
    (point,) = break_evens("managed", workload, crossing, ["serverless"])
    assert point.concurrent_runs == pytest.approx(20, rel=0.1)
    assert (point.cheaper, point.dearer) == ("managed", "serverless")
