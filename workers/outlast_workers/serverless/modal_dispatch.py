"""The dispatcher for Modal: it starts as many workers as the demand service asks for.

`deploy/modal/app.py` defines the fleets and runs the dispatcher, with its own demand service on loopback.
The dispatcher keeps no important state: each round reads the running workers from Modal. It can be
restarted, or run twice. A surplus worker ends when it is idle.

This module imports only the standard library, because Modal's containers import it without outlast.
"""

import importlib
import json
import logging
import subprocess
import time
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from outlast_workers.serverless.modal_lease import CHECK_INTERVAL_S, stop

INTERVAL_S = 5.0
"""The server's numbers are up to 5 s old, so a shorter interval shows nothing new."""

DEMAND_TIMEOUT_S = 10.0

DEMAND_URL = "http://127.0.0.1:8070"
"""The dispatcher's own demand service. It listens on loopback, so it needs no token."""

DEMAND_START_S = 30.0
"""A demand service that does not answer after this time fails the run of the dispatcher."""

DEMAND_STOP_S = 5.0
"""A demand service that does not exit this long after SIGTERM is killed."""

SETTLE_S = 15.0
"""Seconds for which a started worker counts, even if Modal does not count it yet."""

DEPLOYMENT = "outlast"

log = logging.getLogger("outlast.dispatch")


@dataclass(frozen=True)
class TaskQueue:
    """A task queue, and the number of its tasks that one worker runs at once."""

    name: str
    slots: int


@dataclass(frozen=True)
class Fleet:
    """Workers of one kind: their Modal function, the task queues they poll, and their maximum number.

    `function` is the name of a function, or of a class if `method` is set.
    """

    function: str
    queues: tuple[TaskQueue, ...]
    max_workers: int
    method: str = ""


@dataclass(frozen=True)
class Demand:
    """The demand service's answer for one task queue."""

    desired_workers: int
    is_stale: bool


@dataclass(frozen=True)
class WorkerCount:
    """The workers of a fleet that run, and those that Modal has not started yet.

    `expected` is the number according to the dispatcher itself, because Modal may count late.
    """

    running: int
    waiting: int
    expected: int = 0

    @property
    def total(self) -> int:
        """The number of workers that run or will run soon."""
        return max(self.running + self.waiting, self.expected)


def workers_to_start(demands: Iterable[Demand], count: WorkerCount, *, max_workers: int) -> int:
    """Return how many workers to start.

    Each worker polls all queues of its fleet, so the largest demand counts. A stale demand starts no
    worker: it means that Temporal is down, and workers cannot reach it either.
    """
    desired = max((demand.desired_workers for demand in demands if not demand.is_stale), default=0)
    return max(0, min(desired, max_workers) - count.total)


@dataclass
class ExpectedWorkers:
    """The number of workers that the last rounds expect. It counts until Modal counts them itself."""

    entries: deque[tuple[float, int]] = field(default_factory=deque)

    def record(self, count: int, now: float) -> None:
        """Expect `count` workers in total from now on."""
        self.entries.append((now + SETTLE_S, count))

    def at(self, now: float) -> int:
        """Return the expected number of workers; 0 when all entries have expired."""
        while self.entries and self.entries[0][0] <= now:
            self.entries.popleft()
        return max((count for _, count in self.entries), default=0)


def read_demand(base_url: str, queue: TaskQueue, *, build_id: str) -> Demand:
    """Query the demand service for one task queue; raises `OSError` or `ValueError` on failure."""
    parameters = {"deployment": DEPLOYMENT, "build_id": build_id, "slots": queue.slots}
    path = urllib.parse.quote(queue.name, safe="")
    url = f"{base_url.rstrip('/')}/demand/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=DEMAND_TIMEOUT_S) as response:  # noqa: S310 the operator's own URL
        body = json.load(response)
    return Demand(int(body["desired_workers"]), bool(body["is_stale"]))


@dataclass(frozen=True)
class FleetOnModal:
    """The two calls to Modal that a round makes for one fleet."""

    count: Callable[[], WorkerCount]
    spawn: Callable[[], object]


def app_name(build_id: str) -> str:
    """Return the name of a build's app. Each build has its own app, because runs are pinned to a build."""
    return f"{DEPLOYMENT}-{build_id}"


def find_fleet(fleet: Fleet, build_id: str) -> FleetOnModal:
    """Return the deployed fleet of a build's app."""
    # Imported here, because only the dispatcher needs it, not the functions above.
    modal: Any = importlib.import_module("modal")
    if fleet.method:
        worker_class = modal.Cls.from_name(app_name(build_id), fleet.function)
        function = getattr(worker_class(), fleet.method)
    else:
        function = modal.Function.from_name(app_name(build_id), fleet.function)

    def count() -> WorkerCount:
        stats = function.get_current_stats()
        return WorkerCount(running=stats.num_running_inputs, waiting=stats.backlog)

    return FleetOnModal(count, function.spawn)


def dispatch(
    fleet: Fleet,
    on_modal: FleetOnModal,
    expected: ExpectedWorkers,
    *,
    demand_url: str,
    build_id: str,
) -> int:
    """Run one round for a fleet, and return how many workers it started."""
    demands = [read_demand(demand_url, queue, build_id=build_id) for queue in fleet.queues]
    now, counted = time.monotonic(), on_modal.count()
    count = WorkerCount(counted.running, counted.waiting, expected=expected.at(now))
    starts = workers_to_start(demands, count, max_workers=fleet.max_workers)
    for _ in range(starts):
        on_modal.spawn()
    if starts:
        expected.record(count.total + starts, now)
        log.info("started %d of %s: there are %s for %s", starts, fleet.function, count, demands)
    return starts


def dispatch_for(
    fleets: Iterable[Fleet],
    demand_command: Sequence[str],
    *,
    build_id: str,
    life_s: float,
    demand_url: str = DEMAND_URL,
) -> None:
    """Run the demand service, and rounds for every fleet, until `life_s` are over.

    Raises `RuntimeError` if the demand service does not start, and kills it at the end.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    deadline = time.monotonic() + life_s
    # In its own process group, so that an interrupt of this process does not reach it.
    demand = subprocess.Popen(demand_command, process_group=0)
    try:
        _await_demand(demand, demand_url)
        deployed = [(fleet, find_fleet(fleet, build_id), ExpectedWorkers()) for fleet in fleets]
        while time.monotonic() < deadline:
            for fleet, on_modal, expected in deployed:
                _dispatch_logged(fleet, on_modal, expected, demand_url, build_id)
            time.sleep(INTERVAL_S)
    finally:
        stop(demand, within_s=DEMAND_STOP_S)


def _await_demand(demand: subprocess.Popen[bytes], demand_url: str) -> None:
    """Wait until the demand service answers; raises `RuntimeError` if it ends, or is too slow."""
    deadline = time.monotonic() + DEMAND_START_S
    while demand.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{demand_url}/healthz", timeout=DEMAND_TIMEOUT_S):  # noqa: S310
                return
        except OSError:
            time.sleep(CHECK_INTERVAL_S)
    raise RuntimeError(f"the demand service did not start (status {demand.poll()}): see its log")


def _dispatch_logged(
    fleet: Fleet,
    on_modal: FleetOnModal,
    expected: ExpectedWorkers,
    demand_url: str,
    build_id: str,
) -> None:
    """Run one round for a fleet. An error is logged, and the next round retries."""
    try:
        dispatch(fleet, on_modal, expected, demand_url=demand_url, build_id=build_id)
    except Exception:  # the loop must survive errors of Modal and of the demand service
        log.exception("the round of %s failed", fleet.function)
