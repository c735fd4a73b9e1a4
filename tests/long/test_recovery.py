"""A worker that is killed in a model call, with another one that goes on."""

import pytest
from outlast_workers.task_queues import STICKY_TIMEOUT
from outlast_workflows.activity_options import GENERATE_HEARTBEAT_TIMEOUT

from bench.recovery import recovered

BUSY_S = 3.0
"""What a busy machine may add to the timers of the server."""


@pytest.mark.parametrize("killed_after_s", [0.5, 6.0], ids=["before a heartbeat", "after one"])
async def test_a_killed_model_call_is_made_once_more_within_eight_seconds(
    killed_after_s: float,
) -> None:
    found = await recovered(killed_after_s)

    assert found.calls == 2
    assert found.retried_s < GENERATE_HEARTBEAT_TIMEOUT.total_seconds() + 0.5
    assert found.taken_s < 8 + BUSY_S
    assert found.called_s < found.taken_s + STICKY_TIMEOUT.total_seconds() + BUSY_S
