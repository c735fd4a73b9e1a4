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
from outlast_workers.gateway.service import check_tokens
from outlast_workers.settings import OWN_QUEUES, Settings
from temporalio.envconfig import ClientConfig

from tests.deploy.graces import EXIT_S
from tests.deploy.kubernetes import chart
from tests.deploy.kubernetes.chart import BUILD, SETS, Pod, Release, rendered
from tests.deploy.kubernetes.crds import operator_of
from tests.deploy.settings import loaded
from tests.deploy.tools import ROOT, run
from tests.deploy.vllm import page_engine, starts_as_the_page_says

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
    core = [one for one in release.objects if operator_of(one) is None]
    file = _written(tmp_path / "core.yaml", [*core, *_lifted(release)])
    done = run("kubernetes-validate", "--strict", file)
    assert done.returncode == 0, done.stdout
    assert "WARN" not in done.stdout


@pytest.mark.timeout(400)
def test_checkov_finds_nothing_that_is_not_skipped_with_a_reason(tmp_path: Path) -> None:
    for name in set(SETS) - {"OpenShift"}:  # whose users the platform gives
        release = rendered(name)
        core = [one for one in release.objects if operator_of(one) is None]
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


def test_one_process_alone_may_patch_pods_and_nothing_connects_to_it() -> None:
    for name in SETS:
        release = rendered(name)
        holders = [pod for pod in release.pods if _has_token(pod)]
        wanted = {"outlast-pods"} if name == "deletion cost" else set()
        assert {pod.name for pod in holders} == wanted
        assert {one["metadata"]["name"] for one in release.of("Role", "RoleBinding")} == wanted
    release = rendered("deletion cost")
    (role,), (binding,) = release.of("Role"), release.of("RoleBinding")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "outlast-pods", "namespace": chart.NAMESPACE}
    ]
    (pod,) = (one for one in release.pods if one.name == "outlast-pods")
    assert "ports" not in pod.main
    assert "OUTLAST_DEMAND__HOST" not in pod.variables, "it listens on loopback, as by default"
    assert "outlast-pods" not in {one["metadata"]["name"] for one in release.of("Service")}
    (policy,) = (one for one in release.of("NetworkPolicy") if one["metadata"]["name"] == pod.name)
    assert "ingress" not in policy["spec"]


def test_the_process_of_deletion_costs_finds_in_its_pod_what_it_needs(
    no_variables: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    release = rendered("deletion cost")
    (pod,) = (one for one in release.pods if one.name == "outlast-pods")
    demand = _loaded(pod, release, no_variables, tmp_path).demand
    assert demand.pods.enabled
    assert demand.host == "127.0.0.1"
    assert all(worker.name.startswith(demand.pods.prefix) for worker in release.workers)
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
    assert {name for name, open_to in ports.items() if 6443 in open_to} == {"outlast-pods"}


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


def test_queues_of_routes_are_polled_or_named_as_somebody_elses(release: Release) -> None:
    settings = release.settings
    routes = tomllib.loads(settings["data"]["workflows.toml"]).get("routes", {})
    legs = {leg["task_queue"] for route in routes.values() for leg in route["legs"]}
    assert legs <= {pod.queue for pod in release.workers} | {"generate-serverless"}


def test_queues_are_those_of_the_roles_where_nothing_else_is_said() -> None:
    queues = {pod.variables["OUTLAST_ROLES"]: pod.queue for pod in rendered("cpu").workers}
    assert queues == OWN_QUEUES


@pytest.mark.parametrize(
    ("options", "queues"),
    [
        ((), ("generate", "tools")),
        (("workers.generate.queue=gpu-a",), ("gpu-a", "tools")),
        (("workers.tools.queue=t", "workers.generate.queue=g"), ("g", "t")),
        (("workers.generate.enabled=false", "externalQueues={generate}"), ("generate", "tools")),
    ],
)
def test_runs_without_a_route_send_steps_to_the_queues_that_workers_poll(
    options: tuple[str, ...], queues: tuple[str, str]
) -> None:
    (pod,) = (one for one in rendered("cpu", *options).workers if one.roles == ["workflows"])
    settings = loaded({**pod.variables, "OUTLAST_CONFIG": ""})
    legs = [settings.route(role).legs[0].task_queue for role in ("generate", "tools")]
    assert tuple(legs) == queues


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
    (fetch,) = job["spec"]["template"]["spec"]["containers"]
    cache = {one["name"]: one["value"] for one in fetch["env"]}["HF_HUB_CACHE"]
    assert cache.startswith(fetch["volumeMounts"][0]["mountPath"])
    (server,) = (pod for pod in rendered("gpus").pods if pod.main["name"] == "vllm")
    assert cache == server.variables["HF_HUB_CACHE"]
    (volume,) = job["spec"]["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (model,) = (pod.main["args"][0] for pod in rendered("gpus").pods if pod.main["name"] == "vllm")
    assert fetch["command"][-1] == model
    done = run("kubernetes-validate", "--strict", _written(tmp_path / "made.yaml", [claim, job]))
    assert done.returncode == 0, done.stdout


def test_the_readme_makes_every_key_of_a_secret_that_a_set_names() -> None:
    readme = (ROOT / "deploy/kubernetes/README.md").read_text()
    for one in (
        "cpu",
        "gpu",
        "gpus",
        "worker-controller",
        "gateway",
        "gateway with the text of answers",
    ):
        release = rendered(one)
        keys = {(key["name"], key["key"]) for pod in release.pods for key in pod.secrets.values()}
        for connection in release.of("Connection"):
            keys.add(tuple(connection["spec"]["apiKeySecretRef"].values()))
        for name, key in keys:
            command = rf"create secret generic {name} (\\\n|[^\n])*--from-literal={key}="
            assert re.search(command, readme), (one, name, key)


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
            for role in settings.roles:
                assert settings.queue(role) == pod.queue
                assert getattr(settings.concurrency, role) == pod.slots
            assert settings.health.host in ("0.0.0.0", "::")  # noqa: S104 the kubelet asks from outside
            assert settings.health.port == pod.main["ports"][0]["containerPort"]
            assert settings.versioning.build_id == pod.version[1] or pod.is_managed
            assert settings.model.url or "generate" not in settings.roles
            is_job = pod.owner["kind"] == "ScaledJob"
            assert is_job == bool(settings.idle_exit_s) == bool(settings.max_life_s)


def test_the_connection_is_as_temporals_own_reader_takes_it(
    release: Release, no_variables: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file.pem").write_text("a certificate, or a key")
    for pod in release.pods:
        if pod.main["name"] == "vllm":
            continue
        variables = {**pod.variables, **dict.fromkeys(pod.secrets, SECRET)}
        mounts = [mount["mountPath"] for mount in pod.main["volumeMounts"]]
        if pod.is_managed:
            (connection,) = release.of("Connection")
            variables |= _told_by_the_controller(connection["spec"], pod)
            mounts.append("/etc/temporal/tls")
        with no_variables.context() as patch:
            for name, value in variables.items():
                is_path = name.endswith("_PATH")
                patch.setenv(name, str(tmp_path / "file.pem") if is_path else value)
            read: Mapping[str, Any] = ClientConfig.load_client_connect_config()
        tls = read.get("tls")
        assert read["target_host"] == variables["TEMPORAL_ADDRESS"]
        assert bool(tls) == (variables.get("TEMPORAL_TLS") == "true")
        if any(one["name"] == "temporal-ca" for one in pod.spec["volumes"]):
            assert getattr(tls, "server_root_ca_cert", None), "the private CA is used"
        for name, path in variables.items():
            assert not name.endswith("_PATH") or str(Path(path).parent) in mounts


def _told_by_the_controller(connection: Mapping[str, Any], pod: Pod) -> dict[str, str]:
    """Return the variables that the worker controller appends to a pod's own.

    Read from `ApplyControllerPodSpecModifications` in internal/k8s/deployments.go of version 1.8.1. Issue
    612 says in September 2026 that the CA is still not among them.
    """
    told = {
        "TEMPORAL_ADDRESS": connection["hostPort"],
        "TEMPORAL_NAMESPACE": pod.owner["spec"]["workerOptions"]["temporalNamespace"],
        "TEMPORAL_DEPLOYMENT_NAME": f"{chart.NAMESPACE}/{pod.name}",
        "TEMPORAL_WORKER_BUILD_ID": pod.owner["spec"]["workerOptions"]["unsafeCustomBuildID"],
    }
    if name := connection.get("tls", {}).get("serverName"):
        told["TEMPORAL_TLS_SERVER_NAME"] = name
    if "mutualTLSSecretRef" in connection:
        told |= {
            "TEMPORAL_TLS": "true",
            "TEMPORAL_TLS_CLIENT_KEY_PATH": "/etc/temporal/tls/tls.key",
            "TEMPORAL_TLS_CLIENT_CERT_PATH": "/etc/temporal/tls/tls.crt",
        }
    elif "apiKeySecretRef" in connection:
        told["TEMPORAL_API_KEY"] = SECRET
    return told


def test_the_worker_controller_gets_the_ca_where_its_crd_has_a_place_for_it() -> None:
    (with_key,) = rendered("worker-controller, private CA").of("Connection")
    (mutual,) = rendered("worker-controller, mutual TLS").of("Connection")
    assert with_key["spec"]["tls"]["caCertSecretRef"] == {"name": "temporal-ca"}
    assert "caCertSecretRef" not in mutual["spec"].get("tls", {}), "a CEL rule refuses both"


def test_a_gate_runs_before_the_worker_controller_promotes() -> None:
    (one,) = rendered("worker-controller, private CA").of("WorkerDeployment")
    assert one["spec"]["rollout"]["gate"] == {"workflowType": "GateWorkflow"}


def test_weights_are_read_only_where_they_are_a_claim_and_nothing_else_is_in_it() -> None:
    """Many pods read one claim. Other GPUs need other kernels, so each pod has its own place for them."""
    servers = [
        (pod, one)
        for pod in rendered("gpus").pods
        for one in pod.containers
        if one["name"] == "vllm"
    ]
    assert len(servers) == 2
    for pod, server in servers:
        variables = {one["name"]: one["value"] for one in server["env"]}
        mounts = {one["name"]: one for one in server["volumeMounts"]}
        volumes = {one["name"]: one for one in pod.spec["volumes"]}
        claim = volumes["vllm-weights"]["persistentVolumeClaim"]
        assert (claim["readOnly"], mounts["vllm-weights"]["readOnly"]) == (True, True)
        weights, cache = (mounts[f"vllm-{name}"]["mountPath"] for name in ("weights", "cache"))
        assert "emptyDir" in volumes["vllm-cache"]
        for name, path in variables.items():
            if path.startswith("/"):
                assert Path(path).is_relative_to(weights if name == "HF_HUB_CACHE" else cache)


def test_a_rollout_waits_as_long_as_a_model_may_load() -> None:
    for name in ("gpu", "sidecar", "gpus"):
        for pod in rendered(name).workers:
            deadline = pod.owner["spec"].get("progressDeadlineSeconds", 10**6)
            starts = float(pod.variables.get("OUTLAST_MODEL__START_WITHIN_S", 0))
            assert deadline >= starts + 600 * (starts > 0), pod.name


GIB = 2**30
CARD_BYTES = 79.6 * GIB
WEIGHTS_BYTES = {"Qwen/Qwen2.5-72B-Instruct-AWQ": 41.6e9, "Qwen/Qwen2.5-72B-Instruct": 145.4e9}
"""By arithmetic from the sizes of their files; nothing was loaded here."""
KV_BYTES_PER_TOKEN = 80 * 2 * 8 * 128 * 2
"""80 layers, keys and values, 8 heads of 128 numbers with two bytes each."""


def test_the_model_of_many_gpus_fits_on_its_cards_with_a_whole_context() -> None:
    (pod,) = (one for one in rendered("gpus").pods if one.main["name"] == "vllm")
    options = dict(one.partition("=")[::2] for one in pod.main["args"] if one.startswith("--"))
    cards = int(pod.main["resources"]["limits"]["nvidia.com/gpu"])
    room = cards * CARD_BYTES * float(options["--gpu-memory-utilization"])
    activations = 0.05 * room
    left = room - activations - WEIGHTS_BYTES[pod.main["args"][0]]
    assert left / KV_BYTES_PER_TOKEN > int(options["--max-model-len"])


def test_prometheus_reaches_the_metrics_that_a_set_monitors() -> None:
    (policy,) = (
        one
        for one in rendered("gpus").of("NetworkPolicy")
        if one["metadata"]["name"] == "outlast-vllm"
    )
    peers = [peer for rule in policy["spec"]["ingress"] for peer in rule["from"]]
    prometheus = {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}
    assert {"namespaceSelector": {}, "podSelector": prometheus} in peers


def test_policies_open_the_ports_of_pods_where_services_map_them() -> None:
    release = rendered(
        "cpu",
        "networkPolicy.ports.model={8000}",
        "networkPolicy.extraEgress[0].ports[0].port=3128",
    )
    for policy in release.of("NetworkPolicy"):
        ports = {one["port"] for rule in policy["spec"]["egress"] for one in rule["ports"]}
        assert {53, 5353, 3128} <= ports
        assert (8000 in ports) == policy["metadata"]["name"].endswith("-generate")


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


def test_the_gateway_has_its_tokens_from_a_secret_and_is_exposed(
    no_variables: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    release = rendered("gateway")
    (pod,) = (one for one in release.pods if one.name == "outlast-gateway")
    assert pod.secrets["OUTLAST_GATEWAY__TOKENS"] == {"name": "outlast-gateway", "key": "tokens"}
    tokens = {"ann": {"token": "x" * 32, "tenant": "acme", "audiences": ["support-leads"]}}
    settings = _loaded(
        pod, release, no_variables, tmp_path, OUTLAST_GATEWAY__TOKENS=json.dumps(tokens)
    )
    assert settings.gateway.tokens["ann"].tenant == "acme"
    assert settings.gateway.agents == ("refund-desk",)
    assert settings.gateway.host == "0.0.0.0"  # noqa: S104 of its container
    assert settings.gateway.port == pod.main["ports"][0]["containerPort"]
    assert settings.gateway.public_url == "https://agents.example.com"
    assert settings.agents
    assert "OUTLAST_CALLBACK__SECRET" not in pod.secrets
    check_tokens(settings.gateway)
    (route,) = release.of("HTTPRoute")
    assert route["spec"]["hostnames"] == ["agents.example.com"]
    (ingress,) = release.of("Ingress")
    assert ingress["spec"]["tls"] == [{"hosts": ["requests.example.com"]}]
    services = {
        one["metadata"]["name"]: one["spec"]["ports"][0]["port"] for one in release.of("Service")
    }
    (backend,) = route["spec"]["rules"][0]["backendRefs"]
    assert services[backend["name"]] == backend["port"]
    target = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert services[target["name"]] == target["port"]["number"]


def test_workers_push_the_text_of_answers_to_each_pod_of_the_gateway(
    no_variables: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A Service would give each push to one of the replicas, and readers are at the others too."""
    release = rendered("gateway with the text of answers")
    (gateway,) = (one for one in release.pods if one.name == "outlast-gateway")
    assert gateway.owner["kind"] == "StatefulSet"
    headless = {
        one["metadata"]["name"]: one["spec"]["selector"]
        for one in release.of("Service")
        if one["spec"].get("clusterIP") == "None"
    }
    domain = gateway.owner["spec"]["serviceName"]
    assert headless[domain].items() <= gateway.template["metadata"]["labels"].items()
    pushers = [pod for pod in release.workers if "generate" in pod.roles]
    assert pushers
    for pod in release.workers:
        assert ("OUTLAST_EVENTS__URLS" in pod.variables) == (pod in pushers)
    for pod in pushers:
        settings = _loaded(pod, release, no_variables, tmp_path)
        assert list(settings.events.urls) == [
            f"http://outlast-gateway-{number}.{domain}.{chart.NAMESPACE}.svc:8060"
            for number in range(gateway.owner["spec"]["replicas"])
        ]
        assert (
            pod.secrets["OUTLAST_EVENTS__TOKEN"] == gateway.secrets["OUTLAST_GATEWAY__EVENTS_TOKEN"]
        )
        egress = _policy_of(pod, release)["egress"]
        assert any(rule["ports"][0]["port"] == 8060 for rule in egress)
    (ingress,) = _policy_of(gateway, release)["ingress"]
    ours = {"podSelector": {"matchLabels": {
        "app.kubernetes.io/name": "outlast", "app.kubernetes.io/instance": "outlast"}}}  # fmt: skip
    assert ours in ingress["from"], "peers of clients do not shut workers out"


def _policy_of(pod: Pod, release: Release) -> Mapping[str, Any]:
    labels = pod.template["metadata"]["labels"].items()
    (policy,) = (
        one["spec"]
        for one in release.of("NetworkPolicy")
        if one["spec"]["podSelector"]["matchLabels"].items() <= labels
    )
    found: Mapping[str, Any] = policy
    return found


def test_only_the_gateway_reads_its_own_settings() -> None:
    settings = rendered("gateway").settings
    holders = {key for key, text in settings["data"].items() if "gateway" in tomllib.loads(text)}
    assert holders == {"gateway.toml"}


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


def test_every_secret_is_a_key_of_a_secret_that_exists(release: Release) -> None:
    assert not release.of("Secret")
    for pod in release.pods:
        for container in pod.containers:
            for one in container.get("env", []):
                if re.search(r"(API_KEY|SECRET|TOKEN)$", one["name"]):
                    assert set(one["valueFrom"]) == {"secretKeyRef"}


def test_a_tool_sees_no_secret_of_anybody_else() -> None:
    release = rendered("gpus")
    settings = release.settings
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


def _loaded(
    pod: Pod, release: Release, patch: pytest.MonkeyPatch, folder: Path, **values: str
) -> Settings:
    """Load the settings as the pod does: from its variables, and from its file where it is mounted."""
    if pod.main["name"] == "guard":  # Helm runs it before it makes the file
        return loaded({**pod.variables, **dict.fromkeys(pod.secrets, SECRET)})
    (volume,) = (one for one in pod.spec["volumes"] if one["name"] == "settings")
    (item,) = volume["configMap"]["items"]
    (mount,) = (one for one in pod.main["volumeMounts"] if one["name"] == "settings")
    assert pod.variables["OUTLAST_CONFIG"] == f"{mount['mountPath']}/{item['path']}"
    made = release.settings
    assert volume["configMap"]["name"] == f"outlast-{BUILD}"
    (folder / "outlast.toml").write_text(made["data"][item["key"]])
    patch.chdir(folder)
    secrets = {name: SECRET for name in pod.secrets if name != "OUTLAST_GATEWAY__TOKENS"}
    variables = {**pod.variables, **secrets, **values}
    return loaded({**variables, "OUTLAST_CONFIG": str(folder / "outlast.toml")})
