"""Pod deletion costs: scaling in, Kubernetes deletes idle worker pods before busy ones.

The cost is the annotation `controller.kubernetes.io/pod-deletion-cost`. When a ReplicaSet scales
in, it deletes the ready pod with the lowest cost first. Many patches load the API server, so only relevant
changes are sent.
"""

import asyncio
import itertools
import re
import ssl
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2
import structlog

from outlast.errors import NotReady, OutlastError
from outlast.text.texts import cut
from outlast_workers.demand.demand_query import Reading
from outlast_workers.demand.reading_cache import ReadingCache
from outlast_workers.settings_sections.demand import PodSettings

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts the token of a pod's service account, the namespace, and the CA."""

RELEVANT_FACTOR = 2
"""A busy pod's cost is sent when it changes by this factor: the order of busy pods may be approximate."""

MAX_PATCHES = 100
"""Patches after one poll. The others follow after the next poll."""

MAX_CONCURRENT_PATCHES = 10
CALL_TIMEOUT_S = 5.0
PATCHES_TIMEOUT_S = 15.0

MAX_REASON_CHARS = 300

# The host name that a worker reports becomes part of a URL path.
_POD_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

log = structlog.get_logger("outlast.demand")

SentCosts = Mapping[str, int | None]
"""The cost that was last sent for each pod. None marks a name without a pod."""


class PatchFailed(OutlastError):
    """Raised when the API server does not accept the cost of a pod."""


def busy_pods(readings: Iterable[Reading], prefix: str) -> dict[str, int]:
    """Return the running activities of each pod. The last reading of a worker wins.

    Workflow tasks do not count: they take milliseconds, and every drain is longer.
    """
    workers = {worker.instance_key: worker for reading in readings for worker in reading.workers}
    busy: Counter[str] = Counter()
    for worker in workers.values():
        name = worker.host_name
        if name.startswith(prefix) and _POD_NAME.fullmatch(name):
            busy[name] += worker.activities
    return dict(busy)


def costs_to_send(sent: SentCosts, busy: Mapping[str, int]) -> dict[str, int]:
    """Return the costs that need a patch, busy pods first. The cost of a pod is its busy slots.

    A new pod gets even a cost of 0, because an earlier service may have set a higher one.
    """
    costs = [
        (pod, cost)
        for pod, cost in busy.items()
        if pod not in sent or _is_relevant(sent[pod], cost)
    ]
    costs.sort(key=lambda pod_cost: (not pod_cost[1], pod_cost[0]))
    return dict(itertools.islice(costs, MAX_PATCHES))


def _is_relevant(sent: int | None, cost: int) -> bool:
    if sent is None:
        return False
    if not sent or not cost:
        return sent != cost
    return max(sent, cost) >= RELEVANT_FACTOR * min(sent, cost)


@dataclass(frozen=True)
class KubernetesApi:
    """The API server of the cluster that this process runs in."""

    url: str
    namespace: str
    account: Path = ACCOUNT

    def client(self) -> httpx2.AsyncClient:
        """Return a client with the current token and CA: Kubernetes rotates both."""
        token = (self.account / "token").read_text(encoding="ascii").strip()
        context = ssl.create_default_context(cafile=self.account / "ca.crt")
        # Python 3.13 rejects the CA of many clusters (EKS, older GKE), which has no key identifiers. Chain,
        # dates and host name are checked all the same.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return httpx2.AsyncClient(
            base_url=f"{self.url}/api/v1/namespaces/{self.namespace}",
            headers={"Authorization": f"Bearer {token}"},
            verify=context,
            timeout=CALL_TIMEOUT_S,
            trust_env=False,
        )


def in_cluster(
    settings: PodSettings, variables: Mapping[str, str], *, account: Path = ACCOUNT
) -> KubernetesApi:
    """Return the API server of the cluster that this process runs in; raises `NotReady`."""
    host, port = (variables.get(f"KUBERNETES_SERVICE_{part}") for part in ("HOST", "PORT"))
    if not host or not port:
        raise NotReady(
            "demand.pods.enabled needs a pod in Kubernetes, and KUBERNETES_SERVICE_HOST and _PORT are not "
            "set: disable it (OUTLAST_DEMAND__PODS__ENABLED=false)"
        )
    try:
        namespace = (
            settings.namespace or (account / "namespace").read_text(encoding="ascii").strip()
        )
        api = KubernetesApi(f"https://{_bracketed(host)}:{port}", namespace, account)
        api.client()
    except OSError as error:
        raise NotReady(
            f"demand.pods.enabled needs a service account ({account}: {error.strerror or error}): mount "
            "its token (automountServiceAccountToken), or disable it"
        ) from None
    return api


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def patch(client: httpx2.AsyncClient, pod: str, cost: int) -> bool:
    """Set the cost of a pod and return whether the pod exists; raises `PatchFailed`."""
    try:
        response = await client.patch(
            f"/pods/{pod}",
            headers={"Content-Type": "application/merge-patch+json"},
            json={"metadata": {"annotations": {ANNOTATION: str(cost)}}},
        )
    except httpx2.HTTPError as error:
        raise PatchFailed(
            f"the API server cannot be reached: {str(error) or type(error).__name__}"
        ) from None
    if response.status_code == httpx2.codes.NOT_FOUND:
        return False
    if not response.is_success:
        reason = cut(response.text, MAX_REASON_CHARS)
        raise PatchFailed(f"the API server answers {response.status_code}: {reason}")
    return True


class DeletionCosts:
    """Sends the costs of pods after each poll. Costs that could not be sent follow after the next poll."""

    def __init__(self, api: KubernetesApi, *, prefix: str) -> None:
        self._api = api
        self._prefix = prefix
        self._sent_costs: dict[str, int | None] = {}
        self._patch_slots = asyncio.Semaphore(MAX_CONCURRENT_PATCHES)
        self._error: str | None = None

    async def run(self, cache: ReadingCache) -> None:
        """Send costs after each poll of a cache until the cache is closed."""
        while not cache.is_closed:
            await cache.next_poll()
            await self.update(cache.readings())

    async def update(self, readings: Iterable[Reading]) -> None:
        """Send the costs that readings change. Errors of the API server are logged, not raised."""
        busy = busy_pods(readings, self._prefix)
        self._sent_costs = {pod: cost for pod, cost in self._sent_costs.items() if pod in busy}
        if costs := costs_to_send(self._sent_costs, busy):
            self._log_change(await self._send(costs))

    async def _send(self, costs: Mapping[str, int]) -> str | None:
        """Send costs, and return the reason of the first failure."""
        try:
            async with asyncio.timeout(PATCHES_TIMEOUT_S), self._api.client() as client:
                reasons = await asyncio.gather(
                    *(self._send_one(client, pod, cost) for pod, cost in costs.items())
                )
        except TimeoutError:
            return "the API server is slow"
        except OSError as error:
            return f"{self._api.account}: {error.strerror or error}"
        return next(filter(None, reasons), None)

    async def _send_one(self, client: httpx2.AsyncClient, pod: str, cost: int) -> str | None:
        async with self._patch_slots:
            try:
                self._sent_costs[pod] = cost if await patch(client, pod, cost) else None
            except PatchFailed as error:
                return str(error)
        return None

    def _log_change(self, error: str | None) -> None:
        if error and not self._error:
            log.warning("pods.patch_failed", reason=error)
        elif self._error and not error:
            log.info("pods.patch_recovered")
        self._error = error
