"""Workloads: presets, files, wrong inputs, and the arrivals that they describe."""

import json
import random
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pvariance
from typing import Any

import pytest
from outlast_workers.plan.arrivals import arrival_times, sample_runs
from outlast_workers.plan.workload import Arrivals, Workload, preset, read_workload

from outlast.errors import NotReady

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"concurent_runs": 3}, "concurent_runs: unknown field; did you mean 'concurrent_runs'?"),
    ({"concurrent_runs": 0}, "concurrent_runs: 0: input should be greater than 0"),
    ({"concurrent_runs": 1e9}, "concurrent_runs: 1000000000.0: input should be less than"),
    ({"concurrent_runs": "many"}, "concurrent_runs: 'many': input should be a valid number"),
    ({"active_hours_per_day": 25}, "active_hours_per_day: 25: input should be less than"),
    ({"turns": 1.5}, "turns: 1.5: input should be a valid integer"),
    ({"model": {"kind": "tpu"}}, "model.kind: 'tpu': input should be 'gpu' or 'api'"),
    ({"model": {"gpus": "H100"}}, "model.gpus: unknown field; did you mean 'gpu'?"),
    ({"arrivals": {"spike_s": 100, "spike_every_s": 60}}, "spike_s is 100, and must be less than"),
    ({"arrivals": {"cv2": -1}}, "arrivals.cv2: -1: input should be greater than"),
    ({"team": {"hours_per_month": {"managed": 1}}}, "hours_per_month lacks serverless"),
    ({"team": {"hours_per_month": {"nomad": 1}}}, "team.hours_per_month.nomad"),
    ({"prices": {"node.A10G": -1}}, "prices.node.A10G: -1: input should be greater"),
]


@pytest.mark.parametrize(("table", "problem"), WRONG, ids=[problem for _, problem in WRONG])
def test_a_wrong_workload_is_named(tmp_path: Path, table: dict[str, Any], problem: str) -> None:
    file = tmp_path / "load.json"
    file.write_text(json.dumps(table))
    with pytest.raises(NotReady) as raised:
        read_workload(str(file))
    assert str(raised.value).startswith(f"{file}: ")
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("load.json", "{", "load.json: is not JSON"),
        ("load.json", "[1]", "load.json: must be a table"),
        ("load.toml", "turns =", "load.toml: is not TOML"),
        ("load.json", '{"concurrent_runs": NaN}', "load.json"),
    ],
)
def test_a_file_that_is_no_workload_is_named(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(NotReady) as raised:
        read_workload(str(file))
    assert problem in str(raised.value)


def test_an_unknown_name_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"'spikey' is neither .*did you mean 'spiky'\?"):
        read_workload("spikey")
    with pytest.raises(NotReady, match="cannot be read: No such file"):
        read_workload(str(tmp_path / "missing.toml"))


def test_toml_and_json_give_the_same_workload(tmp_path: Path) -> None:
    (tmp_path / "load.toml").write_text("turns = 3\n[arrivals]\ncv2 = 4\n")
    (tmp_path / "load.json").write_text('{"turns": 3, "arrivals": {"cv2": 4}}')
    read = [read_workload(str(tmp_path / name)) for name in ("load.toml", "load.json")]
    assert read[0] == read[1] == Workload(turns=3, arrivals=Arrivals(cv2=4))


@pytest.mark.parametrize("cv2", [0.0, 0.25, 1.0, 4.0])
def test_gaps_between_arrivals_have_the_given_variation(cv2: float) -> None:
    times = arrival_times(Arrivals(cv2=cv2), 2.0, 10_000.0, random.Random(1))
    gaps = [after - before for before, after in pairwise(times)]
    assert fmean(gaps) == pytest.approx(0.5, rel=0.05)
    assert pvariance(gaps) / fmean(gaps) ** 2 == pytest.approx(cv2, rel=0.1, abs=1e-9)


def test_spikes_have_their_factor_and_leave_the_mean_alone() -> None:
    spikes = Arrivals(cv2=0, spike_factor=5, spike_s=100, spike_every_s=1_000)
    times = arrival_times(spikes, 3.0, 10_000.0, random.Random(1))
    in_spike = sum(time % 1_000 >= 900 for time in times)
    assert len(times) == pytest.approx(30_000, rel=0.001)
    assert in_spike / 1_000 == pytest.approx(5 * (len(times) - in_spike) / 9_000, rel=0.01)


def test_as_many_runs_are_in_progress_as_the_workload_says() -> None:
    workload = preset("steady")
    runs = sample_runs(workload, 3_000.0)
    work = sum(seconds for run in runs for _, seconds in run.steps)
    assert work / 3_000 == pytest.approx(workload.concurrent_runs, rel=0.03)
