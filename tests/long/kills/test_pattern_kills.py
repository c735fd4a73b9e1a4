"""A race whose worker is killed: it is decided later, its losers end, and its cost is complete."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from bench.scripted_model_server import Request, Step
from outlast import Client
from tests.conditions import until
from tests.long.site import ANSWER, calling, site


class Racers:
    """The script: nobody answers before `is_open`, and the slow agents never do."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.is_open = False

    def __call__(self, request: Request) -> Step:
        name = str(request.messages[0]["content"]).removeprefix("I am ").partition(".")[0]
        self.asked[name] += 1
        if name == "lead":
            return Step(
                ANSWER if request.assistant_messages else calling("race_fast_slow", input="x")
            )
        is_stuck = name == "slow" or not self.is_open
        return Step(ANSWER, pieces=tuple(ANSWER), stalls_after=1 if is_stuck else None)


async def children_of(client: Client, run_id: str) -> list[Any]:
    """Return the descriptions of the children that a run has started."""
    history = await client.temporal.get_workflow_handle(run_id).fetch_history()
    ids = [
        event.child_workflow_execution_started_event_attributes.workflow_execution.workflow_id
        for event in history.events
        if event.HasField("child_workflow_execution_started_event_attributes")
    ]
    return [await client.temporal.get_workflow_handle(child).describe() for child in ids]


@pytest.mark.timeout(120)
async def test_a_race_whose_worker_is_killed_is_decided_by_the_next_one(tmp_path: Path) -> None:
    racers = Racers()
    async with site(tmp_path, racers, agents="tests.long.kills.race_agents") as on:
        run = await on.client.start("lead", "go")
        await until(lambda: racers.asked["fast"] >= 1 and racers.asked["slow"] >= 2)
        await on.worker.kill()
        racers.is_open = True
        await on.worker.start()
        result = await run.result()
        children = await children_of(on.client, run.id)
        results = [await on.client.get(child.id).result() for child in children]
    assert result.output == "done"
    assert [child.status for child in children] == [WorkflowExecutionStatus.COMPLETED] * 3
    assert Counter(child.stop_reason for child in results) == {None: 1, "cancelled": 2}
    served = [request for request in on.model.requests if "lead" in str(request.messages[0])]
    own = sum(
        request.generation.prompt_tokens + request.generation.completion_tokens
        for request in served
    )
    assert result.usage.tokens == own + sum(child.usage.tokens for child in results)
    losers = [child.usage for child in results if child.stop_reason]
    assert all(usage.prompt_tokens > 0 for usage in losers)
