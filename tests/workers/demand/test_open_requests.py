"""The gauges of open requests by agent, with a real server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from outlast_workers.demand import open_requests
from outlast_workers.demand.open_requests import AGE, OTHERS, RUNS, UNNAMED, OpenRequests
from temporalio.client import Client as TemporalClient
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from outlast import Agent, Approval, tool
from outlast.contracts.search_attributes import AGENT_NAME, AGENT_WAITING_SINCE
from outlast.testing import ScriptedModel, answer, call, calls
from tests.stage import on_stage


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


@tool(effect="write", approval=Approval(audience="leads"))
def refund(order: str) -> str:
    """Refund."""
    return order


patient_desk = Agent("patient_desk", "Refund.", tools=[refund])


def _values(collector: OpenRequests, name: str) -> dict[str, float]:
    (metric,) = (one for one in collector.collect() if one.name == name)
    return {sample.labels["agent"]: sample.value for sample in metric.samples}


async def test_the_age_is_that_of_the_oldest_request_of_an_agent(temporal: TemporalClient) -> None:
    both = calls(call("refund", order="A-1"), call("refund", order="A-2"))
    model = ScriptedModel([both, answer("done")])
    collector = OpenRequests(temporal)
    async with on_stage(temporal, model, [patient_desk]) as stage:
        run = await stage.start(patient_desk)
        async with asyncio.timeout(30):
            while len(requests := await run.pending_requests()) < 2:
                await asyncio.sleep(0.05)
            while _values(collector, RUNS).get("patient_desk") != 1:  # listed a moment later
                await collector.read()
        waited = datetime.now(UTC) - min(request.opened_at for request in requests)
        age_s = _values(collector, AGE)["patient_desk"]
        assert age_s == pytest.approx(waited.total_seconds(), abs=5)
        query = f"AgentWaitingSince <= '{datetime.now(UTC).isoformat()}' AND WorkflowId='{run.id}'"
        assert (await temporal.count_workflows(query)).count == 1
        first, second = sorted(requests, key=lambda request: request.opened_at)
        await run.approve(first, by="ann")
        await run.approve(second, by="ann")
        await run.result()
        async with asyncio.timeout(30):
            while "patient_desk" in _values(collector, RUNS):
                await collector.read()
            while (await temporal.count_workflows(query)).count:
                await asyncio.sleep(0.05)


class FakeVisibility:
    """A list of waiting runs that answers as a server does: the runs that started last come first.

    It reads one condition of a query, as `OpenRequests` writes it: requests older than a time.
    """

    def __init__(self, runs: list[tuple[str, datetime | None]]) -> None:
        self.runs = runs
        self.queries: list[str] = []

    async def list_workflows(self, query: str, *, limit: int, **options: Any) -> AsyncIterator[Any]:
        self.queries.append(query)
        _, _, before = query.partition(" < ")
        cut = datetime.fromisoformat(before.strip('"')) if before else None
        matching = [
            run for run in self.runs if cut is None or (run[1] is not None and run[1] < cut)
        ]
        for name, since in matching[:limit]:
            pairs: list[SearchAttributePair[Any]] = []
            if name:
                pairs.append(SearchAttributePair(AGENT_NAME, name))
            if since is not None:
                pairs.append(SearchAttributePair(AGENT_WAITING_SINCE, since))
            yield SimpleNamespace(typed_search_attributes=TypedSearchAttributes(pairs))


def _collector(visibility: FakeVisibility) -> OpenRequests:
    client: Any = visibility
    return OpenRequests(client)


async def test_the_oldest_request_is_found_behind_more_runs_than_one_listing_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(open_requests, "MAX_LISTED", 3)
    now = datetime.now(UTC)
    newer = [("busy", now - timedelta(minutes=minute)) for minute in range(5)]
    visibility = FakeVisibility([*newer, ("forgotten", days_ago(10))])
    collector = _collector(visibility)
    await collector.read()
    assert _values(collector, AGE)["forgotten"] == pytest.approx(864_000, abs=60)
    assert len(visibility.queries) == 3
    assert _values(collector, RUNS) == {"busy": 5, "forgotten": 1}


async def test_a_poll_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_requests, "MAX_LISTED", 1)
    visibility = FakeVisibility([("a", days_ago(10 + day)) for day in range(20)])
    collector = _collector(visibility)
    await collector.read()
    assert len(visibility.queries) == open_requests.MAX_LISTINGS
    assert _values(collector, RUNS) == {"a": open_requests.MAX_LISTINGS}


async def test_agents_beyond_the_bound_are_counted_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(open_requests, "MAX_AGENTS", 2)
    ages = [("young", 1), ("old", 9), ("older", 10), ("middle", 5)]
    visibility = FakeVisibility([(name, days_ago(10 + days)) for name, days in ages])
    collector = _collector(visibility)
    await collector.read()
    assert _values(collector, RUNS) == {"older": 1, "old": 1, OTHERS: 2}
    assert _values(collector, AGE)[OTHERS] == pytest.approx(15 * 86_400, abs=60)


async def test_a_run_of_an_older_build_is_counted_without_an_age() -> None:
    collector = _collector(FakeVisibility([("", None), ("clerk", None)]))
    await collector.read()
    assert _values(collector, RUNS) == {UNNAMED: 1, "clerk": 1}
    assert _values(collector, AGE) == {}


async def test_a_listing_that_fails_leaves_no_values_and_is_logged_once() -> None:
    visibility = FakeVisibility([("clerk", days_ago(10))])
    collector = _collector(visibility)
    await collector.read()
    assert _values(collector, RUNS) == {"clerk": 1}

    def failing(*_: object, **__: object) -> Any:
        raise RPCError("busy", RPCStatusCode.UNAVAILABLE, b"")

    visibility.list_workflows = failing  # type: ignore[method-assign]
    with structlog.testing.capture_logs() as lines:
        await collector.read()
        await collector.read()
    assert _values(collector, RUNS) == {}
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("open_requests.not_listed", "busy")
    ]
