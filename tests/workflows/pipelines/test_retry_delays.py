"""The delays between the retries of a `try`."""

from datetime import timedelta

import pytest
from outlast_workflows.pipelines.tries import MAX_DELAY, backed_off

from outlast.pipelines.catches import BACKOFFS, MAX_RETRIES


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [("constant", [2, 2, 2, 2]), ("linear", [2, 4, 6, 8]), ("exponential", [2, 4, 8, 16])],
)
def test_a_delay_grows_as_its_backoff_says(backoff: str, delays: list[int]) -> None:
    grown = [backed_off(timedelta(seconds=2), backoff, retries) for retries in range(4)]
    assert grown == [timedelta(seconds=delay) for delay in delays]


@pytest.mark.parametrize("backoff", BACKOFFS)
def test_the_longest_delay_has_a_bound_after_all_retries(backoff: str) -> None:
    assert backed_off(timedelta(days=366), backoff, MAX_RETRIES) == MAX_DELAY
