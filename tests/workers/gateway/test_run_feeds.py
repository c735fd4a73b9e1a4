"""Feeds of runs: an error in one reaches the clients that follow it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from outlast_workers.gateway import run_feeds
from outlast_workers.gateway.answer_hub import AnswerHub
from outlast_workers.gateway.run_feeds import RunFeeds
from structlog.testing import capture_logs
from temporalio.client import Client as TemporalClient

from outlast.client.client import Client
from outlast.errors import InternalError


async def test_a_bug_in_a_feed_is_an_error_and_not_the_end_of_the_run(
    temporal: TemporalClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def entries(*_: object) -> AsyncIterator[object]:
        raise KeyError("a bug")
        yield

    monkeypatch.setattr(run_feeds, "stream_entries", entries)
    client = Client(temporal)
    feeds = RunFeeds(client, AnswerHub())
    following = feeds.follow(client.get("followed"), beat_s=30)
    with capture_logs() as lines, pytest.raises(InternalError, match="KeyError"):
        await asyncio.wait_for(anext(following), 30)
    assert [(line["event"], line["workflow_id"]) for line in lines] == [("feed.failed", "followed")]
    assert feeds.count == 0
