"""How many failed runs stop a promotion."""

from typing import Any

import pytest
from outlast_workers.builds.run_counts import RunCounts, count_open

from outlast.errors import NotReady


@pytest.mark.parametrize(
    ("counts", "min_runs", "stops"),
    [
        (RunCounts(), 0, False),
        (RunCounts(ended=1, failed=1), 0, True),
        (RunCounts(ended=20, failed=1), 0, False),
        (RunCounts(ended=19, failed=1), 0, True),
        (RunCounts(ended=1, failed=1), 20, False),  # one of 20 may fail
        (RunCounts(ended=2, failed=2), 20, True),  # two are too many, however the others end
        (RunCounts(ended=100, failed=6), 20, True),
        (RunCounts(ended=100, failed=5), 20, False),
        (RunCounts(open=3, stuck=1), 0, True),  # it never ends, because its workflow task fails
    ],
)
def test_too_many_failed_runs(counts: RunCounts, min_runs: int, stops: bool) -> None:
    assert counts.exceeds(0.05, min_runs) is stops


@pytest.mark.parametrize("build_id", ['1"2', "1\\2"])
async def test_a_build_that_no_query_can_find_has_not_zero_runs(build_id: str) -> None:
    client: Any = None
    with pytest.raises(NotReady, match="the build: .* cannot be searched for"):
        await count_open(client, "shop", build_id)
