"""What the Helm chart renders: by Helm, validators, models of ours, and rules that none of them knows."""

import base64
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from outlast_workers.demand.deletion_costs import ACCOUNT
from outlast_workers.settings import OWN_QUEUES, Settings
from temporalio.envconfig import ClientConfig

from tests.deploy import chart
from tests.deploy.chart import BUILD, SETS, Pod, Release, rendered
from tests.deploy.graces import EXIT_S
from tests.deploy.keda import ScaledJob, ScaledObject, TriggerAuthentication
from tests.deploy.prometheus_operator import PodMonitor, ServiceMonitor
from tests.deploy.settings import loaded
from tests.deploy.strict import Strict
from tests.deploy.tools import ROOT, run
from tests.deploy.vllm import page_engine, starts_as_the_page_says
from tests.deploy.worker_controller import Connection, WorkerDeployment, WorkerResourceTemplate

KINDS: dict[str, type[Strict]] = {
    model.__name__: model
    for model in (
        ScaledObject,
        ScaledJob,
        TriggerAuthentication,
        Connection,
        WorkerDeployment,
        WorkerResourceTemplate,
        ServiceMonitor,
        PodMonitor,
    )
}
"""No validator knows the schemas of these: the models are ours."""

SECRET = "whsec_" + base64.b64encode(b"x" * 32).decode()

SKIPPED_CHECKS = {
    "CKV_K8S_15": "tags are build ids, which nobody moves: IfNotPresent pulls each once",
    "CKV_K8S_21": "objects go to Helm's namespace, which checkov does not see",
    "CKV_K8S_35": "workers read their keys from variables, each of which only the role has that needs it",
    "CKV_K8S_43": "the tag is the build id; whoever wants a digest too mirrors the image",
}


@pytest.fixture(params=SETS)
def release(request: pytest.FixtureRequest) -> Release:
    return rendered(request.param)


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(("OUTLAST_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("name", SETS)
def test_helm_lint_has_nothing_to_say(name: str) -> None:
    done = run("helm", "lint", "--strict", chart.CHART, *chart.arguments(*SETS[name]))
    assert done.returncode == 0, done.stdout


def test_a_rendered_set_is_as_kubernetes_wants_it(release: Release, tmp_path: Path) -> None:
    core = [one for one in release.objects if one["kind"] not in KINDS]
    file = _written(tmp_path / "core.yaml", [*core, *_lifted(release)])
    done = run("kubernetes-validate", "--strict", file)
    assert done.returncode == 0, done.stdout
    assert "WARN" not in done.stdout


def test_objects_of_operators_are_as_their_models_want_them(release: Release) -> None:
    for one in release.objects:
        if one["apiVersion"].partition("/")[0].count(".") and one["kind"] in KINDS:
            KINDS[one["kind"]].model_validate(one)


def test_every_object_is_checked_by_somebody(release: Release) -> None:
    ours = {one["kind"] for one in release.objects if "." in one["apiVersion"].partition("/")[0]}
    assert ours - set(KINDS) <= {"NetworkPolicy", "PriorityClass", "Role", "RoleBinding"}


def test_checkov_finds_nothing_that_is_not_skipped_with_a_reason(tmp_path: Path) -> None:
    for name in SETS:
        release = rendered(name)
        core = [one for one in release.objects if one["kind"] not in KINDS]
        _written(tmp_path / f"{name.replace(' ', '-')}.yaml", [*core, *_lifted(release)])
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
        assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 10001)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod.spec["automountServiceAccountToken"] is False
        for container in pod.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
    accounts = {one["metadata"]["name"]: one for one in release.of("ServiceAccount")}
    assert {pod.spec["serviceAccountName"] for pod in release.pods} == set(accounts)
    assert not any(one["automountServiceAccountToken"] for one in accounts.values())


def test_the_demand_service_alone_may_patch_pods_and_only_where_it_is_told_to() -> None:
    for name in SETS:
        release = rendered(name)
        holders = [pod for pod in release.pods if _has_token(pod)]
        wanted = {"outlast-demand"} if name == "deletion cost" else set()
        assert {pod.name for pod in holders} == wanted
        assert {one["metadata"]["name"] for one in release.of("Role", "RoleBinding")} == wanted
    release = rendered("deletion cost")
    (role,), (binding,) = release.of("Role"), release.of("RoleBinding")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "outlast-demand", "namespace": chart.NAMESPACE}
    ]


def test_the_demand_service_finds_in_its_pod_what_it_tells_kubernetes_with(
    no_variables: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    release = rendered("deletion cost")
    (pod,) = (one for one in release.pods if one.name == "outlast-demand")
    pods = _loaded(pod, release, no_variables, tmp_path).demand.pods
    assert pods.enabled
    assert all(worker.name.startswith(pods.prefix) for worker in release.workers)
    (mount,) = (one for one in pod.main["volumeMounts"] if one["name"] == "token")
    assert mount["mountPath"] == str(ACCOUNT)
    (volume,) = (one for one in pod.spec["volumes"] if one["name"] == "token")
    assert _paths(volume["projected"]["sources"]) == {"token", "ca.crt", "namespace"}
    ports = {
        policy["metadata"]["name"]: {
            one["port"] for rule in policy["spec"]["egress"] for one in rule["ports"]
        }
        for policy in release.of("NetworkPolicy")
    }
    assert {name for name, open_to in ports.items() if 6443 in open_to} == {"outlast-demand"}


def test_no_image_is_latest(release: Release) -> None:
    images = [container["image"] for pod in release.pods for container in pod.containers]
    assert images
    assert all(re.search(r":[\w.-]+$", image) and ":latest" not in image for image in images)


def test_each_server_is_probed_before_it_counts_and_while_it_lives(release: Release) -> None:
    for pod in release.pods:
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
        assert "--host=127.0.0.1" in sidecar["args"]


def test_the_worker_controller_sets_what_versions_are_called() -> None:
    release = rendered("worker-controller")
    names = {one["metadata"]["name"] for one in release.of("WorkerDeployment")}
    assert names == {"outlast-workflows", "outlast-tools", "outlast-generate"}
    for pod in release.workers:
        assert not [one for one in pod.variables if one.startswith("TEMPORAL_")]
        options = pod.owner["spec"]["workerOptions"]
        assert options["unsafeCustomBuildID"] == BUILD
        assert options["connectionRef"]["name"] in {
            one["metadata"]["name"] for one in release.of("Connection")
        }
    notes = run("helm", "install", "outlast", chart.CHART, "--dry-run=client", "-n", "agents-prod",
                *chart.arguments("worker-controller")).stdout  # fmt: skip
    assert "--name agents-prod/outlast-workflows" in notes


def test_queues_of_routes_are_polled_or_named_as_somebody_elses(release: Release) -> None:
    (settings,) = release.of("ConfigMap")
    routes = tomllib.loads(settings["data"]["workflows.toml"]).get("routes", {})
    legs = {leg["task_queue"] for route in routes.values() for leg in route["legs"]}
    assert legs <= {pod.queue for pod in release.workers} | {"generate-serverless"}


def test_queues_are_those_of_the_roles_where_nothing_else_is_said() -> None:
    queues = {pod.variables["OUTLAST_ROLES"]: pod.queue for pod in rendered("cpu").workers}
    assert queues == OWN_QUEUES


def test_a_previous_build_keeps_its_workers_beside_the_new_ones() -> None:
    builds: dict[str, set[str]] = {}
    for pod in rendered("previous build").workers:
        builds.setdefault(pod.main["image"].partition(":")[2], set()).add(pod.queue)
    assert builds == {
        "2026-11-20": {"agents", "tools", "generate"},
        BUILD: {"agents", "tools", "generate", "generate-gpu"},
    }


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


def test_the_settings_of_a_build_stay_when_a_later_one_is_installed() -> None:
    release = rendered("previous build")
    (settings,) = release.of("ConfigMap")
    assert settings["metadata"]["name"] == f"outlast-{BUILD}"
    assert settings["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    mounted = {
        (pod.build, one["configMap"]["name"])
        for pod in release.workers
        for one in pod.spec["volumes"]
        if "configMap" in one
    }
    assert mounted == {(build, f"outlast-{build}") for build in ("2026-11-20", BUILD)}


def test_vllm_starts_as_the_page_says_and_its_workers_know_it(release: Release) -> None:
    for pod in release.pods:
        for container in pod.containers:
            if container["name"] == "vllm":
                assert starts_as_the_page_says(container["args"])
        if pod.variables.get("OUTLAST_MODEL__API") == "vllm":
            assert pod.variables["OUTLAST_MODEL__ENGINE"] == page_engine()


def test_claims_that_a_set_names_are_those_that_the_readme_makes_and_fills(tmp_path: Path) -> None:
    claims = {
        (name, one["persistentVolumeClaim"]["claimName"])
        for name in SETS
        for pod in rendered(name).pods
        for one in pod.spec["volumes"]
        if "persistentVolumeClaim" in one
    }
    assert {SETS[name][0] for name, _ in claims} == {"gpus"}
    readme = (ROOT / "deploy/kubernetes/README.md").read_text()
    documents = re.findall(r"<<'END'\n(.*?)\nEND\n", readme, re.DOTALL)
    claim, job = (yaml.safe_load(one) for one in documents)
    assert {named for _, named in claims} == {claim["metadata"]["name"]}
    (volume,) = job["spec"]["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (fetch,) = job["spec"]["template"]["spec"]["containers"]
    (model,) = (pod.main["args"][0] for pod in rendered("gpus").pods if pod.main["name"] == "vllm")
    assert fetch["command"][-1] == model
    done = run("kubernetes-validate", "--strict", _written(tmp_path / "made.yaml", [claim, job]))
    assert done.returncode == 0, done.stdout


def test_the_readme_makes_every_key_of_a_secret_that_a_set_names() -> None:
    readme = (ROOT / "deploy/kubernetes/README.md").read_text()
    for one in ("cpu", "gpu", "gpus"):
        keys = {key["key"] for pod in rendered(one).pods for key in pod.secrets.values()}
        assert all(f"--from-literal={key}=" in readme for key in keys), one


def test_services_monitors_budgets_and_policies_choose_pods_that_exist(release: Release) -> None:
    labels = [pod.template["metadata"]["labels"].items() for pod in release.pods]
    selectors = [
        *(one["spec"]["selector"] for one in release.of("Service")),
        *(one["spec"]["selector"]["matchLabels"] for one in release.of("PodDisruptionBudget")),
        *(one["spec"]["selector"]["matchLabels"] for one in release.of("PodMonitor")),
        *(one["spec"]["podSelector"]["matchLabels"] for one in release.of("NetworkPolicy")),
    ]  # fmt: skip
    assert selectors
    assert all(any(wanted.items() <= found for found in labels) for wanted in selectors)
    covered = [
        one["spec"]["podSelector"]["matchLabels"].items() for one in release.of("NetworkPolicy")
    ]
    assert all(any(wanted <= found for wanted in covered) for found in labels)


def test_our_own_settings_accept_what_each_process_is_told(
    release: Release, no_variables: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for pod in release.pods:
        if pod.main["name"] == "vllm":
            continue
        with no_variables.context() as patch:
            settings = _loaded(pod, release, patch, tmp_path)
        if pod.is_worker:
            (role,) = settings.roles
            assert settings.queue(role) == pod.queue
            assert getattr(settings.concurrency, role) == pod.slots
            assert settings.health.host == "0.0.0.0"  # noqa: S104 the kubelet asks from outside
            assert settings.health.port == pod.main["ports"][0]["containerPort"]
            assert settings.versioning.build_id == pod.version[1] or pod.is_managed
            assert settings.model.url or role != "generate"


def test_the_connection_is_as_temporals_own_reader_takes_it(
    release: Release, no_variables: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file.pem").write_text("a certificate, or a key")
    for pod in release.pods:
        if pod.main["name"] == "vllm" or pod.is_managed:
            continue
        with no_variables.context() as patch:
            for name, value in {**pod.variables, **dict.fromkeys(pod.secrets, SECRET)}.items():
                is_path = name.endswith("_PATH")
                patch.setenv(name, str(tmp_path / "file.pem") if is_path else value)
            connection = ClientConfig.load_client_connect_config()
        assert connection["target_host"] == pod.variables["TEMPORAL_ADDRESS"]
        assert bool(connection.get("tls")) == (pod.variables.get("TEMPORAL_TLS") == "true")
        mounts = [mount["mountPath"] for mount in pod.main["volumeMounts"]]
        for name, path in pod.variables.items():
            assert not name.endswith("_PATH") or str(Path(path).parent) in mounts


def test_every_secret_is_a_key_of_a_secret_that_exists(release: Release) -> None:
    assert not release.of("Secret")
    for pod in release.pods:
        for container in pod.containers:
            for one in container.get("env", []):
                if re.search(r"(API_KEY|SECRET|TOKEN)$", one["name"]):
                    assert set(one["valueFrom"]) == {"secretKeyRef"}


def test_a_tool_sees_no_secret_of_anybody_else() -> None:
    release = rendered("gpus")
    (settings,) = release.of("ConfigMap")
    secrets = {pod.variables["OUTLAST_ROLES"]: set(pod.secrets) for pod in release.workers}
    assert secrets["tools"] == set()
    assert "OUTLAST_CALLBACK__SECRET" in secrets["workflows"]
    assert "audiences" not in tomllib.loads(settings["data"]["tools.toml"])


def _has_token(pod: Pod) -> bool:
    """Whether a pod has a token of its service account."""
    sources = [
        source
        for volume in pod.spec.get("volumes", [])
        for source in volume.get("projected", {}).get("sources", [])
    ]
    return any("serviceAccountToken" in source for source in sources)


def _paths(sources: list[dict[str, Any]]) -> set[str]:
    items = [item for one in sources for kind in one.values() for item in kind.get("items", [kind])]
    return {item["path"] for item in items}


def _written(file: Path, objects: list[Any]) -> Path:
    file.write_text(yaml.safe_dump_all(objects))
    return file


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


def _loaded(pod: Pod, release: Release, patch: pytest.MonkeyPatch, folder: Path) -> Settings:
    """Load the settings as the pod does: from its variables, and from its file where it is mounted."""
    (volume,) = (one for one in pod.spec["volumes"] if one["name"] == "settings")
    (item,) = volume["configMap"]["items"]
    (mount,) = (one for one in pod.main["volumeMounts"] if one["name"] == "settings")
    assert pod.variables["OUTLAST_CONFIG"] == f"{mount['mountPath']}/{item['path']}"
    (made,) = release.of("ConfigMap")
    assert volume["configMap"]["name"] == f"outlast-{pod.build if pod.is_worker else BUILD}"
    (folder / "outlast.toml").write_text(made["data"][item["key"]])
    patch.chdir(folder)
    variables = {**pod.variables, **dict.fromkeys(pod.secrets, SECRET)}
    return loaded({**variables, "OUTLAST_CONFIG": str(folder / "outlast.toml")})
