"""Builds beside each other: what stays, what has which name, and what a selector chooses."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.deploy.kubernetes.chart import BUILD, Release, rendered

KEPT = {
    "helm.sh/resource-policy": "keep",
    "argocd.argoproj.io/sync-options": "Prune=false",
    "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
}
"""Helm neither deletes such an object nor, from 4.2 on, refuses to adopt it in a rollback."""


def test_nothing_takes_the_workers_of_a_build_away_when_another_is_installed() -> None:
    """An upgrade, a rollback and a sync delete what the new manifest lacks, unless it is to be kept."""
    for name in ("gpus", "jobs on backlog"):
        old, new = rendered(name), _with_tag(name, "2026-12-01")
        now = {_identity(one) for one in new.objects}
        gone = [one for one in old.objects if _identity(one) not in now]
        assert {one["kind"] for one in gone} >= {"Deployment", "ScaledObject", "ConfigMap"}
        for one in gone:
            assert KEPT.items() <= one["metadata"]["annotations"].items(), _identity(one)
            assert one["metadata"]["labels"]["outlast.dev/build"] == BUILD


def test_a_build_that_stays_finds_what_its_pods_refer_to() -> None:
    release = rendered("gpus")
    kept = {
        (one["kind"], one["metadata"]["name"])
        for one in release.objects
        if KEPT.items() <= one["metadata"].get("annotations", {}).items()
    }
    for pod in release.workers:
        if pod.version[1] is None:
            continue
        (settings,) = (
            one["configMap"]["name"] for one in pod.spec["volumes"] if "configMap" in one
        )
        assert {("ConfigMap", settings), ("ServiceAccount", pod.spec["serviceAccountName"])} <= kept
        policies = [one for kind, one in kept if kind == "NetworkPolicy"]
        assert pod.template["metadata"]["labels"]["app.kubernetes.io/component"] in policies


def test_an_upgrade_changes_nothing_of_the_pods_of_the_build_before() -> None:
    """They are no part of the new manifest, so no value of it can restart them."""
    old = {_identity(one) for one in rendered("gpus").objects if one["kind"] == "Deployment"}
    new = {_identity(one) for one in _with_tag("gpus", "2026-12-01").objects}
    assert old & new == {("Deployment", "outlast-demand"), ("Deployment", "outlast-callback"),
                         ("Deployment", "outlast-vllm")}  # fmt: skip


def _with_tag(name: str, tag: str) -> Release:
    return rendered(name, tag=tag)


def _identity(one: Mapping[str, Any]) -> tuple[str, str]:
    return one["kind"], one["metadata"]["name"]


@pytest.mark.parametrize(
    ("one", "other"), [("a.b", "a_b"), ("v1.2.3-14-gabcdef0123456-a", "v1.2.3-14-gabcdef0123456-b")]
)
def test_two_tags_never_have_the_same_names(one: str, other: str) -> None:
    names = [
        {each["metadata"]["name"] for each in rendered("cpu", tag=tag).of("Deployment")}
        for tag in (one, other)
    ]
    assert names[0].isdisjoint(names[1])


def test_selectors_of_two_deployments_have_no_pod_in_common(release: Release) -> None:
    deployments = release.of("Deployment")
    for one in deployments:
        wanted = one["spec"]["selector"]["matchLabels"].items()
        chosen = [
            other["metadata"]["name"]
            for other in deployments
            if wanted <= other["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert chosen == [one["metadata"]["name"]]
