"""Which tools are local: a table of one change each to a tool that is."""

from typing import Any

import pytest
from outlast_activities.policies.local_tools import MAX_LOCAL_TIMEOUT_S, LocalTools

from outlast.contracts.agents import Leg, Route, ToolSpec
from outlast.contracts.effects import CompanionTool
from outlast.contracts.human import Approval

OWN = Route(legs=(Leg(task_queue="agents"),))
OTHER = Route(legs=(Leg(task_queue="tools"),))
PLACE = LocalTools(task_queue="agents", names=frozenset({"look"}))
LOOK = ToolSpec(name="look", parameters={}, local=True, timeout_s=5, heartbeats=True, route=OWN)

CHANGES: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"effect": "idempotent"}, True),
    ({"timeout_s": MAX_LOCAL_TIMEOUT_S}, True),
    ({"tool_class": "gpu"}, True),
    ({"begins_run": True, "max_calls": 1}, True),
    ({"route": Route(legs=(*OWN.legs, *OTHER.legs))}, True),
    ({"local": False}, False),
    ({"effect": "write"}, False),
    ({"effect": "irreversible"}, False),
    ({"effect": "idempotent", "compensate": CompanionTool(tool="undo", takes=())}, False),
    ({"approval": Approval(audience="people")}, False),
    ({"timeout_s": MAX_LOCAL_TIMEOUT_S + 0.1}, False),
    ({"timeout_s": 60}, False),
    ({"kind": "agent"}, False),
    ({"kind": "question"}, False),
    ({"name": "other"}, False),
    ({"route": OTHER}, False),
    ({"route": Route(legs=(*OTHER.legs, *OWN.legs))}, False),
    ({"route": None}, False),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES, ids=lambda value: str(value)[:60])
def test_a_tool_is_local(change: dict[str, Any], expected: bool) -> None:
    assert PLACE.includes(LOOK.model_copy(update=change)) is expected


def test_by_default_no_tool_is_local() -> None:
    assert not LocalTools().includes(LOOK)
