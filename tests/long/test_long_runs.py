"""Runs of hundreds of turns, on real processes."""

from pathlib import Path

import pytest

from bench.scripted_model_server import turns
from tests.long.site import site


@pytest.mark.timeout(110)
async def test_400_turns_with_results_of_5_kb_end_well(tmp_path: Path) -> None:
    """The server ends a naive loop of this size before turn 200."""
    async with site(tmp_path, turns(400)) as on:
        result = await on.client.run("reader", "go", limits={"max_turns": 400})
    assert (result.status, result.turns, result.tool_calls) == ("completed", 400, 399)
