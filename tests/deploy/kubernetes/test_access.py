"""Who may do what in the chart: tokens, secrets, network policies and monitors."""

import re
import tomllib

from tests.deploy.kubernetes import chart
from tests.deploy.kubernetes.chart import SETS, Pod, Release, rendered
from tests.deploy.tools import ROOT


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


def test_only_the_gateway_reads_its_own_settings() -> None:
    settings = rendered("gateway").settings
    holders = {key for key, text in settings["data"].items() if "gateway" in tomllib.loads(text)}
    assert holders == {"gateway.toml"}


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
