"""What the scenarios share: the image in the cluster, a Temporal server, a model server, and a release."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.cluster.cluster import LONG_CALL_S, ROOT, Cluster, NotRunnable, Unexpected

CHART = "deploy/kubernetes/chart"
FOLDER = "tests/cluster"
IMAGE = "outlast-cluster-test"
RELEASE = "outlast"
DEPLOYMENT = "outlast"
BUILDS = ("v1", "v2")
"""Two tags of one image: two builds, as far as Temporal and the chart know."""

READY_S = 300.0
"""Pods of an image that the node has already."""

RUN_S = 120.0
"""A run of the suite takes seconds, or `SLOW_S` of the model server."""

PROMOTED_S = 300.0

OPEN = "ExecutionStatus = 'Running'"


@dataclass
class Stand:
    """A namespace with a Temporal server, a model server and a release of the chart."""

    cluster: Cluster
    has_keda: bool
    repository: str = IMAGE
    tag: str = ""
    """The build that is installed."""

    def values(self, tag: str, *options: str) -> list[str]:
        """Return the options of Helm for a build."""
        files = ["values.yaml", *(["values-keda.yaml"] if self.has_keda else [])]
        words = [word for name in files for word in ("-f", f"{FOLDER}/{name}")]
        words += [
            "--set-string",
            f"image.tag={tag}",
            "--set",
            f"image.repository={self.repository}",
        ]
        return words + [word for option in options for word in ("--set", option)]

    def prepare(self) -> None:
        """Make the namespace, the servers and the Secret of the demand service."""
        cluster = self.cluster
        cluster.call("kubectl", "create", "namespace", cluster.namespace)
        text = (ROOT / FOLDER / "stand.yaml").read_text()
        image = f"{self.repository}:{BUILDS[0]}"
        cluster.kubectl("apply", "-f", "-", given=text.replace("IMAGE", image))
        token = f"--from-literal=token={secrets.token_hex(16)}"
        cluster.kubectl("create", "secret", "generic", "outlast-demand", token)
        for name in ("temporal", "model"):
            self.rolled_out(name)
        cluster.until("Temporal's start", self.temporal_answers, READY_S)

    def temporal_answers(self) -> bool:
        """Return whether the Temporal server answers."""
        return bool(self.cluster.temporal("operator", "cluster", "system"))

    def rolled_out(self, name: str) -> None:
        """Wait until a Deployment is ready."""
        timeout = f"--timeout={READY_S:.0f}s"
        words = ("rollout", "status", f"deployment/{name}", timeout)
        self.cluster.kubectl(*words, within_s=READY_S + 30)

    def install(self, tag: str, *options: str) -> None:
        """Install or upgrade the release, and wait until its workers and its promotion are done."""
        words = ("upgrade", "--install", RELEASE, CHART, *self.values(tag, *options))
        self.cluster.helm(*words)
        self.tag = tag
        self.ready(tag)

    def ready(self, tag: str) -> None:
        """Wait until the workers of a build are ready, and the build is current."""
        for worker in ("workflows", "tools"):
            self.rolled_out(f"{RELEASE}-{worker}-{tag}")
        if not self.has_keda:
            self.rolled_out(f"{RELEASE}-generate")
        cluster = self.cluster
        cluster.until(f"{tag} as the current build", lambda: self._is_current(tag), PROMOTED_S)

    def _is_current(self, tag: str) -> bool:
        return self.builds().get(tag, {}).get("status") == "current"

    def builds(self) -> dict[str, dict[str, Any]]:
        """Return the builds at the Temporal server, as `outlast worker builds` lists them."""
        words = ("outlast", "worker", "builds", "--deployment", DEPLOYMENT, "--json")
        listed = json.loads(self.cluster.inside(*words))["builds"]
        return {build["build"]: build for build in listed}

    def start(self, text: str, *, mode: str = "task") -> str:
        """Start a run, and return its id."""
        run_id = f"run-{secrets.token_hex(4)}"
        given = json.dumps({"agent": "desk", "input": text, "mode": mode})
        words = ("workflow", "start", "--type", "AgentWorkflow", "--task-queue", "agents")
        self.cluster.temporal(*words, "--workflow-id", run_id, "--input", given)
        return run_id

    def status(self, run_id: str) -> str:
        """Return the status of a run, such as COMPLETED."""
        found = self.cluster.temporal("workflow", "describe", "--workflow-id", run_id)
        return str(found["workflowExecutionInfo"]["status"]).removeprefix(
            "WORKFLOW_EXECUTION_STATUS_"
        )

    def completed(self, run_ids: Sequence[str], within_s: float = RUN_S) -> None:
        """Wait until runs have completed."""
        for run_id in run_ids:
            self.cluster.until(f"the end of {run_id}", partial(self._ended, run_id), within_s)

    def _ended(self, run_id: str) -> bool:
        status = self.status(run_id)
        if status not in ("RUNNING", "COMPLETED"):
            raise Unexpected(f"{run_id} is {status}")
        return status == "COMPLETED"

    def finish(self, run_id: str) -> None:
        """End a conversation."""
        words = ("workflow", "signal", "--workflow-id", run_id, "--name", "finish")
        self.cluster.inside("temporal", *words)
        self.completed([run_id])

    def replicas(self, name: str) -> int:
        """Return how many pods of a Deployment are wanted."""
        words = ("get", "deployment", name, "-o", "jsonpath={.spec.replicas}")
        return int(self.cluster.kubectl(*words).strip() or "0")

    def workers_of(self, tag: str) -> list[str]:
        """Return the Deployments of a build."""
        selector = f"app.kubernetes.io/instance={RELEASE},outlast.dev/build={tag}"
        return sorted(
            one["metadata"]["name"] for one in self.cluster.items("deployments", selector)
        )

    def remove(self) -> None:
        """Delete the namespace, with everything in it."""
        words = (
            "delete",
            "namespace",
            self.cluster.namespace,
            "--ignore-not-found",
            "--wait=false",
        )
        self.cluster.call("kubectl", *words)


def build_image(cluster: Cluster, *, kind: str | None, push: str | None) -> str:
    """Build the image of the suite, take it to the cluster, and return its repository.

    `kind` is the name of a kind cluster, which gets the image without a registry. `push` is a repository.
    """
    if not kind and not push:
        raise NotRunnable(
            "the image has no way into the cluster: give --kind NAME or --push REPOSITORY"
        )
    repository = push or IMAGE
    base, tags = f"{IMAGE}-base:build", [f"{repository}:{build}" for build in BUILDS]
    worker = (
        "-f",
        "deploy/images/worker.Dockerfile",
        "--build-arg",
        "BUILD_ID=build",
        "-t",
        base,
        ".",
    )
    cluster.call("docker", "build", *worker, within_s=LONG_CALL_S)
    named = [word for tag in tags for word in ("-t", tag)]
    suite = ("-f", f"{FOLDER}/Dockerfile", "--build-arg", f"WORKER={base}", *named, ".")
    cluster.call("docker", "build", *suite, within_s=LONG_CALL_S)
    for tag in tags:
        if kind:
            cluster.call("kind", "load", "docker-image", tag, "--name", kind, within_s=LONG_CALL_S)
        else:
            cluster.call("docker", "push", tag, within_s=LONG_CALL_S)
    return repository


def check_runnable(cluster: Cluster, kubeconfig: str | None) -> str:
    """Return the server of the cluster; raises `NotRunnable` if a command or the cluster is missing."""
    if not kubeconfig:
        raise NotRunnable(
            "KUBECONFIG is not set: name the file of the cluster to test with, for example"
            " KUBECONFIG=~/.kube/config make test-kubernetes (deploy/kubernetes/README.md shows kind)"
        )
    for command, words in (("kubectl", ("version", "--client")), ("helm", ("version", "--short"))):
        if cluster.runner((command, *words), given=None, within_s=60).status:
            raise NotRunnable(f"{command} does not work: install it, or mend `{command} version`")
    asked = ("kubectl", "version", "--request-timeout=10s", "-o", "json")
    done = cluster.runner(asked, given=None, within_s=60)
    try:
        version = str(json.loads(done.output)["serverVersion"]["gitVersion"])
    except (ValueError, KeyError):
        reason = (done.errors.strip().splitlines() or ["no answer"])[-1]
        raise NotRunnable(f"no cluster answers at KUBECONFIG={kubeconfig}: {reason}") from None
    if done.status:
        raise Unexpected(done.text)
    return version
