from decimal import Decimal
from typing import Any

import pytest
from outlast_activities.generation.activity import ModelActivities
from temporalio.testing import ActivityEnvironment

from outlast.contracts.agents import Price
from outlast.contracts.generation import GenerateInput

WARNED: list[dict[str, Any]] = [
    {"cost_left_usd": Decimal("0.000001")},
    {"cost_left_usd": Decimal(10), "turn": 0},
    {"cost_left_usd": Decimal(0)},
    {"cost_left_usd": Decimal(1), "server": "big", "tokens_left": 9},
]
SILENT: list[dict[str, Any]] = [
    {},
    {"tokens_left": 9},
    {"price": Price(completion_usd=Decimal(1))},
    {"cost_left_usd": Decimal(1), "price": Price(completion_usd=Decimal(1))},
    # A price of 0 says that the model is free.
    {"cost_left_usd": Decimal(1), "price": Price()},
    {"cost_left_usd": Decimal(1), "turn": 2},
]


@pytest.mark.parametrize(
    ("fields", "is_warned"), [*((f, True) for f in WARNED), *((f, False) for f in SILENT)]
)
def test_a_limit_in_dollars_without_a_price_is_a_warning_in_the_first_turn(
    fields: dict[str, Any], is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = GenerateInput(**{"turn": 1, "agent_digest": "d", "length": 1, "digest": "e", **fields})

    ActivityEnvironment().run(ModelActivities._warn_without_price, wanted)

    events = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert [event.split(" ")[0] for event in events] == ["generation.no_price"] * is_warned
