"""Channels for notices: what the other end answers."""

import itertools
from datetime import UTC, datetime

import pytest
from outlast_activities import channels
from outlast_activities.channels import Webhook
from temporalio.exceptions import ApplicationError

from outlast.contracts.human import PendingRequest
from outlast.contracts.notices import Notice
from tests.activities.providers.raw_server import raw_server, response

NOW = datetime(2026, 11, 1, tzinfo=UTC)
NOTICE = Notice(
    key="k",
    reason="opened",
    audience="leads",
    workflow_id="w",
    run_id="r",
    request=PendingRequest(
        request_id="1.1",
        tool="refund",
        arguments={},
        arguments_hash="h",
        audience="leads",
        opened_at=NOW,
        expires_at=NOW,
    ),
    commands={},
    text="refund?",
)


async def test_a_webhook_with_an_endless_answer_has_the_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels, "TIMEOUT_S", 5.0)
    async with raw_server(response(b""), itertools.repeat(b"thanks ")) as server:
        await Webhook(server.url).send(NOTICE)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "is_final"), [(300, True), (404, True), (429, False), (503, False)]
)
async def test_a_webhook_that_rejects_a_notice_is_named_by_its_status(
    status: int, is_final: bool
) -> None:
    async with raw_server(response(b"{}", status=status)) as server:
        with pytest.raises(ApplicationError, match=f"answered {status}") as failed:
            await Webhook(server.url).send(NOTICE)
    assert failed.value.non_retryable is is_final
