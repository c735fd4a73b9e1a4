"""Routes: the most particular one holds."""

import pytest
from outlast_activities.policies.routes import Routes

from outlast import Leg, Route, ToolSpec


def to(queue: str) -> Route:
    return Route(legs=(Leg(task_queue=queue),))


ROUTES = Routes(
    generate=to("generate"),
    tools=to("tools"),
    by_model={"large": to("generate-large")},
    by_tool={"scan": to("scanners")},
    by_class={"gpu": to("tools-gpu")},
)


@pytest.mark.parametrize(
    ("model", "queue"),
    [(None, "generate"), ("small", "generate"), ("large", "generate-large")],
)
def test_model_calls_go_where_their_model_is(model: str | None, queue: str) -> None:
    assert ROUTES.of_model(model) == to(queue)


@pytest.mark.parametrize(
    ("name", "tool_class", "queue"),
    [
        ("look", None, "tools"),
        ("look", "cpu", "tools"),
        ("look", "gpu", "tools-gpu"),
        ("scan", "gpu", "scanners"),
        ("scan", None, "scanners"),
    ],
)
def test_calls_of_tools_go_by_tool_then_by_class(
    name: str, tool_class: str | None, queue: str
) -> None:
    tool = ToolSpec(name=name, parameters={}, tool_class=tool_class)
    assert ROUTES.of_tool(tool) == to(queue)


def test_all_routes_are_listed() -> None:
    assert [route.legs[0].task_queue for route in ROUTES.of_generate()] == [
        "generate",
        "generate-large",
    ]
    assert [route.legs[0].task_queue for route in ROUTES.of_tools()] == [
        "tools",
        "tools-gpu",
        "scanners",
    ]
