"""The arithmetic of demand, and what counts as a question."""

import re
from datetime import UTC, datetime

import pytest
from outlast_workers.demand import http_api, scaler
from outlast_workers.demand.demand import (
    Demand,
    Load,
    Question,
    Reading,
    Target,
    TaskType,
    read_question,
)

NOW = datetime(2026, 11, 24, tzinfo=UTC)
READING = Reading({"workflow": Load(2, 1, 3.0), "activity": Load(5, 4, 1.5)}, NOW)


@pytest.mark.parametrize(
    ("types", "slots", "expected", "demand", "workers"),
    [
        (("activity",), 1, Demand(5, 4, 1, 1.5), 9, 9),
        (("activity",), 4, Demand(5, 4, 4, 1.5), 9, 3),
        (("activity",), 9, Demand(5, 4, 9, 1.5), 9, 1),
        (("workflow",), 2, Demand(2, 1, 2, 3.0), 3, 2),
        (("workflow", "activity"), 100, Demand(7, 5, 100, 3.0), 12, 1),
    ],
)
def test_demand_is_backlog_and_busy_slots_of_the_types_asked_for(
    types: tuple[TaskType, ...], slots: int, expected: Demand, demand: int, workers: int
) -> None:
    answer = Question(Target("q"), types, slots).answer(READING)
    assert answer == expected
    assert (answer.demand, answer.desired_workers) == (demand, workers)


def test_nothing_to_do_needs_no_worker() -> None:
    idle = Reading({"workflow": Load(), "activity": Load()}, NOW)
    answer = Question(Target("q"), ("workflow", "activity"), 4).answer(idle)
    assert (answer.demand, answer.desired_workers, answer.oldest_s) == (0, 0, None)


def usual(task_queue: str) -> int:
    return {"gpu": 3}.get(task_queue, 7)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"task_queue": "gpu"}, Question(Target("gpu"), ("workflow", "activity"), 3)),
        ({"task_queue": "other"}, Question(Target("other"), ("workflow", "activity"), 7)),
        (
            {"task_queue": "gpu", "types": "activity, workflow,", "slots": "12"},
            Question(Target("gpu"), ("workflow", "activity"), 12),
        ),
        (
            {"task_queue": "gpu", "types": "activity", "deployment": "d", "build_id": "b"},
            Question(Target("gpu", "d", "b"), ("activity",), 3),
        ),
        (
            {"task_queue": "gpu", "activation": "2"},
            Question(Target("gpu"), ("workflow", "activity"), 3, activation=2),
        ),
    ],
)
def test_a_question_is_read(said: dict[str, str], expected: Question) -> None:
    assert read_question(said, http_api.WORDS, usual_slots=usual) == expected


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({}, "task_queue is missing"),
        (
            {"task_queue": "q", "types": "activities"},
            "types: 'activities' is none of workflow, activity",
        ),
        ({"task_queue": "q", "types": "nexus"}, "types: 'nexus' is none of workflow, activity"),
        ({"task_queue": "q", "slots": "0"}, "slots must be a whole number of at least 1, not '0'"),
        (
            {"task_queue": "q", "slots": "-1"},
            "slots must be a whole number of at least 1, not '-1'",
        ),
        (
            {"task_queue": "q", "slots": "1.5"},
            "slots must be a whole number of at least 1, not '1.5'",
        ),
        ({"task_queue": "q", "slots": "٣"}, "slots must be a whole number of at least 1, not '٣'"),
        ({"task_queue": "q", "deployment": "d"}, "give deployment and build_id, or neither"),
        ({"task_queue": "q", "typs": "activity"}, "'typs' is not known; did you mean 'types'?"),
        ({"task_queue": "q" * 1001}, "task_queue is longer than 1000 characters"),
    ],
)
def test_a_wrong_question_is_refused_in_one_line(said: dict[str, str], wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(wrong)}$"):
        read_question(said, http_api.WORDS, usual_slots=usual)


def test_keda_has_words_of_its_own() -> None:
    said = {
        "taskQueue": "gpu",
        "workerDeploymentName": "outlast",
        "workerDeploymentBuildId": "v2",
        "queueTypes": "activity",
        "slotsPerWorker": "4",
        "activationDemand": "1",
    }
    asked = read_question(said, scaler.WORDS, usual_slots=usual)
    assert asked == Question(Target("gpu", "outlast", "v2"), ("activity",), 4, 1)
    with pytest.raises(ValueError, match="slotsPerWorker must be a whole number"):
        read_question({**said, "slotsPerWorker": "many"}, scaler.WORDS, usual_slots=usual)
