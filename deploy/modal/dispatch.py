"""The dispatcher: spawns as many workers on Modal as the demand asks for.

    DEMAND_URL=https://demand.example.com TEMPORAL_WORKER_BUILD_ID=… python deploy/modal/dispatch.py

It keeps nothing that matters: what runs is asked of Modal in each round, so it may be restarted, or run
twice. A worker that is one too many ends when it is idle.
"""

import json
import logging
import os
import time
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

EVERY_S = 5.0
"""The server's own numbers are 5 s old: asking more often tells nothing new."""

ASK_WITHIN_S = 10.0

SETTLE_S = 15.0
"""How long a spawned worker is counted here, should Modal not count it yet."""

DEPLOYMENT = "outlast"

log = logging.getLogger("outlast.dispatch")


@dataclass(frozen=True)
class Queue:
    """A task queue, and how many of its tasks a worker takes at once."""

    name: str
    slots: int


@dataclass(frozen=True)
class Fleet:
    """Workers of one kind: the Modal function that is one, the queues it polls, and how many may run."""

    function: str
    queues: tuple[Queue, ...]
    at_most: int


AGENTS = Queue("agents", slots=100)
TOOLS = Queue("tools-serverless", slots=10)
GENERATE = Queue("generate-serverless", slots=16)

CPU = Fleet("worker", (AGENTS, TOOLS), at_most=20)
GPU = Fleet("GpuWorker", (GENERATE,), at_most=4)
FLEETS = (CPU, GPU)


@dataclass(frozen=True)
class Demand:
    """What the demand service says of one queue."""

    desired_workers: int
    is_stale: bool


@dataclass(frozen=True)
class Fleeted:
    """The workers of a fleet that there are: those that run, and those that Modal has yet to start.

    `spawned` is how many the dispatcher itself has reason to expect; Modal may not count them yet.
    """

    running: int
    waiting: int
    spawned: int = 0


def decide(demands: list[Demand], there: Fleeted, *, at_most: int) -> int:
    """Return how many workers to spawn, so that those there are become those that are wanted.

    A worker polls all queues of its fleet, so the largest demand says how many. A stale demand is that
    of a server which the workers cannot reach either: nothing is spawned on it.
    """
    wanted = max((each.desired_workers for each in demands if not each.is_stale), default=0)
    counted = max(there.running + there.waiting, there.spawned)
    return max(0, min(wanted, at_most) - counted)


@dataclass
class Expected:
    """How many workers there should be by what was spawned lately, until Modal must have counted them."""

    entries: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, count: int, now: float) -> None:
        """Expect `count` workers in all from now on."""
        self.entries.append((now + SETTLE_S, count))

    def at(self, now: float) -> int:
        """Return how many are expected; 0 once all have settled."""
        while self.entries and self.entries[0][0] <= now:
            self.entries.popleft()
        return max((count for _, count in self.entries), default=0)


def demand_of(base_url: str, queue: Queue, *, build_id: str) -> Demand:
    """Ask the demand service for one queue; raises `OSError` or `ValueError` when it does not tell."""
    asked = {"deployment": DEPLOYMENT, "build_id": build_id, "slots": queue.slots}
    path = urllib.parse.quote(queue.name, safe="")
    url = f"{base_url.rstrip('/')}/demand/{path}?{urllib.parse.urlencode(asked)}"
    with urllib.request.urlopen(url, timeout=ASK_WITHIN_S) as response:  # noqa: S310 the operator's own URL
        told = json.load(response)
    return Demand(int(told["desired_workers"]), bool(told["is_stale"]))


@dataclass(frozen=True)
class Modal:
    """What a round asks of Modal for one fleet."""

    stats: Callable[[], Fleeted]
    spawn: Callable[[], object]


def app_of(build_id: str) -> str:
    """Return the name of a build's app: runs that are pinned to a build need its workers to the end."""
    return f"{DEPLOYMENT}-{build_id}"


def on_modal(fleet: Fleet, build_id: str) -> Modal:
    """Return Modal's part for a fleet of a build's app."""
    import modal  # noqa: PLC0415 only the dispatcher needs it, the rules do not

    if fleet is GPU:
        function = modal.Cls.from_name(app_of(build_id), fleet.function)().serve
    else:
        function = modal.Function.from_name(app_of(build_id), fleet.function)

    def stats() -> Fleeted:
        told = function.get_current_stats()
        return Fleeted(running=told.num_running_inputs, waiting=told.backlog)

    return Modal(stats, function.spawn)


def dispatch(
    fleet: Fleet, modal: Modal, expected: Expected, *, demand_url: str, build_id: str
) -> int:
    """Do one round for a fleet, and return how many workers it spawned."""
    demands = [demand_of(demand_url, queue, build_id=build_id) for queue in fleet.queues]
    now, found = time.monotonic(), modal.stats()
    there = Fleeted(found.running, found.waiting, spawned=expected.at(now))
    spawns = decide(demands, there, at_most=fleet.at_most)
    for _ in range(spawns):
        modal.spawn()
    if spawns:
        expected.note(max(there.running + there.waiting, there.spawned) + spawns, now)
        log.info("spawned %d of %s beside %s for %s", spawns, fleet.function, there, demands)
    return spawns


def dispatch_all(
    fleets: dict[Fleet, tuple[Modal, Expected]], *, demand_url: str, build_id: str
) -> None:
    """Do one round for every fleet; what fails is logged, and the next round tries again."""
    for fleet, (modal, expected) in fleets.items():
        try:
            dispatch(fleet, modal, expected, demand_url=demand_url, build_id=build_id)
        except Exception:  # the loop outlives what it asks
            log.exception("no round for %s", fleet.function)


def deployed(build_id: str) -> dict[Fleet, tuple[Modal, Expected]]:
    """Return the fleets of a build's app, none of whose workers is expected yet."""
    return {fleet: (on_modal(fleet, build_id), Expected()) for fleet in FLEETS}


def main() -> None:
    """Dispatch until the process is ended."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    demand_url, build_id = os.environ["DEMAND_URL"], os.environ["TEMPORAL_WORKER_BUILD_ID"]
    fleets = deployed(build_id)
    while True:  # ends with the process
        dispatch_all(fleets, demand_url=demand_url, build_id=build_id)
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
