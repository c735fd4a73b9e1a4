"""Demand of a task queue: what callers query, and the arithmetic on a reading that answers them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from outlast.text.hints import nearest

TaskType = Literal["workflow", "activity"]

TASK_TYPES: tuple[TaskType, ...] = get_args(TaskType)

MAX_NAME_CHARS = 1_000
"""Longer than any name of a task queue or a deployment that Temporal accepts."""


@dataclass(frozen=True)
class Target:
    """What is scaled: the workers of a task queue, or those of one worker deployment version."""

    task_queue: str
    deployment: str = ""
    build_id: str = ""


@dataclass(frozen=True)
class Load:
    """Tasks of one type: waiting, running, and the age of the oldest waiting task."""

    backlog: int = 0
    busy: int = 0
    oldest_s: float | None = None


@dataclass(frozen=True)
class WorkerLoad:
    """The running activities of a worker, and its host name: in Kubernetes, the name of its pod."""

    instance_key: str
    host_name: str
    activities: int


@dataclass(frozen=True)
class Reading:
    """The state of a target on the Temporal server at one time."""

    loads: Mapping[TaskType, Load]
    as_of: datetime
    workers: tuple[WorkerLoad, ...] = ()


@dataclass(frozen=True)
class Demand:
    """The slots that a target needs, and the number of workers that provide them."""

    backlog: int
    busy: int
    slots_per_worker: int
    oldest_s: float | None

    @property
    def demand(self) -> int:
        """The needed slots: waiting tasks plus running tasks."""
        return self.backlog + self.busy

    @property
    def desired_workers(self) -> int:
        """The number of workers that provide the needed slots."""
        return math.ceil(self.demand / self.slots_per_worker)


@dataclass(frozen=True)
class DemandQuery:
    """A query for the demand of a target, counting tasks of some types."""

    target: Target
    types: tuple[TaskType, ...]
    slots: int
    activation: int = 0
    """The demand up to which no worker is needed."""

    def evaluate(self, reading: Reading) -> Demand:
        """Return the demand according to a reading."""
        loads = [reading.loads[task_type] for task_type in self.types]
        waiting = [load.oldest_s for load in loads if load.oldest_s is not None]
        return Demand(
            backlog=sum(load.backlog for load in loads),
            busy=sum(load.busy for load in loads),
            slots_per_worker=self.slots,
            oldest_s=max(waiting, default=None),
        )


@dataclass(frozen=True)
class ParameterNames:
    """The names of the query's parameters in one protocol. The defaults are those of HTTP."""

    task_queue: str = "task_queue"
    deployment: str = "deployment"
    build_id: str = "build_id"
    types: str = "types"
    slots: str = "slots"
    activation: str = "activation"


def parse_query(
    parameters: Mapping[str, str], names: ParameterNames, *, default_slots: Callable[[str], int]
) -> DemandQuery:
    """Return the query; raises `ValueError` with one line about the first invalid parameter."""
    known = set(vars(names).values())
    for key in parameters:
        if key not in known:
            near = nearest(key, sorted(known))
            advice = "" if near is None else f"; did you mean {near!r}?"
            raise ValueError(f"{key!r} is not a parameter{advice}")
    target = Target(
        *(_name(parameters, key) for key in (names.task_queue, names.deployment, names.build_id))
    )
    if not target.task_queue:
        raise ValueError(f"{names.task_queue} is missing")
    if bool(target.deployment) != bool(target.build_id):
        raise ValueError(f"give {names.deployment} and {names.build_id}, or neither")
    return DemandQuery(
        target=target,
        types=_types(parameters.get(names.types, ""), names.types),
        slots=_number(parameters, names.slots, minimum=1, default=default_slots(target.task_queue)),
        activation=_number(parameters, names.activation, minimum=0, default=0),
    )


def _name(parameters: Mapping[str, str], key: str) -> str:
    name = parameters.get(key, "")
    if len(name) > MAX_NAME_CHARS:
        raise ValueError(f"{key} is longer than {MAX_NAME_CHARS} characters")
    return name


def _types(text: str, key: str) -> tuple[TaskType, ...]:
    words = {word.strip() for word in text.split(",") if word.strip()}
    if unknown := sorted(words.difference(TASK_TYPES)):
        raise ValueError(f"{key}: {unknown[0]!r} must be one of {', '.join(TASK_TYPES)}")
    return tuple(task_type for task_type in TASK_TYPES if task_type in words) or TASK_TYPES


def _number(parameters: Mapping[str, str], key: str, *, minimum: int, default: int) -> int:
    text = parameters.get(key, "")
    if not text:
        return default
    # int() alone accepts "1_0" and the digits of other scripts.
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < minimum:
        raise ValueError(f"{key} must be a whole number of at least {minimum}, not {text[:40]!r}")
    return int(text)
