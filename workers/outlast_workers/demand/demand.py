"""What a task queue demands of its workers: arithmetic on a reading, for a question."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

TaskType = Literal["workflow", "activity"]

TASK_TYPES: tuple[TaskType, ...] = get_args(TaskType)

MAX_NAME_CHARS = 1_000
"""More than Temporal takes as the name of a task queue or a deployment."""


@dataclass(frozen=True)
class Target:
    """What is scaled: the workers of a task queue, or those of one worker deployment version."""

    task_queue: str
    deployment: str = ""
    build_id: str = ""


@dataclass(frozen=True)
class Load:
    """Tasks of one type: those that wait, those under way, and how long the first has waited."""

    backlog: int = 0
    busy: int = 0
    oldest_s: float | None = None


@dataclass(frozen=True)
class WorkerLoad:
    """How many activities a worker has under way, and the host that it runs on: its pod, in Kubernetes."""

    instance_key: str
    host_name: str
    activities: int


@dataclass(frozen=True)
class Reading:
    """What the server said of a target."""

    loads: Mapping[TaskType, Load]
    as_of: datetime
    workers: tuple[WorkerLoad, ...] = ()


@dataclass(frozen=True)
class Demand:
    """How many slots are needed, and how many workers have them."""

    backlog: int
    busy: int
    slots_per_worker: int
    oldest_s: float | None

    @property
    def demand(self) -> int:
        """The slots that are needed: work that waits, and work under way."""
        return self.backlog + self.busy

    @property
    def desired_workers(self) -> int:
        """The workers that have so many slots."""
        return math.ceil(self.demand / self.slots_per_worker)


@dataclass(frozen=True)
class Question:
    """What somebody wants to know: the demand of a target, counting some types of tasks."""

    target: Target
    types: tuple[TaskType, ...]
    slots: int
    activation: int = 0
    """The demand up to which no worker is needed."""

    def answer(self, reading: Reading) -> Demand:
        """Return the demand that a reading shows."""
        loads = [reading.loads[kind] for kind in self.types]
        waiting = [load.oldest_s for load in loads if load.oldest_s is not None]
        return Demand(
            backlog=sum(load.backlog for load in loads),
            busy=sum(load.busy for load in loads),
            slots_per_worker=self.slots,
            oldest_s=max(waiting, default=None),
        )


@dataclass(frozen=True)
class Words:
    """What a kind of caller calls the parts of a question."""

    task_queue: str = "task_queue"
    deployment: str = "deployment"
    build_id: str = "build_id"
    types: str = "types"
    slots: str = "slots"
    activation: str = "activation"


def read_question(
    said: Mapping[str, str], words: Words, *, usual_slots: Callable[[str], int]
) -> Question:
    """Return what was asked; raises `ValueError` with one line that says what is wrong."""
    known = set(vars(words).values())
    for key in said:
        if key not in known:
            nearest = difflib.get_close_matches(key, sorted(known), n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ValueError(f"{key!r} is not known{hint}")
    target = Target(
        *(_name(said, key) for key in (words.task_queue, words.deployment, words.build_id))
    )
    if not target.task_queue:
        raise ValueError(f"{words.task_queue} is missing")
    if bool(target.deployment) != bool(target.build_id):
        raise ValueError(f"give {words.deployment} and {words.build_id}, or neither")
    return Question(
        target=target,
        types=_types(said.get(words.types, ""), words.types),
        slots=_number(said, words.slots, least=1, usual=usual_slots(target.task_queue)),
        activation=_number(said, words.activation, least=0, usual=0),
    )


def _name(said: Mapping[str, str], key: str) -> str:
    name = said.get(key, "")
    if len(name) > MAX_NAME_CHARS:
        raise ValueError(f"{key} is longer than {MAX_NAME_CHARS} characters")
    return name


def _types(said: str, key: str) -> tuple[TaskType, ...]:
    words = {word.strip() for word in said.split(",") if word.strip()}
    if unknown := sorted(words.difference(TASK_TYPES)):
        raise ValueError(f"{key}: {unknown[0]!r} is none of {', '.join(TASK_TYPES)}")
    return tuple(kind for kind in TASK_TYPES if kind in words) or TASK_TYPES


def _number(said: Mapping[str, str], key: str, *, least: int, usual: int) -> int:
    text = said.get(key, "")
    if not text:
        return usual
    # Not int() alone, which takes "1_0" and digits of other scripts.
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < least:
        raise ValueError(f"{key} must be a whole number of at least {least}, not {text[:40]!r}")
    return int(text)
