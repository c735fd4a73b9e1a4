"""The deletion costs of pods, and their patches to a fake API server."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from outlast_workers.demand import deletion_costs
from outlast_workers.demand.deletion_costs import (
    DeletionCosts,
    SentCosts,
    busy_pods,
    costs_to_send,
    in_cluster,
)
from outlast_workers.demand.demand_query import Reading, Target, WorkerLoad
from outlast_workers.demand.reading_cache import ReadingCache
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.demand import PodSettings
from structlog.testing import capture_logs

from outlast.errors import NotReady
from tests.workers.demand.fake_kubernetes import NAMESPACE, FakeKubernetes, serving


@pytest.fixture(autouse=True)
def _strict_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python's default context be as strict as that of Python 3.13."""
    made = ssl.create_default_context

    def strict(*arguments: Any, **options: Any) -> ssl.SSLContext:
        context = made(*arguments, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)


def reading(*workers: tuple[str, str, int]) -> Reading:
    return Reading({}, datetime.now(UTC), tuple(WorkerLoad(*worker) for worker in workers))


def one_each(**busy: int) -> list[Reading]:
    return [reading(*((name, name.replace("_", "-"), slots) for name, slots in busy.items()))]


@pytest.mark.parametrize(
    ("sent", "busy", "patches"),
    [
        ({}, {}, {}),
        ({}, {"a": 0}, {"a": 0}),  # an earlier service may have set a higher cost
        ({}, {"a": 3}, {"a": 3}),
        ({"a": 0}, {"a": 0}, {}),
        ({"a": 0}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {"a": 0}, {"a": 0}),
        ({"a": 32}, {"a": 0}, {"a": 0}),
        ({"a": 4}, {"a": 4}, {}),
        ({"a": 4}, {"a": 7}, {}),
        ({"a": 4}, {"a": 8}, {"a": 8}),
        ({"a": 4}, {"a": 3}, {}),
        ({"a": 4}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": None}, {"a": 5}, {}),  # no such pod
        ({"gone": 5}, {"a": 1}, {"a": 1}),
    ],
)
def test_a_cost_is_sent_when_a_pod_becomes_idle_or_busy_or_twice_as_busy(
    sent: SentCosts, busy: dict[str, int], patches: dict[str, int]
) -> None:
    assert costs_to_send(sent, busy) == patches


def test_busy_pods_come_first_and_the_number_of_patches_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deletion_costs, "MAX_PATCHES", 3)
    assert list(costs_to_send({}, {"a": 0, "b": 1, "c": 0, "d": 9}).items()) == [
        ("b", 1),
        ("d", 9),
        ("a", 0),
    ]


def test_the_cost_of_a_pod_is_the_sum_of_its_workers_each_counted_once() -> None:
    queue = reading(("1", "pod-a", 2), ("2", "pod-a", 1), ("3", "pod-b", 0))
    version = reading(("1", "pod-a", 5))
    assert busy_pods([queue, version], "pod-") == {"pod-a": 6, "pod-b": 0}


@pytest.mark.parametrize(
    "host_name",
    [
        "",
        "laptop",
        "Outlast-1",
        "outlast-a/../../secrets/key",
        "outlast-a?x=1",
        "outlast-a%2f",
        "outlast-a\n",
        "outlast-" + "a" * 250,
    ],
)
def test_host_names_that_are_not_worker_pods_are_ignored(host_name: str) -> None:
    assert busy_pods([reading(("1", host_name, 1))], "outlast-") == {}


@pytest.fixture
async def kubernetes(tmp_path: Path) -> AsyncIterator[FakeKubernetes]:
    async with serving(FakeKubernetes("pod-a", "pod-b"), tmp_path) as fake:
        yield fake


@pytest.fixture
def costs(kubernetes: FakeKubernetes, tmp_path: Path) -> DeletionCosts:
    api = in_cluster(PodSettings(enabled=True), kubernetes.variables, account=tmp_path)
    assert api.namespace == NAMESPACE
    return DeletionCosts(api, prefix="pod-")


async def test_pods_get_their_costs_and_only_changes_are_sent(
    kubernetes: FakeKubernetes, costs: DeletionCosts
) -> None:
    await costs.update(one_each(pod_a=2, pod_b=0))
    assert kubernetes.costs == {"pod-a": "2", "pod-b": "0"}
    await costs.update(one_each(pod_a=3, pod_b=0))
    assert sorted(kubernetes.patched) == ["pod-a", "pod-b"]
    await costs.update(one_each(pod_a=0, pod_b=1))
    assert kubernetes.costs == {"pod-a": "0", "pod-b": "1"}


async def test_a_missing_pod_is_patched_once_until_it_appears_again(
    kubernetes: FakeKubernetes, costs: DeletionCosts
) -> None:
    with capture_logs() as lines:
        for slots in (1, 0, 4):
            await costs.update(one_each(pod_x=slots))
    assert kubernetes.patched == ["pod-x"]
    assert lines == [], "workers elsewhere are no failure"
    await costs.update([])
    await costs.update(one_each(pod_x=1))
    assert kubernetes.patched == ["pod-x", "pod-x"]


async def test_a_rotated_token_is_read_again(
    kubernetes: FakeKubernetes, costs: DeletionCosts, tmp_path: Path
) -> None:
    await costs.update(one_each(pod_a=1))
    kubernetes.token = "second"  # noqa: S105 of a fake
    kubernetes.write_token(tmp_path)
    await costs.update(one_each(pod_a=0))
    assert kubernetes.costs["pod-a"] == "0"


async def test_a_failing_api_is_logged_once_and_retried_after_the_next_poll(
    kubernetes: FakeKubernetes, costs: DeletionCosts
) -> None:
    with capture_logs() as lines:
        kubernetes.fails_with = 403
        for _ in range(3):
            await costs.update(one_each(pod_a=1))
        kubernetes.fails_with = None
        await costs.update(one_each(pod_a=1))
    assert [line["event"] for line in lines] == ["pods.patch_failed", "pods.patch_recovered"]
    assert lines[0]["reason"].startswith("the API server answers 403: ")
    assert 'pods \\"pod-a\\" is forbidden' in lines[0]["reason"]
    assert len(kubernetes.patched) == 4
    assert kubernetes.costs["pod-a"] == "1"


async def test_the_failure_of_one_pod_does_not_affect_others(
    kubernetes: FakeKubernetes, costs: DeletionCosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion_costs, "CALL_TIMEOUT_S", 0.3)
    kubernetes.slow_pod, kubernetes.takes_s = "pod-a", 5
    with capture_logs() as lines:
        await costs.update(one_each(pod_a=1, pod_b=1))
    assert kubernetes.costs == {"pod-a": None, "pod-b": "1"}
    assert lines[0]["reason"] == "the API server cannot be reached: ReadTimeout"


async def test_a_slow_api_server_times_out_and_gets_few_concurrent_patches(
    kubernetes: FakeKubernetes, costs: DeletionCosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion_costs, "PATCHES_TIMEOUT_S", 0.5)
    kubernetes.takes_s = 3
    with capture_logs() as lines:
        await costs.update(one_each(**{f"pod_{number}": 1 for number in range(40)}))
    assert [line["reason"] for line in lines] == ["the API server is slow"]
    assert 1 <= kubernetes.most_at_once <= deletion_costs.MAX_CONCURRENT_PATCHES


async def test_an_api_server_with_another_ca_gets_no_token(
    kubernetes: FakeKubernetes, costs: DeletionCosts, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    async with serving(FakeKubernetes(), tmp_path / "other"):
        (tmp_path / "other" / "ca.crt").rename(tmp_path / "ca.crt")
    with capture_logs() as lines:
        await costs.update(one_each(pod_a=1))
    assert "CERTIFICATE_VERIFY_FAILED" in lines[0]["reason"]
    assert kubernetes.patched == []


async def test_a_missing_token_is_retried(
    kubernetes: FakeKubernetes, costs: DeletionCosts, tmp_path: Path
) -> None:
    (tmp_path / "token").unlink()
    with capture_logs() as lines:
        await costs.update(one_each(pod_a=1))
    assert lines[0]["reason"].endswith("No such file or directory")
    kubernetes.write_token(tmp_path)
    await costs.update(one_each(pod_a=1))
    assert kubernetes.costs["pod-a"] == "1"


def test_outside_of_a_cluster_it_fails_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="KUBERNETES_SERVICE_HOST and _PORT are not set"):
        in_cluster(PodSettings(enabled=True), {}, account=tmp_path)


def test_without_a_token_it_fails_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=f"{tmp_path}: No such file.*automountServiceAccountToken"):
        in_cluster(PodSettings(enabled=True), FakeKubernetes().variables, account=tmp_path)


async def test_a_configured_namespace_wins_and_ipv6_is_bracketed(
    kubernetes: FakeKubernetes, tmp_path: Path
) -> None:
    variables = {**kubernetes.variables, "KUBERNETES_SERVICE_HOST": "fd00::1"}
    api = in_cluster(PodSettings(namespace="other"), variables, account=tmp_path)
    assert (api.namespace, api.url) == ("other", f"https://[fd00::1]:{kubernetes.port}")


def test_deletion_costs_are_disabled_by_default() -> None:
    assert Settings().demand.pods == PodSettings(enabled=False, namespace="", prefix="")


class FakeSource:
    """A source whose worker is as busy as `slots` says."""

    slots = 1

    async def read(self, target: Target) -> Reading:
        return reading(("1", "pod-a", self.slots))


async def test_it_follows_polls_and_a_failing_api_does_not_stop_them(
    kubernetes: FakeKubernetes, costs: DeletionCosts
) -> None:
    source = FakeSource()
    cache = ReadingCache(source, watched=[Target("q")], poll_s=0.02, keep_s=60)
    async with asyncio.TaskGroup() as group:
        polling = group.create_task(cache.run())
        sending = group.create_task(costs.run(cache))
        await until(lambda: kubernetes.costs["pod-a"] == "1")
        kubernetes.fails_with, source.slots = 500, 0
        await until(lambda: len(kubernetes.patched) > 3)
        assert cache.peek(Target("q")).reading.workers[0].activities == 0
        kubernetes.fails_with = None
        await until(lambda: kubernetes.costs["pod-a"] == "0")
        polling.cancel()
        await asyncio.wait_for(sending, 30)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)
