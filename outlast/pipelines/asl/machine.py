"""State machines as documents: the order of the states, and the ways between them.

The states of one StartAt are one list of tasks. A way to a state that is not the next one is a `then`.
"""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from outlast.errors import BadRequest
from outlast.pipelines.asl.failures import catchers_of, retries_of, with_catchers, with_retries
from outlast.pipelines.asl.paths import NotPortable
from outlast.pipelines.asl.report import Part, Report
from outlast.pipelines.asl.resources import PLACEHOLDER, Resources
from outlast.pipelines.asl.states import MOVES, Task, no_choice
from outlast.pipelines.bounds import MAX_TASK_NAME
from outlast.pipelines.fields import quoted
from outlast.pipelines.places import Problem, below
from outlast.pipelines.task_context import FLOW
from outlast.text.hints import hint
from outlast.text.texts import cut

NAMESPACE = "imported"
"""The namespace of an imported document."""

VERSION = "1.0.3"
"""The version of the DSL of an imported document."""

MAX_NAMES_BYTES = 200
"""Bytes of names in a remark."""

_HAS_NO_WAY = ("Choice", "Succeed", "Fail")
_TOP_LEVEL = ("StartAt", "States", "Comment", "Version", "QueryLanguage", "TimeoutSeconds")


class NotAStateMachine(BadRequest):
    """Raised for JSON that is not a valid state machine, with all its problems."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(
            "it is not a state machine: " + "; ".join(map(str, problems)), kind=BadRequest.__name__
        )
        self.problems = problems


def import_machine(
    machine: JsonValue, name: str, resources: Resources
) -> tuple[dict[str, JsonValue], Report]:
    """Return the document of a state machine in the Amazon States Language, and what could not be moved.

    Raises `NotAStateMachine` if the JSON is not one, or if it is in JSONata.
    """
    problems: list[Problem] = []
    _check(machine, "", problems)
    if problems or not isinstance(machine, dict):
        raise NotAStateMachine(problems)
    report = Report()
    head: dict[str, JsonValue] = {
        "dsl": VERSION,
        "namespace": NAMESPACE,
        "name": _plain_name(name),
        "version": "1.0.0",
    }
    if isinstance(machine.get("Comment"), str) and machine["Comment"]:
        head["summary"] = machine["Comment"]
    document: dict[str, Any] = {"document": head}
    part = Part(machine, "", report)
    if "TimeoutSeconds" in machine:
        document["timeout"] = {"after": {"seconds": machine["TimeoutSeconds"]}}
    for each in machine:
        if each not in _TOP_LEVEL:
            report.holes.append(Problem(below("", each), "is not known, and is not moved"))
    document["do"] = _Mover(resources, is_outermost=True).tasks(part)
    if resources.unused:
        unused = cut(", ".join(sorted(resources.unused)), MAX_NAMES_BYTES)
        report.remark("", f"no state has these resources of the mapping: {unused}")
    return document, report


def _plain_name(name: str) -> str:
    """Return the nearest name that a document can have."""
    plain = re.sub(r"[^a-zA-Z0-9]+", "-", name).strip("-")[:63].strip("-")
    return plain or "state-machine"


def _check(machine: JsonValue, place: str, problems: list[Problem]) -> None:
    """Add what makes JSON no state machine, also in the state machines inside of states."""
    if not isinstance(machine, dict):
        problems.append(
            Problem(place, f"{quoted(machine)} is not an object with StartAt and States")
        )
        return
    if machine.get("QueryLanguage", "JSONPath") != "JSONPath":
        reason = f"{quoted(machine['QueryLanguage'])} cannot be moved; only state machines in JSONPath can"
        problems.append(Problem(below(place, "QueryLanguage"), reason))
        return
    states = machine.get("States")
    if not isinstance(states, dict) or not states:
        problems.append(Problem(below(place, "States"), "is required: an object with the states"))
        return
    start = machine.get("StartAt")
    if start is None:
        problems.append(
            Problem(below(place, "StartAt"), "is required: the name of the first state")
        )
    elif not _is_in(start, states):
        _unknown(below(place, "StartAt"), start, states, problems)
    for name, state in states.items():
        _check_state(state, below(below(place, "States"), name), states, problems)


def _check_state(
    state: JsonValue, place: str, states: dict[str, JsonValue], problems: list[Problem]
) -> None:
    if not isinstance(state, dict):
        problems.append(Problem(place, "is not an object"))
        return
    kind = state.get("Type")
    if not isinstance(kind, str) or kind not in MOVES:
        reason = (
            "is required"
            if kind is None
            else f"unknown type {quoted(kind)}; {hint(str(kind), MOVES)}"
        )
        problems.append(Problem(below(place, "Type"), reason))
        return
    if state.get("QueryLanguage", "JSONPath") != "JSONPath":
        reason = f"{quoted(state['QueryLanguage'])} cannot be moved; only states in JSONPath can"
        problems.append(Problem(below(place, "QueryLanguage"), reason))
    if kind not in _HAS_NO_WAY and ("Next" in state) == (state.get("End") is True):
        problems.append(Problem(place, "needs either 'Next' or 'End': true"))
    for at, target in _targets(state):
        if not _is_in(target, states):
            _unknown(f"{place}{at}", target, states, problems)
    for field_name in ("ItemProcessor", "Iterator"):
        if field_name in state:
            _check(state[field_name], below(place, field_name), problems)
    branches = state.get("Branches")
    for number, branch in enumerate(branches if isinstance(branches, list) else ()):
        _check(branch, below(below(place, "Branches"), number), problems)


def _is_in(target: JsonValue, states: dict[str, JsonValue]) -> bool:
    return isinstance(target, str) and target in states


def _unknown(
    place: str, target: JsonValue, states: dict[str, JsonValue], problems: list[Problem]
) -> None:
    problems.append(
        Problem(place, f"there is no state {quoted(target)}; {hint(str(target), states)}")
    )


def _targets(state: dict[str, JsonValue]) -> list[tuple[str, JsonValue]]:
    """Return the places and names of all states that a state can go to, the usual way first."""
    found = [(f"/{name}", state[name]) for name in ("Next",) if name in state]
    for name in ("Choices", "Catch"):
        items = state.get(name)
        for number, each in enumerate(items if isinstance(items, list) else ()):
            if isinstance(each, dict):
                found.append((f"/{name}/{number}/Next", each.get("Next")))
    if "Default" in state:
        found.append(("/Default", state["Default"]))
    return found


@dataclass
class _Block:
    """The tasks of one state, the way after the last of them, and the state where it leads, if any."""

    tasks: list[tuple[str, Task]]
    target: str | None = None
    is_open: bool = True
    """Whether the last task has a way that is not in the task itself."""


class _Mover:
    """Moves the states of one state machine, of a Map or of a branch, and those inside of them."""

    def __init__(self, resources: Resources, *, is_outermost: bool = False) -> None:
        self.resources = resources
        self._end = "end" if is_outermost else "exit"

    def tasks(self, part: Part, *, first: Task | None = None) -> list[Task]:
        """Return the list of tasks of an object with StartAt and States, after the task `first`."""
        states = part.value["States"]
        assert isinstance(states, dict)  # noqa: S101 `_check` has found it
        order = _order(str(part.value["StartAt"]), states)
        for name in states:
            if name not in order:
                part.report.remark(part.at("States", name), "no way leads to this state")
        names = _task_names([*order, *(name for name in states if name not in order)])
        blocks = [self._block(part, name, names) for name in names]
        taken = {name for block in blocks for name, _ in block.tasks}
        listed: list[Task] = []
        if first is not None:
            listed.append({_free("item", taken): first})
        for place, block in enumerate(blocks):
            following = blocks[place + 1].tasks[0][0] if place + 1 < len(blocks) else None
            name, last = block.tasks[-1]
            if block.is_open:
                target = self._end if block.target is None else names[block.target]
                if target != following and (following is not None or target != self._end):
                    last["then"] = target
            listed += [{each: task} for each, task in block.tasks]
        return listed

    def _block(self, part: Part, name: str, names: dict[str, str]) -> _Block:
        states = part.value["States"]
        value = states[name] if isinstance(states, dict) else {}
        state = Part(value if isinstance(value, dict) else {}, part.at("States", name), part.report)
        following = state.get("Next")
        target = following if isinstance(following, str) else None
        try:
            block = self._moved(state, names[name], names, target)
            state.close()
        except NotPortable as problem:
            part.report.holes.append(Problem(state.at(*problem.place), problem.reason))
            block = _Block([(names[name], {"call": PLACEHOLDER, "with": {"state": value}})], target)
        comment = state.get("Comment")
        if isinstance(comment, str):
            metadata = block.tasks[0][1].setdefault("metadata", {})
            metadata["comment"] = comment
        return block

    def _moved(self, state: Part, name: str, names: dict[str, str], target: str | None) -> _Block:
        kind = str(state.get("Type"))
        for each in ("End", "QueryLanguage"):
            state.get(each)
        task = MOVES[kind](state, _Mover(self.resources))
        if kind == "Choice":
            return _choice(task, name, names)
        catchers = catchers_of(state) if kind in _CAN_FAIL else []
        if catchers:
            output = task.get("output", {}).get("as", "${ . }")
            task["output"] = {"as": f"${{ {{data: ({output[2:-1].strip()})}} }}"}
        if kind in _CAN_FAIL:
            task = with_retries(name, task, retries_of(state))
        if catchers:
            cases: list[Task] = [
                {
                    f"caught {place + 1}": {
                        "when": f"${{ .caught == {place} }}",
                        "then": names[catcher.target],
                    }
                }
                for place, catcher in enumerate(catchers)
            ]
            cases.append({"done": {"then": self._end if target is None else names[target]}})
            way_name = _free(f"{name}: way", set(names.values()))
            way = {"switch": cases, "output": {"as": "${ .data }"}}
            task = with_catchers(name, task, catchers)
            return _Block([(name, task), (way_name, way)], is_open=False)
        return _Block([(name, task)], target, is_open=kind != "Fail")


_CAN_FAIL = ("Task", "Parallel", "Map")


def _choice(task: Task, name: str, names: dict[str, str]) -> _Block:
    """Return a `switch` whose ways lead to tasks, and what follows if no rule applies."""
    cases = [
        {names.get(label, label): {**case, "then": names[case["then"]]}}
        for each in task["switch"]
        for label, case in each.items()
    ]
    task["switch"] = cases
    if any("when" not in case for each in cases for case in each.values()):
        return _Block([(name, task)], is_open=False)
    other = _free(f"{name}: no choice", set(names.values()))
    cases.append({"otherwise": {"then": other}})
    return _Block([(name, task), (other, no_choice(name))], is_open=False)


def _order(start: str, states: dict[str, JsonValue]) -> list[str]:
    """Return the states that a start reaches, in an order in which most ways lead to the next one."""
    order: dict[str, None] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in order:
            continue
        order[name] = None
        state = states[name]
        if isinstance(state, dict):
            targets = [target for _, target in _targets(state) if isinstance(target, str)]
            waiting += reversed([target for target in targets if target not in order])
    return list(order)


def _task_names(states: list[str]) -> dict[str, str]:
    """Return the names of the tasks of states. A name that a task cannot have is changed."""
    names: dict[str, str] = {}
    for state in states:
        plain = "".join(letter if letter.isprintable() else " " for letter in state).strip()
        plain = plain[: MAX_TASK_NAME - 20] or "state"
        if plain in FLOW:
            plain = f"{plain} state"
        names[state] = _free(plain, set(names.values()))
    return names


def _free(name: str, taken: set[str]) -> str:
    """Return a name that is not taken."""
    number, found = 2, name
    while found in taken:  # ends, because the names that are taken are few
        found, number = f"{name} {number}", number + 1
    return found
