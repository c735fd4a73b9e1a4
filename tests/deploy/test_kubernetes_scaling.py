"""How the chart scales: each scaler asks for the queue, the version and the slots of what it scales."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from outlast_workers.demand import http_api, keda_scaler
from outlast_workers.demand.demand_query import DemandQuery, ParameterNames, Target, parse_query
from outlast_workers.demand.service import slots_of, watched_targets

from tests.deploy.chart import NAMESPACE, SETS, Pod, Release, rendered
from tests.deploy.settings import loaded


@pytest.fixture(params=SETS)
def release(request: pytest.FixtureRequest) -> Release:
    return rendered(request.param)


def test_deployment_name_and_build_id_agree_everywhere(release: Release) -> None:
    version_of = {pod.name: pod.version for pod in release.workers}
    for pod in release.workers:
        assert pod.main["image"].endswith(f":{pod.build}")
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
            if target in slots_of:
                assert _queried_slots(trigger) == slots_of[target], target


def test_the_demand_service_watches_the_queue_of_each_worker_with_its_version_and_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in SETS:
        release = rendered(name, "demand.enabled=true")
        (service,) = (pod for pod in release.pods if pod.main["name"] == "demand")
        variables = {key: value for key, value in service.variables.items() if "DEMAND" in key}
        settings = loaded(variables)
        targets = watched_targets(settings)
        for pod in release.workers:
            assert Target(pod.queue, *_version_on_the_server(pod)) in targets, (name, pod.name)
            assert slots_of(settings, pod.queue) == pod.slots, (name, pod.name)
            if any(pod.version):
                assert Target(pod.queue) not in targets, (name, pod.name)


def _version_on_the_server(pod: Pod) -> tuple[str, str]:
    if pod.is_managed:
        return f"{NAMESPACE}/{pod.name}", pod.build
    deployment, build_id = pod.version
    return deployment or "", build_id or ""


def test_what_is_scaled_has_no_fixed_replicas(release: Release) -> None:
    scaled = {target for target, _ in release.scalers}
    for pod in release.pods:
        if pod.owner["kind"] != "ScaledJob":
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
        assert ("workflow" in query.types) == (pod.variables["OUTLAST_ROLES"] == "workflows")


def _query(trigger: Mapping[str, Any]) -> DemandQuery:
    names: ParameterNames = keda_scaler.PARAMETER_NAMES
    parameters = {
        key: value for key, value in trigger["metadata"].items() if key not in keda_scaler.KEDA_KEYS
    }
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
    if trigger["type"] == "metrics-api":
        assert trigger["metadata"]["targetValue"] == _url_parameters(trigger)["slots"]
        return int(_url_parameters(trigger)["slots"])
    metadata = trigger["metadata"]
    return int(metadata.get("slotsPerWorker") or metadata["targetQueueSize"])
