"""The arithmetic of demand, and which queries are valid."""

import re
from datetime import UTC, datetime

import pytest
from outlast_workers.demand import http_api, keda_scaler
from outlast_workers.demand.demand_query import (
    Demand,
    DemandQuery,
    Load,
    Reading,
    Target,
    TaskType,
    parse_query,
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
    answer = DemandQuery(Target("q"), types, slots).evaluate(READING)
    assert answer == expected
    assert (answer.demand, answer.desired_workers) == (demand, workers)


def test_nothing_to_do_needs_no_worker() -> None:
    idle = Reading({"workflow": Load(), "activity": Load()}, NOW)
    answer = DemandQuery(Target("q"), ("workflow", "activity"), 4).evaluate(idle)
    assert (answer.demand, answer.desired_workers, answer.oldest_s) == (0, 0, None)


def default_slots(task_queue: str) -> int:
    return {"gpu": 3}.get(task_queue, 7)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"task_queue": "gpu"}, DemandQuery(Target("gpu"), ("workflow", "activity"), 3)),
        ({"task_queue": "other"}, DemandQuery(Target("other"), ("workflow", "activity"), 7)),
        (
            {"task_queue": "gpu", "types": "activity, workflow,", "slots": "12"},
            DemandQuery(Target("gpu"), ("workflow", "activity"), 12),
        ),
        (
            {"task_queue": "gpu", "types": "activity", "deployment": "d", "build_id": "b"},
            DemandQuery(Target("gpu", "d", "b"), ("activity",), 3),
        ),
        (
            {"task_queue": "gpu", "activation": "2"},
            DemandQuery(Target("gpu"), ("workflow", "activity"), 3, activation=2),
        ),
    ],
)
def test_a_query_is_parsed(parameters: dict[str, str], expected: DemandQuery) -> None:
    assert (
        parse_query(parameters, http_api.PARAMETER_NAMES, default_slots=default_slots) == expected
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "task_queue is missing"),
        (
            {"task_queue": "q", "types": "activities"},
            "types: 'activities' must be one of workflow, activity",
        ),
        ({"task_queue": "q", "types": "nexus"}, "types: 'nexus' must be one of workflow, activity"),
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
        (
            {"task_queue": "q", "typs": "activity"},
            "'typs' is not a parameter; did you mean 'types'?",
        ),
        ({"task_queue": "q" * 1001}, "task_queue is longer than 1000 characters"),
    ],
)
def test_an_invalid_query_is_rejected_with_one_line(
    parameters: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_query(parameters, http_api.PARAMETER_NAMES, default_slots=default_slots)


def test_keda_has_its_own_parameter_names() -> None:
    parameters = {
        "taskQueue": "gpu",
        "workerDeploymentName": "outlast",
        "workerDeploymentBuildId": "v2",
        "queueTypes": "activity",
        "slotsPerWorker": "4",
        "activationDemand": "1",
    }
    query = parse_query(parameters, keda_scaler.PARAMETER_NAMES, default_slots=default_slots)
    assert query == DemandQuery(Target("gpu", "outlast", "v2"), ("activity",), 4, 1)
    with pytest.raises(ValueError, match="slotsPerWorker must be a whole number"):
        parse_query(
            {**parameters, "slotsPerWorker": "many"},
            keda_scaler.PARAMETER_NAMES,
            default_slots=default_slots,
        )
