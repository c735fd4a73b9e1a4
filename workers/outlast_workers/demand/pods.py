"""What it costs to delete each pod, told to Kubernetes, which takes the cheapest away first.

Costs are in the annotation `controller.kubernetes.io/pod-deletion-cost`: by it a ReplicaSet ranks pods that
are ready alike when it is scaled in. To change it often loads the API server, so only what matters is sent.
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
from outlast_workers.demand.board import Board
from outlast_workers.demand.demand import Reading
from outlast_workers.settings_sections import PodSettings

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts the token of a pod's service account, the namespace, and the CA."""

MATTERS = 2
"""By what factor a busy pod's cost changes until it is sent: the order of busy pods need not be exact."""

MAX_PATCHES = 100
"""After one poll; the rest follows after the next."""

PATCHES_AT_ONCE = 10
CALL_TIMEOUT_S = 5.0
PATCHED_WITHIN_S = 15.0

MAX_REASON_CHARS = 300

# What a worker says that it is called becomes part of a path.
_POD_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

log = structlog.get_logger("outlast.demand")

Told = Mapping[str, int | None]
"""What each pod was last said to cost; None for names that are of no pod."""


class NotPatched(OutlastError):
    """Raised when the API server does not take the cost of a pod."""


def busy_pods(readings: Iterable[Reading], prefix: str) -> dict[str, int]:
    """Return the activities under way in each pod; a later reading of the same worker counts.

    Workflow tasks are not counted: they take milliseconds, and every drain is longer.
    """
    workers = {one.instance_key: one for reading in readings for one in reading.workers}
    busy: Counter[str] = Counter()
    for worker in workers.values():
        name = worker.host_name
        if name.startswith(prefix) and _POD_NAME.fullmatch(name):
            busy[name] += worker.activities
    return dict(busy)


def changes(told: Told, busy: Mapping[str, int]) -> dict[str, int]:
    """Return what pods are to be said to cost: their busy slots, where that matters; busy pods first.

    A pod that nothing was said of is told even a cost of 0: an earlier service may have said more.
    """
    news = [
        (pod, cost) for pod, cost in busy.items() if pod not in told or _matters(told[pod], cost)
    ]
    news.sort(key=lambda one: (not one[1], one[0]))
    return dict(itertools.islice(news, MAX_PATCHES))


def _matters(told: int | None, cost: int) -> bool:
    if told is None:
        return False
    if not told or not cost:
        return told != cost
    return max(told, cost) >= MATTERS * min(told, cost)


@dataclass(frozen=True)
class KubernetesApi:
    """The API server as a pod reaches it."""

    url: str
    namespace: str
    account: Path = ACCOUNT

    def client(self) -> httpx2.AsyncClient:
        """Return a client with the token and the CA of this moment, for both are replaced in time."""
        token = (self.account / "token").read_text(encoding="ascii").strip()
        return httpx2.AsyncClient(
            base_url=f"{self.url}/api/v1/namespaces/{self.namespace}",
            headers={"Authorization": f"Bearer {token}"},
            verify=ssl.create_default_context(cafile=self.account / "ca.crt"),
            timeout=CALL_TIMEOUT_S,
            trust_env=False,
        )


def in_cluster(
    told: PodSettings, variables: Mapping[str, str], *, account: Path = ACCOUNT
) -> KubernetesApi:
    """Return the API server of the cluster that this process is in; raises `NotReady`."""
    host, port = (variables.get(f"KUBERNETES_SERVICE_{part}") for part in ("HOST", "PORT"))
    if not host or not port:
        raise NotReady(
            "demand.pods.enabled needs a pod in Kubernetes, and KUBERNETES_SERVICE_HOST and _PORT are not "
            "set: turn it off (OUTLAST_DEMAND__PODS__ENABLED=false)"
        )
    try:
        namespace = told.namespace or (account / "namespace").read_text(encoding="ascii").strip()
        api = KubernetesApi(f"https://{_bracketed(host)}:{port}", namespace, account)
        api.client()
    except OSError as error:
        raise NotReady(
            f"demand.pods.enabled needs a service account ({account}: {error.strerror or error}): mount "
            "its token (automountServiceAccountToken), or turn it off"
        ) from None
    return api


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def patch(client: httpx2.AsyncClient, pod: str, cost: int) -> bool:
    """Set the cost of a pod; False where there is no such pod; raises `NotPatched`."""
    try:
        response = await client.patch(
            f"/pods/{pod}",
            headers={"Content-Type": "application/merge-patch+json"},
            json={"metadata": {"annotations": {ANNOTATION: str(cost)}}},
        )
    except httpx2.HTTPError as error:
        raise NotPatched(
            f"the API server cannot be asked: {str(error) or type(error).__name__}"
        ) from None
    if response.status_code == httpx2.codes.NOT_FOUND:
        return False
    if not response.is_success:
        said = " ".join(response.text.split())[:MAX_REASON_CHARS]
        raise NotPatched(f"the API server answers {response.status_code}: {said}")
    return True


class DeletionCosts:
    """Says after each poll what pods cost; what it could not say it says after the next."""

    def __init__(self, api: KubernetesApi, *, prefix: str) -> None:
        self._api = api
        self._prefix = prefix
        self._told: dict[str, int | None] = {}
        self._places = asyncio.Semaphore(PATCHES_AT_ONCE)
        self._error: str | None = None

    async def run(self, board: Board) -> None:
        """Follow the polls of a board until it is closed."""
        while not board.is_closed:
            await board.next_poll()
            await self.say(board.readings())

    async def say(self, readings: Iterable[Reading]) -> None:
        """Send what readings change; never raises for the API server."""
        busy = busy_pods(readings, self._prefix)
        self._told = {pod: cost for pod, cost in self._told.items() if pod in busy}
        if news := changes(self._told, busy):
            self._note(await self._sent(news))

    async def _sent(self, news: Mapping[str, int]) -> str | None:
        """Send costs, and return the first reason why one could not be sent."""
        try:
            async with asyncio.timeout(PATCHED_WITHIN_S), self._api.client() as client:
                reasons = await asyncio.gather(
                    *(self._one(client, pod, cost) for pod, cost in news.items())
                )
        except TimeoutError:
            return "the API server is slow"
        except OSError as error:
            return f"{self._api.account}: {error.strerror or error}"
        return next(filter(None, reasons), None)

    async def _one(self, client: httpx2.AsyncClient, pod: str, cost: int) -> str | None:
        async with self._places:
            try:
                self._told[pod] = cost if await patch(client, pod, cost) else None
            except NotPatched as error:
                return str(error)
        return None

    def _note(self, error: str | None) -> None:
        if error and not self._error:
            log.warning("pods.not_patched", reason=error)
        elif self._error and not error:
            log.info("pods.patched_again")
        self._error = error
