"""The import of state machines: what is moved, what is named as not moved, and what is no state machine."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from outlast.errors import BadRequest
from outlast.pipelines.asl.machine import NotAStateMachine
from outlast.pipelines.asl.resources import Resources
from outlast.pipelines.documents import InvalidDocument, check_document
from outlast.terminal.cli import run_command
from tests.outlast.pipelines.asl.machines import HERE, MACHINES, imported, machine, moved

PASS = {"Type": "Pass", "End": True}
TASK = {"Type": "Task", "Resource": "arn:aws:lambda:eu-west-1:1:function:plan", "End": True}
ITERATOR = {"StartAt": "Inner", "States": {"Inner": PASS}}


def of(state: Any, **more: Any) -> dict[str, Any]:
    return {"StartAt": "S", "States": {"S": state, **more}}


@pytest.mark.parametrize("name", MACHINES)
def test_a_moved_machine_is_a_valid_document(name: str) -> None:
    pipeline = check_document(imported(name))
    assert pipeline.name == name


def test_there_are_twenty_machines() -> None:
    assert len(MACHINES) == 20


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        ([], "/: [] is not an object with StartAt and States"),
        (3, "is not an object"),
        ({}, "/States: is required"),
        ({"document": {}, "do": []}, "/States: is required"),
        ({"States": {"S": PASS}}, "/StartAt: is required"),
        ({"StartAt": "T", "States": {"S": PASS}}, "/StartAt: there is no state 'T'; known: S"),
        (of({"Type": "Pass", "Next": "Shp"}, Ship=PASS), "did you mean 'Ship'?"),
        (of({"Type": "Pass"}), "/States/S: needs either 'Next' or 'End': true"),
        (of({**PASS, "Next": "S"}), "/States/S: needs either 'Next' or 'End': true"),
        (of({"Type": "Pas", "End": True}), "unknown type 'Pas'; did you mean 'Pass'?"),
        (of({"End": True}), "/States/S/Type: is required"),
        (of([]), "/States/S: is not an object"),
        (of({**TASK, "Catch": [{"Next": "No"}]}), "/States/S/Catch/0/Next: there is no state 'No'"),
        (of({"Type": "Choice", "Choices": [{"Next": "No"}]}), "/States/S/Choices/0/Next"),
        (of({"Type": "Choice", "Choices": [], "Default": 3}), "/States/S/Default: there is no"),
        (of({"Type": "Map", "Iterator": {}, "End": True}), "/States/S/Iterator/States: is req"),
        (of({"Type": "Parallel", "Branches": [3], "End": True}), "/States/S/Branches/0: 3 is"),
        ({"QueryLanguage": "JSONata", **of(PASS)}, "/QueryLanguage: 'JSONata' cannot be moved"),
        (of({**PASS, "QueryLanguage": "JSONata"}), "/States/S/QueryLanguage: 'JSONata'"),
    ],
)
def test_what_is_no_state_machine_is_rejected_with_a_place(machine: Any, reason: str) -> None:
    with pytest.raises(NotAStateMachine) as caught:
        moved(machine)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


CHOICE = {"Type": "Choice", "Default": "End"}
HOLES: list[tuple[Any, str]] = [
    ({**TASK, "Resource": "arn:new"}, "/Resource: 'arn:new' is not in the mapping; see --map"),
    ({**TASK, "Resource": 3}, "/Resource: 3 is not the name of a resource"),
    ({**TASK, "Resource": "arn:x.waitForTaskToken"}, "/Resource: waits for a task token"),
    ({**TASK, "Credentials": {}}, "/Credentials: cannot be moved: the settings of the workers"),
    ({**TASK, "Colour": 1}, "/Colour: is not known, and is not moved"),
    ({**TASK, "Parameters": {"a": {"b.$": "$..x"}}}, "/Parameters/a/b.$: '$..x': only names"),
    ({**TASK, "Parameters": {"a.$": "$.x[?(@.y)]"}}, "/Parameters/a.$: '$.x[?(@.y)]': only"),
    ({**TASK, "Parameters": {"a.$": "States.UUID()"}}, "/Parameters/a.$: States.UUID has no"),
    ({**TASK, "Parameters": {"a.$": "States.MathAdd(1)"}}, "/Parameters/a.$: States.MathAdd takes"),
    ({**TASK, "Parameters": {"a.$": "States.Format('{}"}}, "of a function cannot be read"),
    ({**TASK, "Parameters": {"a.$": 3}}, "/Parameters/a.$: 3 is not a path"),
    ({**TASK, "Parameters": {"a.$": "$$.Task.Token"}}, "/Parameters/a.$: a task token has no"),
    ({**TASK, "Parameters": {"a.$": "$total"}}, "is a variable of `Assign`"),
    ({**TASK, "ResultPath": "$.a[0]"}, "/ResultPath: '$.a[0]': a result can only be written"),
    ({**TASK, "OutputPath": "x"}, "/OutputPath: 'x' is not a path"),
    ({**TASK, "Retry": [{}]}, "/Retry/0/ErrorEquals: None is not an array"),
    ({**TASK, "Retry": [{"ErrorEquals": ["A"], "Max": 1}]}, "/Retry/0/Max: is not known"),
    ({**TASK, "Retry": [{"ErrorEquals": ["A"], "MaxAttempts": "x"}]}, "/Retry/0/MaxAttempts: 'x'"),
    ({**TASK, "Retry": 3}, "/Retry: 3 is not an array"),
    ({**TASK, "Catch": [{"ErrorEquals": [], "Next": "S"}]}, "/Catch/0/ErrorEquals: [] is not"),
    ({**PASS, "Assign": {"x": 1}}, "/Assign: variables cannot be moved"),
    ({**PASS, "Output": "{% 1 %}"}, "/Output: belongs to JSONata"),
    ({"Type": "Wait", "Timestamp": "2026-11-27T00:00:00Z", "End": True}, "/Timestamp: a wait until"),
    ({"Type": "Wait", "Seconds": "x", "End": True}, "/Seconds: 'x' is not a number"),
    ({"Type": "Map", "End": True}, "/Iterator: None is not an object"),
    ({"Type": "Map", "Iterator": ITERATOR, "ItemReader": {}, "End": True}, "/ItemReader: cannot"),
    ({"Type": "Map", "Iterator": ITERATOR, "ItemsPath": 1, "End": True}, "/ItemsPath: 1 is not"),
    ({"Type": "Parallel", "Branches": [], "End": True}, "/Branches: [] is not an array"),
    ({**CHOICE, "Choices": [{"Variable": "$.t", "TimestampEquals": "x", "Next": "End"}]},
     "/Choices/0/TimestampEquals: timestamps cannot be compared"),
    ({**CHOICE, "Choices": [{"Variable": "$.t", "StringMatches": "a*b", "Next": "End"}]},
     "/Choices/0/StringMatches: only patterns"),
    ({**CHOICE, "Choices": [{"Variable": "$.t", "Like": "a", "Next": "End"}]},
     "/Choices/0/Like: 'Like' is not an operator"),
    ({**CHOICE, "Choices": [{"Not": {"StringEquals": "a"}, "Next": "End"}]},
     "/Choices/0/Not/Variable: is required"),
    ({**CHOICE, "Choices": [{"And": [], "Next": "End"}]}, "/Choices/0/And: [] is not an array"),
    ({**CHOICE, "Choices": []}, "/Choices: [] is not an array"),
]  # fmt: skip


@pytest.mark.parametrize(("state", "reason"), HOLES, ids=[reason for _, reason in HOLES])
def test_what_cannot_be_moved_is_named_and_the_check_rejects_it(state: Any, reason: str) -> None:
    document, report = moved(of(state, End={"Type": "Succeed"}))
    assert any(f"/States/S{reason}" in str(hole) or reason in str(hole) for hole in report.holes)
    with pytest.raises(InvalidDocument, match="unknown function 'TODO"):
        check_document(document)


def test_a_document_that_is_too_deep_is_rejected_by_the_check() -> None:
    machine = of(PASS)
    for _ in range(15):
        machine = of({"Type": "Map", "Iterator": machine, "End": True})
    with pytest.raises(InvalidDocument, match="nested deeper"):
        check_document(moved(machine)[0])


@pytest.mark.parametrize(
    ("mapping", "reason"),
    [
        ([], "--map: [] is not an object such as"),
        ({"a": "tool"}, "--map: a: 'tool' is not an object such as"),
        ({"a": {"toll": "x"}}, "--map: a: {'toll': 'x'} is not an object such as"),
        ({"a": {"tool": 3}}, "--map: a: 3 is not the name of a registered tool"),
        (
            {"a": {"tool": "x", "arguments": "y"}},
            "--map: a: unknown field 'arguments'; did you mean 'argument'",
        ),
        ({"a": {"agent": "x", "argument": "y"}}, "--map: a: unknown field 'argument'"),
        ({"a": {"ask": {}}}, "--map: a: 'ask' needs an object with a 'question'"),
    ],
)
def test_a_wrong_mapping_is_named(mapping: Any, reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        Resources(mapping)
    assert reason in str(caught.value)


def test_the_command_prints_a_document_that_the_check_accepts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pipeline", "import", str(MACHINES["review-loop"])]
    assert run_command([*words, "--map", str(HERE / "resources.json"), "--name", "my loop"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["document"]["name"] == "my-loop"
    assert "note: /States/Draft/Retry/1/BackoffRate: 1.5 becomes 2" in printed.err
    file = tmp_path / "loop.json"
    file.write_text(printed.out)
    assert run_command(["pipeline", "check", str(file)]) == 0
    assert "calls agent writer, tool review" in capsys.readouterr().out
    assert run_command(words) == 1
    printed = capsys.readouterr()
    assert "not moved: /States/Draft/Resource: 'arn:aws:lambda" in printed.err
    file.write_text(printed.out)
    assert run_command(["pipeline", "check", str(file)]) == 1
    assert "call: unknown function 'TODO arn:aws:lambda:" in capsys.readouterr().err


def test_the_command_rejects_what_is_no_state_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.asl.json"
    file.write_text('{"StartAt": "A", "States": {}}')
    assert run_command(["pipeline", "import", str(file)]) == 1
    reason = "/States: is required: an object with the states"
    assert capsys.readouterr() == ("", f"{file}: {reason}\n")


VALUES: list[Any] = [
    None, 3, -1, 1.5, True, "x", "$.a", "$", "$['x y'].z", "$.a[*].b", "$$.Execution.Id", "${ x }",
    "States.Format('{}', $.a)", "$.if.end", "States.ALL", [], {}, [1], {"a": 1}, "a" * 300,
]  # fmt: skip
ADDED = ("Next", "End", "X", "Retry", "Catch", "ResultPath", "InputPath", "Parameters", "a.$")


def test_a_mutated_machine_is_moved_or_its_problems_are_named() -> None:
    rng = random.Random(16)
    outcomes = set()
    for _ in range(300):
        value = machine(rng.choice(list(MACHINES)))
        _mutate(value, rng)
        try:
            document, report = moved(value)
        except NotAStateMachine as error:
            outcomes.add("rejected" if "\n" not in str(error) else str(error))
            continue
        outcomes.add("moved with holes" if report.holes else "moved")
        try:
            check_document(document)
        except InvalidDocument as error:
            is_limit = all("is not a duration" in str(each) for each in error.problems)
            assert is_limit or report.holes, value
    assert outcomes == {"rejected", "moved", "moved with holes"}


def _mutate(value: Any, rng: random.Random) -> None:
    """Change, remove or add one field somewhere in JSON."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        keys = (
            list(part)
            if isinstance(part, dict)
            else range(len(part))
            if isinstance(part, list)
            else ()
        )
        places += [(part, key) for key in keys]
        waiting += [part[key] for key in keys]
    part, key = rng.choice(places)
    way = rng.random()
    if way < 0.3:
        del part[key]
    elif way < 0.8 or isinstance(part, list):
        part[key] = copy.deepcopy(rng.choice(VALUES))
    else:
        part[rng.choice(ADDED)] = copy.deepcopy(rng.choice(VALUES))
