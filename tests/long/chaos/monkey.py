"""The monkey: a plan of faults that a seed decides, and what carries it out."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tests.long.chaos.processes import MortalTemporal, Supervised
from tests.long.chaos.proxy import Proxy

Action = Literal[
    "kill worker",
    "end worker",
    "freeze worker",
    "kill Temporal",
    "kill model",
    "cut",
    "hold",
    "delay",
]
ACTIONS: tuple[Action, ...] = get_args(Action)
WEIGHTS = (26, 11, 14, 6, 10, 8, 5, 10)

GAP_S = (1.0, 5.0)
"""Least and most seconds from one fault to the next."""

SECONDS: dict[Action, tuple[float, float]] = {
    "kill worker": (0, 0),
    "end worker": (0, 0),
    "freeze worker": (5, 20),
    "kill Temporal": (0.3, 4),
    "kill model": (0.3, 5),
    "cut": (0, 0),
    "hold": (1, 8),
    "delay": (4, 12),
}
"""Least and most seconds that a fault lasts."""

DELAYS_S = (0.02, 0.3)


@dataclass(frozen=True)
class Fault:
    """One fault: when it strikes, which worker or proxy, for how long; `delay_s` is that of a delay."""

    at_s: float
    action: Action
    target: int
    seconds: float
    delay_s: float


def plan_faults(seed: int, storm_s: float) -> list[Fault]:
    """Return the faults of a storm; the same seed and length give the same plan."""
    chance = random.Random(f"monkey {seed}")
    faults: list[Fault] = []
    at_s = chance.uniform(*GAP_S)
    while at_s < storm_s:
        (action,) = chance.choices(ACTIONS, WEIGHTS)
        seconds = min(chance.uniform(*SECONDS[action]), storm_s - at_s)
        target = chance.randrange(1_000)
        faults.append(Fault(at_s, action, target, seconds, chance.uniform(*DELAYS_S)))
        at_s += chance.uniform(*GAP_S)
    return faults


class Monkey:
    """Carries a plan out. `done` counts the faults."""

    def __init__(
        self,
        workers: Sequence[Supervised],
        model: Supervised,
        temporal: MortalTemporal,
        proxies: Sequence[Proxy],
    ) -> None:
        self.done: Counter[str] = Counter()
        self._workers = workers
        self._model = model
        self._temporal = temporal
        self._proxies = proxies

    async def strike(self, faults: Sequence[Fault]) -> None:
        """Strike at each fault's time, and return when the last is over."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as struck:
            for fault in faults:
                passed = asyncio.get_running_loop().time() - began
                await asyncio.sleep(fault.at_s - passed)
                struck.create_task(self._strike(fault))

    async def _strike(self, fault: Fault) -> None:
        self.done[fault.action] += 1
        worker = self._workers[fault.target % len(self._workers)]
        proxy = self._proxies[fault.target % len(self._proxies)]
        match fault.action:
            case "kill worker":
                worker.send(signal.SIGKILL)
            case "end worker":
                worker.send(signal.SIGTERM)
            case "freeze worker":
                await worker.stop_for(fault.seconds)
            case "kill Temporal":
                await self._temporal.kill_for(fault.seconds)
            case "kill model":
                await self._model.kill_for(fault.seconds)
            case "cut":
                proxy.cut()
            case "hold":
                await proxy.hold(fault.seconds)
            case "delay":
                await proxy.delay(fault.delay_s, fault.seconds)
