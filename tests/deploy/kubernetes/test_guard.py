"""The hooks that refuse to remove the workers of open runs."""

import argparse
from collections.abc import Mapping
from typing import Any

import pytest
from outlast_workers.builds.arguments import add_build_commands
from outlast_workers.builds.commands import EXIT_DRAINING

from tests.deploy.kubernetes.chart import BUILD, NAMESPACE, SETS, Pod, refusal, rendered

HELM_TIMEOUT_S = 300
"""`--timeout` of helm by default, which also bounds hooks."""

RELEASED = ("versioning.keep=false",)


def guards(name: str, *options: str, tag: str = BUILD) -> dict[str, Pod]:
    """Return the hooks of a set, by the events that Helm runs them for."""
    pods = [pod for pod in rendered(name, *options, tag=tag).pods if pod.main["name"] == "guard"]
    return {pod.owner["metadata"]["annotations"]["helm.sh/hook"]: pod for pod in pods}


def options_of(pod: Pod) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_build_commands(parser.add_subparsers(dest="command"))
    options = parser.parse_args(pod.main["args"])
    assert options.command == "builds"
    return options


@pytest.mark.parametrize("name", sorted(set(SETS) - {"unversioned", "builds that do not stay"}))
def test_an_uninstall_is_checked_and_an_upgrade_keeps_what_runs_need(name: str) -> None:
    (hook,), (pod,) = zip(*guards(name).items(), strict=True)
    assert hook == "pre-delete"
    options = options_of(pod)
    assert (options.check, options.ignored) == ([], [])
    assert f"helm uninstall outlast -n {NAMESPACE} --no-hooks" in options.otherwise


def test_builds_that_do_not_stay_are_checked_before_an_upgrade_and_a_rollback() -> None:
    found = guards("gpu", *RELEASED)
    assert found.keys() == {"pre-delete", "pre-upgrade,pre-rollback"}
    # A rollback runs the hooks of the revision that it goes back to: the build of that revision stays.
    options = options_of(guards("gpu", *RELEASED, tag="v1")["pre-upgrade,pre-rollback"])
    assert options.ignored == ["v1"]
    assert "guard.enabled" in options.otherwise


def test_nothing_of_a_build_is_kept_that_an_upgrade_removes() -> None:
    def kept(one: Mapping[str, Any]) -> bool:
        return "helm.sh/resource-policy" in one["metadata"].get("annotations", {})

    assert [one for one in rendered("gpus").objects if kept(one)]
    assert [one for one in rendered("gpus", *RELEASED).objects if kept(one)] == []


def test_a_hook_needs_nothing_that_the_release_makes_later() -> None:
    for name in ("gpu", "mutual TLS"):
        release = rendered(name, *RELEASED)
        made = {one["metadata"]["name"] for one in release.of("ConfigMap", "ServiceAccount")}
        for pod in guards(name, *RELEASED).values():
            assert pod.spec["serviceAccountName"] == "default"
            assert pod.spec["automountServiceAccountToken"] is False
            volumes = [volume for volume in pod.spec["volumes"] if "configMap" in volume]
            assert volumes == []
            assert "OUTLAST_CONFIG" not in pod.variables
            assert pod.spec["serviceAccountName"] not in made
            assert pod.spec["volumes"], "a folder for temporary files, and the certificates"


def test_open_runs_end_a_hook_at_once_and_it_ends_before_helm_gives_up() -> None:
    for pod in guards("gpu", *RELEASED).values():
        spec = pod.owner["spec"]
        (rule,) = spec["podFailurePolicy"]["rules"]
        assert rule["action"] == "FailJob"
        assert rule["onExitCodes"]["values"] == [2, EXIT_DRAINING]
        assert rule["onExitCodes"]["containerName"] == pod.main["name"]
        assert spec["activeDeadlineSeconds"] < HELM_TIMEOUT_S
        annotations = pod.owner["metadata"]["annotations"]
        # Argo CD creates a hook anew only with before-hook-creation; a Job that failed keeps its log.
        policies = annotations["helm.sh/hook-delete-policy"].split(",")
        assert set(policies) == {"before-hook-creation", "hook-succeeded"}
        assert annotations["helm.sh/hook-output-log-policy"] == "hook-failed"


def test_the_worker_controller_has_a_deployment_of_another_name() -> None:
    (pod,) = guards("worker-controller").values()
    assert options_of(pod).deployment == f"{NAMESPACE}/outlast-worker"
    assert "decides how long a build stays" in refusal("worker-controller", *RELEASED)


def test_the_guard_can_be_switched_off() -> None:
    assert guards("gpu", "guard.enabled=false") == {}
    assert guards("unversioned") == {}
    names = [one["metadata"]["name"] for one in rendered("gpu", "guard.enabled=false").objects]
    assert not any("guard" in name for name in names)


def test_the_guard_reaches_temporal() -> None:
    for pod in guards("gpu", *RELEASED).values():
        (policy,) = (
            one
            for one in rendered("gpu", *RELEASED).of("NetworkPolicy")
            if one["spec"]["podSelector"]["matchLabels"].items()
            <= pod.template["metadata"]["labels"].items()
        )
        ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        assert 7233 in ports
        assert "helm.sh/hook" not in policy["metadata"].get("annotations", {})
