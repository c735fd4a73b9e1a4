"""The mix: what the runs of a storm do, as a seed decides it. Pure: the same seed gives the same runs."""

import json
import random
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.long.chaos.agents import APPROVED, ASK, QUICK, UNDOABLE, WRITES, store

Ending = Literal["answer", "fail", "cancel", "deadline"]
Kind = Literal["effects", "long", "people", "children", "conversation"]

KINDS: tuple[Kind, ...] = ("effects", "long", "people", "children", "conversation")
KIND_WEIGHTS = (40, 10, 25, 10, 15)
ENDINGS: tuple[Ending, ...] = ("answer", "fail", "cancel", "deadline")
ENDING_WEIGHTS = (55, 12, 22, 11)

DECISIONS = ("approve", "approve", "approve", "edit", "deny", "signal")
FLASH_DECISIONS = ("approve", "ignore", "late", "late")

SHORT_S = (0.0, 0.6)
SLOW_S = (1.0, 6.0)
SLOW_SHARE = 0.12
REPEATED_SHARE = 0.12
"""Turns whose calls are slow after their effect, and may be repeated: a kill then tests their keys."""

SAY_SHARE = 0.2
"""Tasks that somebody sends messages to."""

Call = dict[str, Any]


@dataclass(frozen=True)
class PlannedRun:
    """One run: when it starts, what its model decides turn by turn, and how it ends.

    `says` are the messages of a conversation, or those to a task, each with the seconds before it.
    """

    id: str
    kind: Kind
    ending: Ending
    start_s: float
    plan: list[list[Call]] = field(default_factory=list)
    ends_after_s: float = 0
    says: list[tuple[float, str]] = field(default_factory=list)

    @property
    def limits(self) -> dict[str, Any]:
        deadline = {"deadline_s": self.ends_after_s} if self.ending == "deadline" else {}
        return {"max_turns": 300, **deadline}


class _Planner:
    def __init__(self, seed: int) -> None:
        self._chance = random.Random(f"mix {seed}")
        self._refs = 0

    def run(self, number: int, start_s: float) -> PlannedRun:
        (kind,) = self._chance.choices(KINDS, KIND_WEIGHTS)
        run_id = f"chaos-{number}-{kind}"
        if kind == "conversation":
            return PlannedRun(run_id, kind, "answer", start_s, says=self._says(number))
        (ending,) = self._chance.choices(ENDINGS, ENDING_WEIGHTS)
        plan = self._plan(kind)
        if ending == "fail":
            plan.append([self._call("decline")])
        after_s = self._chance.uniform(2, 20)
        says = self._says(number)[:2] if self._chance.random() < SAY_SHARE else []
        return PlannedRun(run_id, kind, ending, start_s, plan, after_s, says)

    def _says(self, number: int) -> list[tuple[float, str]]:
        tools = ("", "", " look", " look store", " store")
        return [
            (self._chance.uniform(0, 4), f"say-{number}-{n}{self._chance.choice(tools)}")
            for n in range(self._chance.randint(2, 12))
        ]

    def _plan(self, kind: Kind) -> list[list[Call]]:
        turns = self._chance.randint(12, 24) if kind == "long" else self._chance.randint(2, 6)
        plan = [self._turn() for _ in range(turns)]
        if kind == "people":
            for _ in range(self._chance.randint(1, 3)):
                self._chance.choice(plan).append(self._asking())
        if kind == "children":
            for _ in range(self._chance.randint(1, 2)):
                child = [self._turn() for _ in range(self._chance.randint(1, 4))]
                call = {"tool": "helper", "arguments": {"input": _text({"plan": child})}}
                self._chance.choice(plan).append(call)
        return plan

    def _turn(self) -> list[Call]:
        if self._chance.random() < REPEATED_SHARE:
            return [self._call(store.name, (0, 0), SLOW_S) for _ in range(3)]
        tools = (*QUICK, *WRITES, *UNDOABLE)
        count = self._chance.choice((1, 1, 1, 2, 3))
        return [self._call(tool.name) for tool in self._chance.choices(tools, k=count)]

    def _asking(self) -> Call:
        if self._chance.random() < 0.25:
            self._refs += 1
            return {"tool": ASK, "arguments": {"question": f"which? r{self._refs}"}}
        tool = self._chance.choice(APPROVED).name
        decisions = FLASH_DECISIONS if tool == "flash" else DECISIONS
        call = self._call(tool)
        amount, decide = self._chance.randrange(1, 1_000), self._chance.choice(decisions)
        call["arguments"].update(amount=amount, decide=decide)
        return call

    def _call(self, tool: str, *seconds: tuple[float, float]) -> Call:
        """Return a call; `seconds` are the bounds of the times before and after its effect."""
        self._refs += 1
        before_s, after_s = map(self._within, seconds or (self._bounds(), self._bounds()))
        arguments = {"ref": f"r{self._refs}", "before_s": before_s, "after_s": after_s}
        return {"tool": tool, "arguments": arguments}

    def _bounds(self) -> tuple[float, float]:
        return SLOW_S if self._chance.random() < SLOW_SHARE else SHORT_S

    def _within(self, bounds: tuple[float, float]) -> float:
        return round(self._chance.uniform(*bounds), 2)


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value)


def plan_runs(seed: int, count: int, start_within_s: float) -> list[PlannedRun]:
    """Return the runs of a storm, by when they start."""
    planner = _Planner(seed)
    return [planner.run(n, start_within_s * n / count) for n in range(count)]
