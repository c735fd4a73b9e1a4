"""How the chart scales: each scaler asks for the queue, the version and the slots of what it scales."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from outlast_workers.demand import http_api, keda_scaler
from outlast_workers.demand.demand_query import DemandQuery, ParameterNames, Target, parse_query
from outlast_workers.demand.service import slots_of, watched_targets

from tests.deploy.kubernetes.chart import BUILD, NAMESPACE, SETS, Pod, Release, rendered
from tests.deploy.kubernetes.keda import PARAMETERS, TRIGGER, speaks_tls
from tests.deploy.settings import loaded


@pytest.fixture(params=SETS)
def release(request: pytest.FixtureRequest) -> Release:
    return rendered(request.param)


def test_deployment_name_and_build_id_agree_everywhere(release: Release) -> None:
    version_of = {pod.name: pod.version for pod in release.workers}
    for pod in release.workers:
        assert pod.main["image"].endswith(f":{BUILD}")
    for target, spec in release.scalers:
        if target not in version_of:  # vLLM follows the demand of its workers' queues
            continue
        for trigger in spec["triggers"]:
            assert _queried_version(trigger) == version_of[target], target


def test_queues_of_scalers_are_those_that_workers_poll(release: Release) -> None:
    queue_of = {pod.name: pod.queue for pod in release.workers}
    for target, spec in release.scalers:
        polled = {_queried_queue(trigger) for trigger in spec["triggers"]}
        assert (
            polled == {queue_of[target]} if target in queue_of else polled <= set(queue_of.values())
        )


def test_a_scaler_divides_by_the_slots_that_its_workers_have(release: Release) -> None:
    slots_of = {pod.name: pod.slots for pod in release.workers}
    for target, spec in release.scalers:
        for trigger in spec["triggers"]:
            if target not in slots_of:
                continue
            if trigger["type"] == "temporal":  # which knows a target alone
                assert _target(trigger) <= slots_of[target] <= math.ceil(_target(trigger) / 0.9) + 1
            else:
                assert _queried_slots(trigger) == slots_of[target], target


def test_the_demand_service_watches_the_queue_of_each_worker_with_its_version_and_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in SETS:
        release = rendered(name, "demand.enabled=true", "demand.tokenSecret=outlast-demand")
        (service,) = (pod for pod in release.pods if pod.main["name"] == "demand")
        variables = {key: value for key, value in service.variables.items() if "DEMAND" in key}
        variables["OUTLAST_DEMAND__TOKEN"] = "x" * 32
        settings = loaded(variables)
        targets = watched_targets(settings)
        for pod in release.workers:
            assert Target(pod.queue, *_version_on_the_server(pod)) in targets, (name, pod.name)
            assert slots_of(settings, pod.queue) == pod.slots, (name, pod.name)
            if any(pod.version):
                assert Target(pod.queue) not in targets, (name, pod.name)


def _version_on_the_server(pod: Pod) -> tuple[str, str]:
    if pod.is_managed:
        return f"{NAMESPACE}/{pod.name}", BUILD
    deployment, build_id = pod.version
    return deployment or "", build_id or ""


def test_what_is_scaled_has_no_fixed_replicas(release: Release) -> None:
    scaled = {target for target, _ in release.scalers}
    for pod in release.pods:
        if pod.owner["kind"] not in ("Job", "ScaledJob"):
            assert ("replicas" in pod.owner["spec"]) != (pod.name in scaled), pod.name


def test_our_demand_service_understands_what_a_scaler_asks() -> None:
    pairs = [
        (pod, trigger)
        for name in SETS
        for pod in rendered(name).workers
        for target, spec in rendered(name).scalers
        for trigger in spec["triggers"]
        if target == pod.name and trigger["type"] != "temporal"
    ]
    assert {trigger["type"] for _, trigger in pairs} == {"external", "metrics-api"}
    for pod, trigger in pairs:
        query = _query(trigger)
        assert query.target.task_queue == pod.queue
        assert (query.target.deployment or None, query.target.build_id or None) == pod.version
        assert query.slots == pod.slots
        assert ("workflow" in query.types) == ("workflows" in pod.roles)


def _query(trigger: Mapping[str, Any]) -> DemandQuery:
    names: ParameterNames = keda_scaler.PARAMETER_NAMES
    own = keda_scaler.KEDA_KEYS | {keda_scaler.UTILIZATION_KEY}
    parameters = {key: value for key, value in trigger["metadata"].items() if key not in own}
    if trigger["type"] == "metrics-api":
        names, parameters = (
            http_api.PARAMETER_NAMES,
            {"task_queue": _queried_queue(trigger), **_url_parameters(trigger)},
        )
    return parse_query(parameters, names, default_slots=lambda _: 0)


def _url_parameters(trigger: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: values[0]
        for key, values in parse_qs(urlsplit(trigger["metadata"]["url"]).query).items()
    }


def _queried_version(trigger: Mapping[str, Any]) -> tuple[str | None, str | None]:
    if trigger["type"] == "metrics-api":
        return _url_parameters(trigger).get("deployment"), _url_parameters(trigger).get("build_id")
    metadata = trigger["metadata"]
    return metadata.get("workerDeploymentName"), metadata.get("workerDeploymentBuildId")


def _queried_queue(trigger: Mapping[str, Any]) -> str:
    if trigger["type"] == "metrics-api":
        return unquote(urlsplit(trigger["metadata"]["url"]).path.rpartition("/")[2])
    return str(trigger["metadata"]["taskQueue"])


def _queried_slots(trigger: Mapping[str, Any]) -> int:
    metadata = trigger["metadata"]
    if trigger["type"] == "metrics-api":
        return int(_url_parameters(trigger)["slots"])
    return int(metadata["slotsPerWorker"])


def _target(trigger: Mapping[str, Any]) -> float:
    """The demand of one worker that scaling aims at."""
    metadata = trigger["metadata"]
    if trigger["type"] == "metrics-api":
        return float(metadata["targetValue"])
    if trigger["type"] == "external":
        return int(metadata["slotsPerWorker"]) * int(metadata["targetUtilization"]) / 100
    return float(metadata["targetQueueSize"])


TOLERANCE = 0.1
"""Of the HPA: by default it ignores a deviation of up to 10 % (horizontal-pod-autoscaler-tolerance)."""


@pytest.mark.parametrize("replicas", [1, 10, 40])
def test_the_hpa_starts_a_pod_before_a_slot_is_missing(release: Release, replicas: int) -> None:
    jobs = {one["metadata"]["name"] for one in release.of("ScaledJob")}
    slots_of = {pod.name: pod.slots for pod in release.workers}
    for target, spec in release.scalers:
        for trigger in spec["triggers"]:
            slots = slots_of.get(target, 32)
            full = replicas * slots + 1e-6
            if target in jobs:  # KEDA itself starts ceil(demand / target) Jobs
                assert _target(trigger) == slots
            else:
                assert full / (replicas * _target(trigger)) > 1 + TOLERANCE, (target, trigger)


def test_triggers_are_as_the_scalers_of_keda_read_them(release: Release) -> None:
    logins = {
        one["metadata"]["name"]: {each["parameter"] for each in one["spec"]["secretTargetRef"]}
        for one in release.of("TriggerAuthentication")
    }
    for target, spec in release.scalers:
        for trigger in spec["triggers"]:
            TRIGGER.validate_python(trigger)
            name = trigger.get("authenticationRef", {}).get("name")
            parameters = logins[name] if name else set()
            assert parameters <= PARAMETERS[trigger["type"]], target


def test_keda_shows_the_demand_service_what_it_asks_for() -> None:
    for name, keys in (
        ("gpu", {"token"}),
        ("metrics-api with TLS", {"token", "ca", "cert", "key"}),
        ("external", {"caCert", "tlsClientCert", "tlsClientKey"}),
    ):
        release = rendered(name)
        (login,) = release.of("TriggerAuthentication")
        assert {one["parameter"] for one in login["spec"]["secretTargetRef"]} == keys
        (service,) = (pod for pod in release.pods if pod.name == "outlast-demand")
        assert service.secrets["OUTLAST_DEMAND__TOKEN"] == {
            "name": "outlast-demand",
            "key": "token",
        }
        has_tls = "OUTLAST_DEMAND__TLS__CERT" in service.variables
        assert has_tls == (name != "gpu")
        for container_probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            scheme = service.main[container_probe]["httpGet"]["scheme"]
            assert scheme == ("HTTPS" if has_tls else "HTTP")
        for _, spec in release.scalers:
            for trigger in spec["triggers"]:
                url = trigger["metadata"].get("url", "https://" if has_tls else "http://")
                assert url.startswith("https://") == has_tls


def test_prometheus_shows_the_token_too() -> None:
    for name in ("gpus", "external"):
        (monitor,) = rendered(name).of("ServiceMonitor")
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["authorization"]["credentials"] == {
            "name": "outlast-demand",
            "key": "token",
        }
        assert (endpoint.get("scheme") == "https") == (name == "external")


def test_the_temporal_trigger_speaks_tls_as_the_workers_do() -> None:
    for name in ("mutual TLS", "worker-controller", "worker-controller, mutual TLS"):
        release = rendered(name)
        (login,) = release.of("TriggerAuthentication")
        assert speaks_tls({one["parameter"] for one in login["spec"]["secretTargetRef"]})
    for _, spec in rendered("mutual TLS").scalers:
        (trigger,) = spec["triggers"]
        assert trigger["metadata"]["tlsServerName"] == "temporal.internal"


def test_a_trigger_of_the_worker_controller_is_empty_where_it_fills_in() -> None:
    (template,) = rendered("worker-controller").of("WorkerResourceTemplate")
    spec = template["spec"]["template"]["spec"]
    assert spec["scaleTargetRef"] == {}
    (trigger,) = spec["triggers"]
    for key in ("workerDeploymentName", "workerDeploymentBuildId", "namespace"):
        assert trigger["metadata"][key] == ""


def test_the_default_trigger_of_the_sets_has_a_fallback_that_fires() -> None:
    """KEDA asks an external scaler for its target first, and gives up before the fallback if that fails."""
    for name in ("gpu", "gpus"):
        types = {one["type"] for _, spec in rendered(name).scalers for one in spec["triggers"]}
        assert types == {"metrics-api"}
        for one in rendered(name).of("ScaledObject"):
            assert one["spec"]["fallback"]["replicas"] >= 1


def test_vllm_is_sized_for_all_that_ask_it() -> None:
    """All builds ask it, and all queues together: the HPA alone would take the largest trigger."""
    for name, askers in (("gpus", ["generate"]), ("two askers", ["generate", "other"])):
        (one,) = (
            one
            for one in rendered(name).of("ScaledObject")
            if one["metadata"]["name"] == "outlast-vllm"
        )
        triggers = one["spec"]["triggers"]
        assert [trigger["name"] for trigger in triggers] == askers
        assert all("build_id" not in trigger["metadata"]["url"] for trigger in triggers)
        modifiers = one["spec"]["advanced"].get("scalingModifiers")
        if len(askers) > 1:
            assert modifiers == {"formula": "generate + other", "target": "28.8"}
        else:
            assert modifiers is None


def test_a_job_worker_has_no_idle_minimum_unless_it_asks_for_one() -> None:
    for more, minimum in ((), 0), (("workers.generate-gpu.scale.min=1",), 1):
        (job,) = rendered("gpus", *more).of("ScaledJob")
        assert job["spec"]["minReplicaCount"] == minimum
