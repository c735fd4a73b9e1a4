"""Conditions on arguments of any type, and conditions that cannot be computed."""

from typing import Any

import pytest
from pydantic import JsonValue, ValidationError

from outlast import arguments
from outlast.contracts.conditions import Condition


@pytest.mark.parametrize(
    ("condition", "given_arguments"),
    [
        (arguments.usd > 50, {"usd": "nan"}),
        (arguments.usd > 50, {"usd": "sNaN"}),
        (arguments.usd == 50, {"usd": "nan"}),
        (arguments.usd > 50, {"usd": True}),
        (arguments.usd > 50, {"usd": [1]}),
        (arguments.country == "DE", {"country": ["DE"]}),
        (arguments.country == "DE", {"country": None}),
        (arguments.country != "DE", {"country": 5}),
        (arguments.force == False, {"force": 1}),  # noqa: E712 it makes a condition
        (arguments.usd.is_in(50, 100), {"usd": "50"}),
        (arguments.usd.is_in(50, 100), {"usd": {}}),
    ],
)
def test_what_cannot_be_told_of_an_argument_makes_a_person_look(
    condition: Condition, given_arguments: dict[str, JsonValue]
) -> None:
    assert condition.holds(given_arguments)


def test_what_can_be_told_is_told() -> None:
    assert not (arguments.note != None).holds({"note": None})  # noqa: E711 it makes a condition
    assert (arguments.note == None).holds({"note": None})  # noqa: E711 it makes a condition
    assert not (arguments.note == None).holds({"note": "x"})  # noqa: E711 it makes a condition
    assert not arguments.usd.is_in(50, 100).holds({"usd": 5})
    assert not arguments.usd.is_in().holds({"usd": 5})
    assert not (arguments.force == True).holds({"force": False})  # noqa: E712 it makes a condition


@pytest.mark.parametrize(
    "wrong",
    [
        {"op": "and"},
        {"op": "not"},
        {"op": "<"},
        {"op": "in", "path": ["a"], "value": "text"},
        {"op": "<", "path": ["a"], "parts": [{"op": "<", "path": ["a"], "value": 1}]},
        {"op": "not", "parts": [{"op": "<", "path": ["a"], "value": 1}] * 2},
    ],
)
def test_a_condition_that_could_not_be_computed_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Condition.model_validate(wrong)
