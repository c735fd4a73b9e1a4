"""What each process of the chart gets: settings, connection, queues and tokens."""

import base64
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from outlast_workers.demand.deletion_costs import ACCOUNT
from outlast_workers.gateway.service import check_tokens
from outlast_workers.settings import OWN_QUEUES, Settings
from temporalio.envconfig import ClientConfig

from tests.deploy.kubernetes import chart
from tests.deploy.kubernetes.chart import BUILD, Pod, Release, rendered
from tests.deploy.settings import loaded

SECRET = "whsec_" + base64.b64encode(b"x" * 32).decode()


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


def _paths(sources: list[dict[str, Any]]) -> set[str]:
    items = [item for one in sources for kind in one.values() for item in kind.get("items", [kind])]
    return {item["path"] for item in items}


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
