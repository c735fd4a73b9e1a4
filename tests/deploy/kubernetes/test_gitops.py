"""The examples for Argo CD and Flux: CRDs and chart accept them, and older builds survive a sync."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.kubernetes.chart import CHART, rendered
from tests.deploy.kubernetes.crds import GROUPS, SCHEMAS, operator_of, problems
from tests.deploy.tools import ROOT, run

EXAMPLES = ROOT / "deploy" / "kubernetes" / "examples"

FILES = ("argo-cd.yaml", "flux.yaml")


def objects(file: str) -> list[Mapping[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / file).read_text()))


def one_of(file: str, kind: str) -> Mapping[str, Any]:
    (found,) = (one for one in objects(file) if one["kind"] == kind)
    return found


def chart_and_options(file: str, folder: Path) -> tuple[Path, list[str | Path]]:
    """Return the chart, and the options with which the tool would render it."""
    if file == "argo-cd.yaml":
        source = one_of(file, "Application")["spec"]["source"]
        chart, helm = ROOT / source["path"], source["helm"]
        options: list[str | Path] = [
            word for name in helm["valueFiles"] for word in ("-f", chart / name)
        ]
        for each in helm["parameters"]:
            flag = "--set-string" if each.get("forceString") else "--set"
            options += [flag, f"{each['name']}={each['value']}"]
        return chart, options
    spec = one_of(file, "HelmRelease")["spec"]
    values = folder / "values.yaml"
    values.write_text(yaml.safe_dump(spec["values"]))
    files = [ROOT / name for name in spec["chart"]["spec"]["valuesFiles"]]
    return ROOT / spec["chart"]["spec"]["chart"], [
        word for name in [*files, values] for word in ("-f", name)
    ]


def as_rendered(file: str, folder: Path) -> list[Mapping[str, Any]]:
    chart, options = chart_and_options(file, folder)
    done = run("helm", "template", "outlast", chart, "-n", "agents", *options)
    assert done.returncode == 0, done.stdout
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def jobs(*options: str) -> list[Mapping[str, Any]]:
    named = rendered("promotion", *options).of("Job")
    return [one for one in named if "promotion" in one["metadata"]["name"]]


def seconds(duration: str) -> float:
    parts: Iterator[tuple[str, str]] = iter(re.findall(r"(\d+)([smh])", duration))
    return sum(int(number) * {"s": 1, "m": 60, "h": 3600}[unit] for number, unit in parts)


@pytest.mark.parametrize("file", FILES)
def test_an_example_is_accepted_by_every_version_of_its_operator(file: str) -> None:
    for one in objects(file):
        operator = operator_of(one)
        assert operator is not None
        for version in SCHEMAS[operator]:
            assert list(problems(one, version)) == []


def test_every_operator_of_the_examples_is_known() -> None:
    used = {one["apiVersion"].partition("/")[0] for file in FILES for one in objects(file)}
    assert used <= GROUPS.keys()


@pytest.mark.parametrize("file", FILES)
def test_the_chart_accepts_the_values_of_an_example(file: str, tmp_path: Path) -> None:
    release = as_rendered(file, tmp_path)
    kinds = {one["kind"] for one in release}
    assert {"Deployment", "ScaledObject", "Job"} <= kinds


@pytest.mark.parametrize("file", FILES)
def test_every_object_of_a_build_survives_a_sync(file: str, tmp_path: Path) -> None:
    kept = [
        one
        for one in as_rendered(file, tmp_path)
        if "outlast.dev/build" in one["metadata"]["labels"]
    ]
    assert {one["kind"] for one in kept} >= {"Deployment", "ConfigMap", "ScaledObject"}
    for one in kept:
        annotations = one["metadata"]["annotations"]
        assert annotations["helm.sh/resource-policy"] == "keep"  # for Argo CD also Delete=false
        assert annotations["argocd.argoproj.io/sync-options"] == "Prune=false"
        assert annotations["argocd.argoproj.io/compare-options"] == "IgnoreExtraneous"


def test_a_tag_of_digits_stays_text() -> None:
    parameters = one_of("argo-cd.yaml", "Application")["spec"]["source"]["helm"]["parameters"]
    (tag,) = (one for one in parameters if one["name"] == "image.tag")
    assert tag["forceString"] is True
    assert isinstance(one_of("flux.yaml", "HelmRelease")["spec"]["values"]["image"]["tag"], str)


def test_flux_waits_for_the_model_and_not_for_the_promotion(tmp_path: Path) -> None:
    spec = one_of("flux.yaml", "HelmRelease")["spec"]
    for action in ("install", "upgrade", "rollback"):
        assert spec[action]["disableWaitForJobs"] is True
    for action in ("install", "upgrade"):
        assert spec[action]["strategy"]["name"] == "RetryOnFailure"
    deadlines = [
        one["spec"]["progressDeadlineSeconds"]
        for one in as_rendered("flux.yaml", tmp_path)
        if one["kind"] == "Deployment" and "progressDeadlineSeconds" in one["spec"]
    ]
    assert seconds(spec["timeout"]) >= max(deadlines)


def test_deleting_the_application_deletes_nothing() -> None:
    assert "finalizers" not in one_of("argo-cd.yaml", "Application")["metadata"]


def test_the_promotion_is_a_job_of_the_release_and_no_hook() -> None:
    (job,) = jobs()
    annotations = job["metadata"].get("annotations", {})
    assert not {name for name in annotations if "hook" in name}


@pytest.mark.parametrize(
    "option",
    ["promotion.backoffLimit=9", "image.pullPolicy=Always", "podSecurityContext.fsGroup=7"],
)
def test_any_change_of_the_promotion_gives_the_job_another_name(option: str) -> None:
    """A Job cannot be changed: under the same name, the next upgrade or sync would fail."""
    (before,), (after,) = jobs(), jobs(option)
    assert before["spec"] != after["spec"]
    assert before["metadata"]["name"] != after["metadata"]["name"]


def test_the_examples_name_the_chart_of_this_repository() -> None:
    for file in FILES:
        assert CHART in (EXAMPLES / file).read_text()
