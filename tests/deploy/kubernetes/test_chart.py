"""What the Helm chart renders: by Helm, validators, models of ours, and rules that none of them knows."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.graces import EXIT_S
from tests.deploy.kubernetes import chart
from tests.deploy.kubernetes.chart import BUILD, SETS, Release, rendered, written
from tests.deploy.kubernetes.crds import operator_of
from tests.deploy.tools import run

SKIPPED_CHECKS = {
    "CKV_K8S_15": "tags are build ids, which nobody moves: IfNotPresent pulls each once",
    "CKV_K8S_21": "objects go to Helm's namespace, which checkov does not see",
    "CKV_K8S_35": "workers read their keys from variables, each of which only the role has that needs it",
    "CKV_K8S_43": "the tag is the build id; whoever wants a digest too mirrors the image",
}


@pytest.mark.parametrize("name", SETS)
def test_helm_lint_has_nothing_to_say(name: str) -> None:
    done = run("helm", "lint", "--strict", chart.CHART, *chart.arguments(*SETS[name]))
    assert done.returncode == 0, done.stdout


def test_a_rendered_set_is_as_kubernetes_wants_it(release: Release, tmp_path: Path) -> None:
    core = [one for one in release.objects if operator_of(one) is None]
    file = written(tmp_path / "core.yaml", [*core, *_lifted(release)])
    done = run("kubernetes-validate", "--strict", file)
    assert done.returncode == 0, done.stdout
    assert "WARN" not in done.stdout


@pytest.mark.timeout(400)
def test_checkov_finds_nothing_that_is_not_skipped_with_a_reason(tmp_path: Path) -> None:
    for name in set(SETS) - {"OpenShift"}:  # whose users the platform gives
        release = rendered(name)
        core = [one for one in release.objects if operator_of(one) is None]
        written(tmp_path / f"{name.replace(' ', '-')}.yaml", [*core, *_lifted(release)])
    done = run(
        "checkov",
        *("--directory", tmp_path, "--framework", "kubernetes", "--skip-download"),
        *("--compact", "--quiet", "--output", "json"),
        *("--skip-check", ",".join(SKIPPED_CHECKS)),
    )
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["summary"]["passed"] > 100


def test_graces_add_up(release: Release) -> None:
    for pod in release.pods:
        grace = pod.spec["terminationGracePeriodSeconds"]
        if pod.is_worker:
            assert grace == float(pod.variables["OUTLAST_DRAIN_S"]) + 15
        for container in pod.containers:
            if container["name"] != "vllm":
                continue
            (shutdown,) = (
                float(one.partition("=")[2])
                for one in container["args"]
                if one.startswith("--shutdown-timeout=")
            )
            before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
            waited = before.get("seconds", 0)
            if pod.is_worker:
                waited = float(pod.variables["OUTLAST_DRAIN_S"]) + EXIT_S
            assert waited + shutdown < grace


def test_every_container_has_requests_and_limits(release: Release) -> None:
    for pod in release.pods:
        for container in pod.containers:
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]) & set(resources["limits"])
            gpu = resources["limits"].get("nvidia.com/gpu")
            assert gpu == resources["requests"].get("nvidia.com/gpu")


def test_nothing_runs_as_root_or_is_given_a_token_unasked(release: Release) -> None:
    for pod in release.pods:
        security = pod.spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security.get("runAsUser") in (10001, None)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod.spec["automountServiceAccountToken"] is False
        for container in pod.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
    accounts = {one["metadata"]["name"]: one for one in release.of("ServiceAccount")}
    own = [pod for pod in release.pods if pod.main["name"] != "guard"]
    assert {pod.spec["serviceAccountName"] for pod in own} == set(accounts)
    assert not any(one["automountServiceAccountToken"] for one in accounts.values())


def test_no_image_is_latest(release: Release) -> None:
    images = [container["image"] for pod in release.pods for container in pod.containers]
    assert images
    assert all(re.search(r":[\w.-]+$", image) and ":latest" not in image for image in images)


def test_each_server_is_probed_before_it_counts_and_while_it_lives(release: Release) -> None:
    for pod in release.pods:
        if pod.owner["kind"] == "Job":
            continue  # it serves nothing, and has a deadline
        for container in pod.containers:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
        if pod.is_worker:
            assert pod.main["startupProbe"]["httpGet"]["path"] == "/livez"
            assert pod.main["readinessProbe"]["httpGet"]["path"] == "/healthz"
            assert pod.main["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_a_sidecar_starts_before_its_worker_and_ends_after_it() -> None:
    for name in ("gpus", "sidecar"):
        (pod,) = (one for one in rendered(name).workers if "initContainers" in one.spec)
        (sidecar,) = pod.spec["initContainers"]
        assert sidecar["restartPolicy"] == "Always"
        assert pod.variables["OUTLAST_MODEL__URL"] == "http://127.0.0.1:8000/v1"
        assert sidecar["startupProbe"]["httpGet"] == {"path": "/health", "port": 8000}
        (policy,) = (
            one
            for one in rendered(name).of("NetworkPolicy")
            if one["spec"]["podSelector"]["matchLabels"].items()
            <= pod.template["metadata"]["labels"].items()
        )
        opened = {one["port"] for rule in policy["spec"]["ingress"] for one in rule["ports"]}
        assert opened <= {8081, 8082}, "health and metrics of its pod are reachable, not vLLM"


@pytest.mark.parametrize("name", [one for one in SETS if SETS[one][0] == "worker-controller"])
def test_the_worker_controller_has_one_deployment_with_all_roles(name: str) -> None:
    """A deployment per role would give the steps of a pinned run to the current builds of the others."""
    release = rendered(name)
    (pod,) = release.workers
    assert pod.roles == ["workflows", "tools", "generate"]
    assert pod.queue == "agents"
    options = pod.owner["spec"]["workerOptions"]
    assert options["unsafeCustomBuildID"] == BUILD
    (connection,) = release.of("Connection")
    assert options["connectionRef"]["name"] == connection["metadata"]["name"]


def test_the_notes_name_the_deployment_as_the_server_knows_it() -> None:
    notes = run("helm", "install", "outlast", chart.CHART, "--dry-run=client", "-n", "agents-prod",
                *chart.arguments("worker-controller")).stdout  # fmt: skip
    assert "--name agents-prod/outlast-worker" in notes


def test_a_gate_runs_before_the_worker_controller_promotes() -> None:
    (one,) = rendered("worker-controller, private CA").of("WorkerDeployment")
    assert one["spec"]["rollout"]["gate"] == {"workflowType": "GateWorkflow"}


def test_openshift_gives_pods_their_users_and_ipv6_is_possible() -> None:
    for pod in rendered("OpenShift").pods:
        assert pod.spec["securityContext"].keys().isdisjoint({"runAsUser", "runAsGroup", "fsGroup"})
        assert pod.spec["securityContext"]["runAsNonRoot"] is True
        assert not pod.is_worker or pod.variables["OUTLAST_HEALTH__HOST"] == "::"


def test_a_pod_takes_what_a_platform_adds_to_it() -> None:
    given = {
        "podLabels.team": "a",
        "annotations.reloader\\.stakater\\.com/auto": "yes",
        "affinity.nodeAffinity.x": "y",
        "runtimeClassName": "nvidia",
        "volumes[0].name": "bundle",
        "volumeMounts[0].name": "bundle",
        "envFrom[0].secretRef.name": "more",
    }
    digest = "sha256:" + "0" * 64
    options = [f"workers.tools.{name}={value}" for name, value in given.items()]
    release = rendered("cpu", *options, f"image.digest={digest}")
    (pod,) = (one for one in release.workers if one.roles == ["tools"])
    assert pod.template["metadata"]["labels"]["team"] == "a"
    assert pod.owner["metadata"]["annotations"]["reloader.stakater.com/auto"] == "yes"
    assert pod.spec["affinity"] == {"nodeAffinity": {"x": "y"}}
    assert pod.spec["runtimeClassName"] == "nvidia"
    assert {"name": "bundle"} in pod.spec["volumes"]
    assert {"name": "bundle"} in pod.main["volumeMounts"]
    assert pod.main["envFrom"] == [{"secretRef": {"name": "more"}}]
    assert pod.main["image"].endswith(f":{BUILD}@{digest}")


def test_the_callback_page_is_probed_by_what_it_answers() -> None:
    (pod,) = (one for one in rendered("gpus").pods if one.name == "outlast-callback")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert pod.main[probe]["httpGet"]["path"] == "/healthz"


def test_servers_answer_while_services_still_send_requests(release: Release) -> None:
    for pod in release.pods:
        if pod.is_worker or pod.main["name"] == "vllm" or "ports" not in pod.main:
            continue
        wait_s = pod.main["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert 0 < wait_s < pod.spec["terminationGracePeriodSeconds"] / 2


def test_gitops_tools_do_not_take_what_keda_makes_for_their_own() -> None:
    own = {"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart"}
    for kind, key in (
        ("ScaledObject", "scaledobject.keda.sh/hpa-excluded-labels"),
        ("ScaledJob", "scaledjob.keda.sh/job-excluded-labels"),
    ):
        for one in rendered("gpus").of(kind):
            assert set(one["metadata"]["annotations"][key].split(",")) == own


def _lifted(release: Release) -> Iterator[Mapping[str, Any]]:
    """Yield the pods of objects that no validator knows, as Jobs and Deployments of their own."""
    for pod in release.pods:
        labels = pod.template["metadata"]["labels"]
        spec: dict[str, Any] = {"template": pod.template}
        if pod.owner["kind"] == "ScaledJob":
            yield {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": pod.name},
                "spec": spec,
            }
        if pod.owner["kind"] == "WorkerDeployment":
            spec["selector"] = {"matchLabels": labels}
            yield {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": pod.name},
                "spec": spec,
            }
