"""Patches of a new pipeline: a query at its start does not make it behave as one of an older build."""

import asyncio
import json

import pytest
from temporalio.client import Client

from outlast import tool
from outlast.errors import OutlastError
from outlast.testing import ScriptedModel
from tests.stage import Flag, on_stage
from tests.workflows.pipelines.staging import document, result_of, start

NEW = {
    "branches-number-their-calls",
    "effects-outlive-cancellation",
    "check-arguments-before-approval",
}
HAS_BEGUN, GOES_ON = Flag(), Flag()


@tool(effect="write")
async def pay(ref: str) -> str:
    """Pay."""
    HAS_BEGUN.set()
    await GOES_ON.wait()
    return ref


@pytest.mark.parametrize("number", range(3))
async def test_queries_at_the_start_change_no_patch(temporal: Client, number: int) -> None:
    HAS_BEGUN.clear()
    GOES_ON.clear()
    task = {"call": "tool", "with": {"tool": "pay", "arguments": {"ref": f"r{number}"}}}
    async with on_stage(temporal, ScriptedModel([]), tools=[pay]) as stage:
        run = await start(stage, document({"pay": task}))
        async with asyncio.timeout(60):
            while not HAS_BEGUN.is_set():
                try:
                    await run.pending_requests()
                except OutlastError:  # the run is not open yet
                    await asyncio.sleep(0)
        GOES_ON.set()
        await result_of(stage, run)
        history = await stage.last()
    markers = [
        json.loads(event.marker_recorded_event_attributes.details["patch-data"].payloads[0].data)
        for event in history.events
        if event.marker_recorded_event_attributes.marker_name == "core_patch"
    ]
    assert {marker["id"] for marker in markers} >= NEW
