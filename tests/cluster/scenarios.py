"""What the suite does with a release, and what has to happen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tests.cluster.cluster import Unexpected
from tests.cluster.model_server import SLOW_S
from tests.cluster.stand import BUILDS, CHART, RELEASE, Stand
from tests.deploy.kubernetes.chart import SETS, arguments
from tests.deploy.kubernetes.crds import GROUPS

GENERATE = f"{RELEASE}-generate"
OLD, NEW = BUILDS

RUNS = 4
"""Slow runs at once: as many as `scale.max` of the values."""

SCALE_UP_S = 180.0
SCALE_DOWN_S = 300.0
"""The cooldown and the stabilization of the values, and the HPA's own interval."""

DOWN_S = 60.0
"""How long Temporal is away: longer than the workers' polls."""

WEAK_KINDS = {"PriorityClass"}
"""Kinds that belong to the whole cluster: a dry run with a value set does not make them."""


@dataclass(frozen=True)
class Scenario:
    """A named scenario."""

    name: str
    run: Callable[[Stand], None]
    needs_keda: bool = False

    @property
    def plan(self) -> str:
        """What it does, in a sentence."""
        return " ".join((self.run.__doc__ or "").split())


def dry_run(stand: Stand) -> None:
    """Send the objects of every value set to the API server as a dry run, which validates them."""
    cluster, left_out = stand.cluster, set[str]()
    for name, words in SETS.items():
        rendered = cluster.helm("template", RELEASE, CHART, *arguments(*words))
        objects = [one for one in yaml.safe_load_all(rendered) if one]
        known = [one for one in objects if _is_known(stand, one, left_out)]
        text = yaml.safe_dump_all(known)
        cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=text)
        cluster.see(f"{name}: the API server accepts {len(known)} of {len(objects)} objects")
    if left_out:
        cluster.see(f"left out, because the cluster has no such CRD: {', '.join(sorted(left_out))}")


_crds: dict[tuple[str, str], bool] = {}


def _is_known(stand: Stand, one: dict[str, Any], left_out: set[str]) -> bool:
    group, kind = one["apiVersion"].partition("/")[0], one["kind"]
    if group not in GROUPS:
        return kind not in WEAK_KINDS
    if (group, kind) not in _crds:
        _crds[group, kind] = stand.cluster.has(f"{kind.lower()}s.{group}")
    if not _crds[group, kind]:
        left_out.add(f"{kind} ({group})")
    return _crds[group, kind]


def install(stand: Stand) -> None:
    """Install the first build, promote it with the chart's Job, and complete runs."""
    stand.install(OLD)
    runs = [stand.start("hello") for _ in range(3)]
    stand.completed(runs)
    row = stand.builds()[OLD]
    stand.cluster.see(
        f"{OLD} is {row['status']}, {row['queues_polled']} queues polled, 3 runs done"
    )


def scale(stand: Stand) -> None:
    """Give work to a worker with no pods, until it has the most, and watch it go back to none."""
    cluster = stand.cluster
    cluster.until("no pods at first", lambda: stand.replicas(GENERATE) == 0, SCALE_DOWN_S)
    runs = [stand.start("slow") for _ in range(RUNS)]
    most = 0
    for count in _rising(stand):
        most = max(most, count)
        cluster.see(f"{count} pods wanted")
    stand.completed(runs, RUNS * SLOW_S + SCALE_UP_S)
    began = cluster.now()
    cluster.until("no pods again", lambda: stand.replicas(GENERATE) == 0, SCALE_DOWN_S)
    cluster.see(f"from 0 to {most} pods, and back to 0 after {cluster.now() - began:.0f} s")


def _rising(stand: Stand) -> Iterator[int]:
    """Yield each new number of pods, until there is more than one."""
    seen = 0
    while seen < 2:

        def more(than: int = seen) -> int:
            count = stand.replicas(GENERATE)
            return count if count > than else 0

        seen = int(stand.cluster.until("another pod", more, SCALE_UP_S))
        yield seen


def demand_down(stand: Stand) -> None:
    """Stop the demand service: the fallback of KEDA keeps pods. Start it: they go."""
    cluster, demand = stand.cluster, f"{RELEASE}-demand"
    cluster.kubectl("scale", "deployment", demand, "--replicas=0")
    count = cluster.until("the fallback", lambda: stand.replicas(GENERATE), SCALE_UP_S)
    cluster.see(f"without demand: {count} pods wanted")
    run = stand.start("hello")
    stand.completed([run], SCALE_UP_S)
    cluster.see("a run completes meanwhile")
    cluster.kubectl("scale", "deployment", demand, "--replicas=1")
    stand.rolled_out(demand)
    cluster.until("no pods again", lambda: stand.replicas(GENERATE) == 0, SCALE_DOWN_S)
    cluster.see("with demand: 0 pods wanted")


def temporal_down(stand: Stand) -> None:
    """Stop the Temporal server for a minute under an open run: it completes, and no worker restarts."""
    cluster = stand.cluster
    run = stand.start("slow")
    before = _restarts(stand)
    cluster.inside("touch", "/data/DOWN")
    cluster.sleep(DOWN_S)
    cluster.inside("rm", "/data/DOWN")
    stand.completed([run], SCALE_UP_S + SLOW_S)
    restarts = sum(_restarts(stand).values()) - sum(before.values())
    cluster.see(f"the run completed; workers restarted {restarts} times")


def _restarts(stand: Stand) -> dict[str, int]:
    pods = stand.cluster.items("pods", f"app.kubernetes.io/instance={RELEASE}")
    return {
        pod["metadata"]["name"]: sum(
            one["restartCount"] for one in pod["status"].get("containerStatuses", [])
        )
        for pod in pods
    }


def jobs(stand: Stand) -> None:
    """Let KEDA start Jobs instead of a Deployment: each exits by itself without work."""
    cluster = stand.cluster
    stand.install(stand.tag, "workers.generate.kind=Job")
    stand.completed([stand.start("slow") for _ in range(2)], SCALE_UP_S + 2 * SLOW_S)
    selector = f"app.kubernetes.io/component={GENERATE}"
    done = cluster.until("the end of every Job", lambda: _all_done(stand, selector), SCALE_DOWN_S)
    cluster.see(f"{done} Jobs ran, and exited")
    stand.install(stand.tag)


def _all_done(stand: Stand, selector: str) -> int:
    pods = stand.cluster.items("pods", selector)
    phases = [pod["status"]["phase"] for pod in pods]
    if "Failed" in phases:
        raise Unexpected(f"a pod of a Job failed: {phases}")
    return len(phases) if phases and set(phases) == {"Succeeded"} else 0


def upgrade(stand: Stand) -> None:
    """Upgrade under an open conversation: the Job ramps the new build, and the old workers stay."""
    cluster = stand.cluster
    talk = stand.start("hello", mode="conversation")
    before = stand.workers_of(OLD)
    cluster.until("a run on the old build", lambda: stand.builds()[OLD]["open_runs"], 60)
    stand.install(NEW)
    stand.completed([stand.start("hello")])
    builds = stand.builds()
    if stand.workers_of(OLD) != before or builds[OLD]["open_runs"] < 1:
        raise Unexpected(f"the old build has {stand.workers_of(OLD)}, and was {before}")
    cluster.see(
        f"{NEW} is {builds[NEW]['status']}; {OLD} is {builds[OLD]['status']} with"
        f" {builds[OLD]['open_runs']} open run and {len(before)} Deployments"
    )
    stand.finish(talk)


def rollback(stand: Stand) -> None:
    """Roll back to the old build with Helm 4, or with an upgrade: the Job makes it current again."""
    cluster = stand.cluster
    version = cluster.helm("version", "--short").strip()
    if version.lstrip("v").startswith("3."):
        cluster.see(f"Helm {version} refuses a rollback to kept objects, so this is an upgrade")
        stand.install(OLD)
    else:
        history = yaml.safe_load(cluster.helm("history", RELEASE, "-o", "json"))
        revisions = [one["revision"] for one in history if one["status"] == "superseded"]
        cluster.helm("rollback", RELEASE, str(max(revisions)))
        stand.tag = OLD
        stand.ready(OLD)
    stand.completed([stand.start("hello")])
    builds = stand.builds()
    cluster.see(f"{OLD} is {builds[OLD]['status']}, {NEW} is {builds[NEW]['status']}")


def uninstall(stand: Stand) -> None:
    """Uninstall under an open run: the guard refuses. After its end Helm uninstalls, and workers stay."""
    cluster = stand.cluster
    talk = stand.start("hello", mode="conversation")
    cluster.until("an open run", lambda: stand.builds()[stand.tag]["open_runs"], 60)
    refused = cluster.try_helm("uninstall", RELEASE)
    if not refused.status:
        raise Unexpected("helm uninstall went through although a run is open")
    words = ("logs", f"job/{RELEASE}-guard-uninstall", "--tail=1")
    line = cluster.kubectl(*words).strip()
    if "open runs need their workers" not in line:
        raise Unexpected(f"the guard failed with another reason: {line}")
    cluster.see(line)
    stand.finish(talk)
    cluster.helm("uninstall", RELEASE)
    cluster.see(f"uninstalled; still there: {', '.join(stand.workers_of(stand.tag))}")


SCENARIOS = (
    Scenario("dry-run", dry_run),
    Scenario("install", install),
    Scenario("scale", scale, needs_keda=True),
    Scenario("demand-down", demand_down, needs_keda=True),
    Scenario("temporal-down", temporal_down),
    Scenario("jobs", jobs, needs_keda=True),
    Scenario("upgrade", upgrade),
    Scenario("rollback", rollback),
    Scenario("uninstall", uninstall),
)
"""In this order: each needs the release that those before it leave behind."""
