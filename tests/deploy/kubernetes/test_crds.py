"""The chart's objects against the CRDs of every supported version of their operators."""

import copy
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.deploy.kubernetes.chart import SETS, rendered
from tests.deploy.kubernetes.crds import (
    FOLDER,
    READ_AS_ANOTHER,
    SCHEMAS,
    UNVERIFIED,
    VERSIONS,
    borrowed,
    operator_of,
    problems,
)
from tests.deploy.tools import ROOT, run

NEWER = {("worker-controller, private CA", "1.8.1")}
"""Sets that need a newer version, as versions.yaml says of it."""


ONLY_IN_EXAMPLES = {"externalSecrets", "envoyGateway", "argoCd", "fluxHelm", "fluxSource"}
"""Operators whose objects no set renders: the tests of the examples check them."""


def checked() -> list[tuple[str, str]]:
    rendered_ones = {name: SCHEMAS[name] for name in SCHEMAS.keys() - ONLY_IN_EXAMPLES}
    return [
        (name, version) for name, versions in sorted(rendered_ones.items()) for version in versions
    ]


def objects(name: str, operator: str) -> list[Mapping[str, Any]]:
    return [one for one in rendered(name).objects if operator_of(one) == operator]


@pytest.mark.parametrize(("operator", "version"), checked())
def test_every_set_is_accepted_by_the_crds_of_a_version(operator: str, version: str) -> None:
    seen = [
        (name, one)
        for name in SETS
        for one in objects(name, operator)
        if (name, version) not in NEWER
    ]
    assert seen
    assert [problem for _, one in seen for problem in problems(one, version)] == []


def test_a_private_ca_needs_the_newer_controller() -> None:
    (connection,) = [
        one
        for one in objects("worker-controller, private CA", "workerController")
        if one["kind"] == "Connection"
    ]
    assert not list(problems(connection, "1.10.1"))
    assert "'caCertSecretRef' was unexpected" in " ".join(problems(connection, "1.8.1"))


@pytest.mark.parametrize(
    ("kind", "path", "value", "versions"),
    [
        ("ScaledJob", ("scalingStrategy",), {"strategy": "default"}, ["2.20.0", "2.20.1"]),
        ("ScaledJob", ("rollout", "strategy"), "default", ["2.20.0", "2.20.1", "2.20.2"]),
        ("ScaledJob", ("polingInterval",), 5, ["2.20.0", "2.20.1", "2.20.2"]),
        ("ScaledObject", ("fallback", "behavior"), "keep", ["2.20.0", "2.20.1", "2.20.2"]),
        ("ScaledObject", ("minReplicaCount",), "1", ["2.20.0", "2.20.1", "2.20.2"]),
    ],
)
def test_what_a_version_of_keda_refuses_is_refused_here(
    kind: str, path: tuple[str, ...], value: object, versions: list[str]
) -> None:
    (resource, *_) = [
        one
        for name in ("gpus", "jobs on backlog")
        for one in objects(name, "keda")
        if one["kind"] == kind
    ]
    wrong = copy.deepcopy(dict(resource))
    node = wrong["spec"]
    for step in path[:-1]:
        node = node.setdefault(step, {})
    node[path[-1]] = value
    assert [version for version in SCHEMAS["keda"] if list(problems(wrong, version))] == versions


def test_each_schema_names_the_file_and_the_version_that_it_was_read_from() -> None:
    files = sorted(FOLDER.glob("*/*.json"))
    used = {
        folder for versions in SCHEMAS.values() for each in versions.values() for folder in each
    }
    assert {file.parent.name for file in files} == used
    for file in files:
        source = json.loads(file.read_text())["source"]
        assert re.match(r"[\w-]+/[\w-]+ (v\d+\.\d+\.\d+|[0-9a-f]{40}) \S+\.yaml", source), file


def test_the_table_has_every_version_that_a_schema_is_for_and_says_what_is_unverified() -> None:
    for operator, versions in SCHEMAS.items():
        assert set(VERSIONS[operator]["checked"]) == set(versions)
        assert VERSIONS[operator]["minimum"] in versions
        assert UNVERIFIED[operator]


def test_what_is_unverified_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`make check-deploy ARGS="-k unverified -s"` prints the list."""
    every = [(operator, version) for operator, versions in SCHEMAS.items() for version in versions]
    found = {one: kinds for one in every if (kinds := borrowed(*one))}
    assert found.keys() == READ_AS_ANOTHER.keys()
    for (operator, version), sentence in READ_AS_ANOTHER.items():
        told = f"{UNVERIFIED[operator]} {VERSIONS[operator]['checked'][version]}"
        assert all(word in told for word in re.findall(r"v?\d+\.\d+\.\d+", sentence)), told
    not_installed = {key for key in VERSIONS if key not in {"helm", "temporalServer"}}
    assert not_installed == UNVERIFIED.keys() - {"x-kubernetes-validations"} | {"kubernetes"}
    with capsys.disabled():
        for key, reason in UNVERIFIED.items():
            print(f"\nunverified: {key}: {reason}", end="")
        for (operator, version), kinds in found.items():
            print(
                f"\nread as another version: {operator} {version}: {', '.join(sorted(kinds))}",
                end="",
            )


def test_the_readme_and_the_chart_have_the_versions_of_the_table() -> None:
    readme = (ROOT / "deploy/kubernetes/README.md").read_text()
    names = {
        "kubernetes": "Kubernetes",
        "keda": "KEDA",
        "workerController": "Temporal worker controller",
        "gatewayApi": "Gateway API",
        "externalSecrets": "External Secrets operator",
        "prometheusOperator": "Prometheus operator",
        "envoyGateway": "Envoy Gateway",
        "argoCd": "Argo CD",
        "fluxHelm": "Flux helm-controller",
        "fluxSource": "Flux source-controller",
        "temporalServer": "Temporal server",
        "helm": "Helm",
    }
    assert set(names) == set(VERSIONS)
    for key, name in names.items():
        minimum = VERSIONS[key]["minimum"]
        others = [str(value) for word, value in VERSIONS[key].items() if "With" in word]
        checks = "; ".join(f"{version}: {how}" for version, how in VERSIONS[key]["checked"].items())
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| {name} | {minimum}")]
        assert all(f"; {other} with" in row for other in others), row
        assert row.endswith(f"| {checks} |"), row
    chart = (ROOT / "deploy/kubernetes/chart/Chart.yaml").read_text()
    assert f'kubeVersion: ">={VERSIONS["kubernetes"]["minimum"]}-0"' in chart
    words = " ".join(readme.split())
    for reason in UNVERIFIED.values():
        assert reason in words, reason


@pytest.mark.parametrize(
    ("cluster", "trigger", "is_accepted"),
    [
        ("1.30.0", "none", True),
        ("1.29.9", "none", False),
        ("1.32.4", "temporal", False),
        ("1.33.1-gke.1", "temporal", True),
    ],
)
def test_the_chart_refuses_a_cluster_that_is_too_old(
    cluster: str, trigger: str, is_accepted: bool
) -> None:
    done = run(
        *("helm", "template", "outlast", "deploy/kubernetes/chart", "--kube-version", cluster),
        *("-f", "deploy/kubernetes/values/values-cpu.yaml", "--set-string", "image.tag=a"),
        *("--set", f"scaling.trigger={trigger}"),
    )
    assert (done.returncode == 0) == is_accepted, done.stdout
    assert is_accepted or f"Kubernetes v{cluster}" in done.stdout or "kubeVersion" in done.stdout
