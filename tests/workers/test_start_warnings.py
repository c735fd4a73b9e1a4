"""Warnings at the start of a worker: names in settings that nothing uses."""

import pytest
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.workers import RoutesSettings, SpecsSettings
from outlast_workers.start_warnings import unused_routes, warn_at_start
from structlog.testing import capture_logs

from outlast import Agent, Approval, Escalation, Leg, Route, tool
from tests.stage import catalog_of

pytestmark = pytest.mark.usefixtures("isolated")


@tool(effect="read", tool_class="gpu")
def find_hotel(city: str) -> str:
    """Find a hotel."""
    return city


CATALOG = catalog_of([Agent(name="trip", instructions="Plan.", tools=[find_hotel], model="small")])
ROUTE = Route(legs=(Leg(task_queue="q"),))


def test_a_route_that_nothing_uses_is_named() -> None:
    routes = RoutesSettings(
        tool={"find_hotl": ROUTE, "find_hotel": ROUTE},
        tool_class={"gpus": ROUTE, "gpu": ROUTE},
        model={"smal": ROUTE, "small": ROUTE},
    )
    assert list(unused_routes(Settings(routes=routes), CATALOG)) == [
        ("routes.tool.find_hotl", "did you mean 'find_hotel'?"),
        ("routes.tool_class.gpus", "did you mean 'gpu'?"),
        ("routes.model.smal", "did you mean 'small'?"),
    ]
    assert list(unused_routes(Settings(routes=routes, roles=("tools",)), CATALOG)) == []


@tool(
    effect="write",
    approval=Approval(audience="leads", escalate=(Escalation(audience="finance", after_s=9),)),
)
def refund(order_id: str) -> str:
    """Refund."""
    return order_id


def test_a_name_of_specs_that_matches_nothing_is_a_warning() -> None:
    catalog = catalog_of([Agent(name="desk", instructions="x", tools=[refund, find_hotel])])
    specs = SpecsSettings(
        tools=("refund", "find_hotl"), models=("any",), audiences=("leads", "finanse", "finance")
    )
    with capture_logs() as lines:
        warn_at_start(Settings(specs=specs), catalog)
    assert [(line["event"], line["setting"], line["name"], line["reason"]) for line in lines] == [
        (
            "specs.unknown_name",
            "specs.tools",
            "find_hotl",
            "is unknown here; did you mean 'find_hotel'?",
        ),
        (
            "specs.unknown_name",
            "specs.audiences",
            "finanse",
            "is unknown here; did you mean 'finance'?",
        ),
    ]
    disabled = specs.model_copy(update={"enabled": False})
    for quiet in (Settings(specs=disabled), Settings(specs=specs, roles=("tools",)), Settings()):
        with capture_logs() as lines:
            warn_at_start(quiet, catalog)
        assert lines == []


def test_a_worker_without_agents_warns() -> None:
    for roles, is_warned in ((("workflows",), True), (("generate",), False)):
        with capture_logs() as lines:
            warn_at_start(Settings.model_validate({"roles": roles}), catalog_of([]))
        assert [line["event"] for line in lines] == ["agents.missing"] * is_warned
