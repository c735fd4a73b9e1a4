"""Answers of several agents: what one of them has answered, and when equal answers decide."""

import json
from dataclasses import dataclass

from pydantic import JsonValue

from outlast.agents.tools import MAX_RESULT_BYTES
from outlast.contracts.agent_patterns import AgentPattern
from outlast.text.json_text import to_json


@dataclass(frozen=True)
class Outcome:
    """What became of one agent: its answer, whose JSON has `size` bytes, or the problem without one."""

    agent: str
    answer: JsonValue = None
    problem: str = ""
    size: int = 0


class Ballot:
    """Counts the answers of agents until enough of them are equal, or no longer can be."""

    def __init__(self, pattern: AgentPattern, name: str) -> None:
        self._pattern = pattern
        self._name = name
        self._answers: dict[str, list[Outcome]] = {}
        self._problems: list[Outcome] = []

    def count(self, outcome: Outcome) -> None:
        """Count the outcome of one agent."""
        if outcome.problem:
            self._problems.append(outcome)
        else:
            self._answers.setdefault(canonical(outcome.answer), []).append(outcome)

    @property
    def is_decided(self) -> bool:
        """Whether the other agents cannot change the outcome any more."""
        counted = len(self._problems) + sum(map(len, self._answers.values()))
        possible = self._most_votes + len(self._pattern.agents) - counted
        return self._most_votes >= self._pattern.votes or possible < self._pattern.votes

    def text(self) -> str:
        """Return what the model reads, as JSON text."""
        for equal in self._answers.values():
            if len(equal) >= self._pattern.votes:
                return to_json({"answer": equal[0].answer, "agents": _agents(equal)})
        if not self._answers:
            reasons = "; ".join(f"{each.agent}: {each.problem}" for each in self._problems)
            return to_json({"error": f"no agent of {self._name} answered: {reasons}"})
        return to_json(self._no_quorum())

    @property
    def _most_votes(self) -> int:
        return max(map(len, self._answers.values()), default=0)

    def _no_quorum(self) -> JsonValue:
        """Return all answers, those with the most votes first, as far as there is room for them."""
        room = MAX_RESULT_BYTES
        answers: list[JsonValue] = []
        for equal in sorted(self._answers.values(), key=len, reverse=True):
            if equal[0].size <= room:
                room -= equal[0].size
                answers.append({"answer": equal[0].answer, "agents": _agents(equal)})
        problems: list[JsonValue] = [
            {"agent": each.agent, "error": each.problem} for each in self._problems
        ]
        return {
            "outcome": "no_quorum",
            "votes_needed": self._pattern.votes,
            "answers": answers,
            "left_out": len(self._answers) - len(answers),
            "errors": problems,
        }


def canonical(value: JsonValue) -> str:
    """Return the text that equal JSON values have in common: keys in order, and `1.0` as `1`."""
    return json.dumps(_with_integers(value), sort_keys=True, separators=(",", ":"))


def _with_integers(value: JsonValue) -> JsonValue:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _with_integers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_integers(part) for part in value]
    return value


def _agents(outcomes: list[Outcome]) -> list[JsonValue]:
    return [outcome.agent for outcome in outcomes]
