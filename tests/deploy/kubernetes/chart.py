"""The Helm chart, rendered: what an install would hand to the cluster."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tools import run

CHART = "deploy/kubernetes/chart"
VALUES = "deploy/kubernetes/values"
BUILD = "2026-11-24"
NAMESPACE = "agents-prod"

Object = Mapping[str, Any]

SETS: dict[str, tuple[str, ...]] = {
    "cpu": ("cpu",),
    "gpu": ("gpu",),
    "gpus": ("gpus",),
    "worker-controller": ("worker-controller",),
    "unversioned": ("gpu", "versioning.enabled=false"),
    "external": (
        "gpu",
        "scaling.trigger=external",
        "demand.tls.secret=outlast-demand-tls",
        "demand.tls.clientSecret=outlast-keda-tls",
        "monitoring.enabled=true",
    ),
    "metrics-api with TLS": (
        "gpu",
        "demand.tls.secret=outlast-demand-tls",
        "demand.tls.clientSecret=outlast-keda-tls",
    ),
    "mutual TLS": (
        "cpu",
        "scaling.trigger=temporal",
        "temporal.tls.enabled=true",
        "temporal.tls.clientSecret=temporal-client",
        "temporal.tls.caSecret=temporal-ca",
        "temporal.tls.serverName=temporal.internal",
    ),
    "worker-controller, private CA": (
        "worker-controller",
        "scaling.trigger=none",
        "temporal.tls.caSecret=temporal-ca",
        "temporal.tls.serverName=temporal.internal",
        "workerController.gate=GateWorkflow",
    ),
    "worker-controller, mutual TLS": (
        "worker-controller",
        "temporal.apiKeySecret=",
        "temporal.tls.clientSecret=temporal-client",
        "temporal.tls.caSecret=temporal-ca",
    ),
    "sidecar": ("gpu", "workers.generate.modelServer=sidecar", "workers.generate.maxSurge=0"),
    "deletion cost": ("gpu", "demand.deletionCost=true"),
    "jobs on backlog": ("gpus", "scaling.trigger=temporal", "vllm.scale.enabled=false"),
    "two askers": (
        "gpus",
        "workers.other.role=generate",
        "workers.other.modelServer=service",
        "workers.other.queue=generate-other",
    ),
    "gateway": (
        "gpus",
        "gateway.enabled=true",
        "gateway.tokensSecret=outlast-gateway",
        "gateway.expose.kind=HTTPRoute",
        "gateway.expose.host=agents.example.com",
        "gateway.expose.parentRefs[0].name=public",
        "gateway.expose.parentRefs[0].namespace=gateways",
        "settings.gateway.agents={refund-desk}",
        "settings.gateway.origins={https://chat.example.com}",
        "callback.expose.kind=Ingress",
        "callback.expose.className=nginx",
    ),
    "gateway with the text of answers": (
        "gpu",
        "gateway.enabled=true",
        "gateway.replicas=3",
        "gateway.tokensSecret=outlast-gateway",
        "gateway.eventsTokenSecret=outlast-gateway",
        "networkPolicy.gatewayPeers[0].namespaceSelector.matchLabels.name=gateways",
    ),
    "builds that do not stay": ("gpu", "versioning.keep=false"),
    "promotion": (
        "gpu",
        "promotion.enabled=true",
        "promotion.ramp={5,50}",
        "promotion.gates[0].agent=refund-desk",
        "promotion.gates[0].input=Where is order A-1042?",
        "promotion.minRuns=20",
    ),
    "OpenShift": (
        "cpu",
        "podSecurityContext.runAsUser=null",
        "podSecurityContext.runAsGroup=null",
        "podSecurityContext.fsGroup=null",
        "bindHost=::",
    ),
}
"""Sets of values: a file of `values/`, and the options that override it."""


def arguments(values: str, *options: str, tag: str = BUILD) -> tuple[str, ...]:
    """Return what tells Helm a file of values and options over it."""
    words = [word for option in options for word in ("--set", option)]
    return ("-f", f"{VALUES}/values-{values}.yaml", "--set-string", f"image.tag={tag}", *words)


@dataclass(frozen=True)
class Pod:
    """A template of pods, and the object that makes them."""

    owner: Object
    template: Object

    @property
    def name(self) -> str:
        """The name of the object that makes them."""
        return str(self.owner["metadata"]["name"])

    @property
    def spec(self) -> Mapping[str, Any]:
        """The specification of the pods."""
        spec: Mapping[str, Any] = self.template["spec"]
        return spec

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        """Every container, sidecars first."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def main(self) -> Mapping[str, Any]:
        """The container that the pod is for."""
        (main,) = self.spec["containers"]
        container: Mapping[str, Any] = main
        return container

    @property
    def variables(self) -> dict[str, str]:
        """The variables of the main container that have values."""
        return {one["name"]: one["value"] for one in self.main["env"] if "value" in one}

    @property
    def secrets(self) -> dict[str, Mapping[str, str]]:
        """The variables of the main container that are keys of Secrets."""
        return {
            one["name"]: one["valueFrom"]["secretKeyRef"]
            for one in self.main["env"]
            if "valueFrom" in one
        }

    @property
    def is_managed(self) -> bool:
        """Whether the worker controller tells it its version."""
        return bool(self.owner["kind"] == "WorkerDeployment")

    @property
    def version(self) -> tuple[str | None, str | None]:
        """The version of a worker; empty strings are for the worker controller to fill in."""
        if self.is_managed:
            return "", ""
        variables = self.variables
        return variables["TEMPORAL_DEPLOYMENT_NAME"] or None, variables[
            "TEMPORAL_WORKER_BUILD_ID"
        ] or None

    @property
    def roles(self) -> list[str]:
        """The roles of a worker."""
        return self.variables["OUTLAST_ROLES"].split(",")

    @property
    def queue(self) -> str:
        """The task queue that a worker polls."""
        (queue,) = {self.variables[f"OUTLAST_QUEUES__{role.upper()}"] for role in self.roles}
        return queue

    @property
    def slots(self) -> int:
        """How many tasks of each role a worker does at once."""
        (slots,) = {self.variables[f"OUTLAST_CONCURRENCY__{role.upper()}"] for role in self.roles}
        return int(slots)

    @property
    def is_worker(self) -> bool:
        """Whether it polls Temporal."""
        return bool(self.main["name"] == "worker")


@dataclass(frozen=True)
class Release:
    """All objects of a rendered set."""

    text: str
    objects: tuple[Object, ...]

    def of(self, *kinds: str) -> list[Object]:
        """Return the objects of these kinds."""
        return [one for one in self.objects if one["kind"] in kinds]

    @property
    def settings(self) -> Object:
        """Return the ConfigMap with the settings of the build."""
        (found,) = (one for one in self.of("ConfigMap") if "workflows.toml" in one["data"])
        return found

    @property
    def pods(self) -> list[Pod]:
        """Return every template of pods, of whatever makes them."""
        return list(_pods(self.objects))

    @property
    def workers(self) -> list[Pod]:
        """Return the templates of pods that poll."""
        return [pod for pod in self.pods if pod.is_worker]

    @property
    def scalers(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the specification of each ScaledObject and ScaledJob, with the name of what it scales."""
        jobs = [(one["metadata"]["name"], one["spec"]) for one in self.of("ScaledJob")]
        scaled = [
            (one["spec"]["scaleTargetRef"]["name"], one["spec"]) for one in self.of("ScaledObject")
        ]
        templates = [
            (one["spec"]["workerDeploymentRef"]["name"], one["spec"]["template"]["spec"])
            for one in self.of("WorkerResourceTemplate")
        ]
        return [*jobs, *scaled, *templates]


def _pods(objects: tuple[Object, ...]) -> Iterator[Pod]:
    for one in objects:
        if one["kind"] in {"Deployment", "StatefulSet", "WorkerDeployment", "Job"}:
            yield Pod(one, one["spec"]["template"])
        elif one["kind"] == "ScaledJob":
            yield Pod(one, one["spec"]["jobTargetRef"]["template"])


@cache
def rendered(name: str, *more: str, tag: str = BUILD) -> Release:
    """Return the objects of a set, with more options; fails where the chart refuses it."""
    options_of_set = arguments(*SETS[name], *more, tag=tag)
    done = run("helm", "template", "outlast", CHART, "-n", NAMESPACE, *options_of_set)
    assert done.returncode == 0, done.stdout
    objects = tuple(one for one in yaml.safe_load_all(done.stdout) if one)
    return Release(done.stdout, objects)


def refusal(values: str, *options: str, tag: str = BUILD) -> str:
    """Return what Helm says of values that the chart refuses."""
    options_of_set = arguments(values, *options, tag=tag)
    done = run("helm", "template", "outlast", CHART, "-n", NAMESPACE, *options_of_set)
    assert done.returncode != 0, f"the chart takes {options}"
    return done.stdout


def written(file: Path, objects: list[Any]) -> Path:
    """Write objects to a file for a validator, and return it."""
    file.write_text(yaml.safe_dump_all(objects))
    return file
