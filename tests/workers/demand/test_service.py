"""The watched targets and the slots of workers, as the settings give them."""

import pytest
from outlast_workers.demand.demand_query import Target
from outlast_workers.demand.service import slots_of, watched_targets
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.demand import DemandSettings, WatchedVersion
from outlast_workers.settings_sections.workers import (
    ConcurrencySettings,
    QueuesSettings,
    RoutesSettings,
)

from outlast.contracts.agents import Leg, Route

SETTINGS = Settings(
    roles=("workflows", "tools"),
    queues=QueuesSettings(tools="tools-own"),
    concurrency=ConcurrencySettings(workflows=10, generate=4, tools=20),
    routes=RoutesSettings(
        generate=Route(legs=(Leg(task_queue="generate-gpu"), Leg(task_queue="elsewhere"))),
        tool={"scan": Route(legs=(Leg(task_queue="tools-large"),))},
    ),
    demand=DemandSettings(
        queues=("more",),
        versions=(WatchedVersion(task_queue="agents", deployment_name="outlast", build_id="v1"),),
        slots={"generate-gpu": 2},
    ),
)


def test_queues_of_roles_and_routes_and_listed_queues_are_watched_except_versioned_ones() -> None:
    names = ("tools-own", "generate-gpu", "elsewhere", "tools-large", "more")
    assert watched_targets(SETTINGS) == {*map(Target, names), Target("agents", "outlast", "v1")}


@pytest.mark.parametrize(
    ("task_queue", "slots"),
    [
        ("generate-gpu", 2),  # as configured
        ("elsewhere", 4),  # the slots of its role
        ("tools-large", 20),
        ("agents", 10),
        ("more", 1),  # nothing is known
    ],
)
def test_the_slots_of_a_worker_are_configured_or_those_of_its_role(
    task_queue: str, slots: int
) -> None:
    assert slots_of(SETTINGS, task_queue) == slots


def test_a_star_applies_to_queues_that_are_not_listed() -> None:
    settings = SETTINGS.model_copy(update={"demand": DemandSettings(slots={"*": 9, "agents": 3})})
    assert [slots_of(settings, name) for name in ("agents", "more", "elsewhere")] == [3, 9, 9]


def test_roles_that_share_a_queue_share_its_slots() -> None:
    assert slots_of(Settings(), "agents") == 100 + 32 + 100
