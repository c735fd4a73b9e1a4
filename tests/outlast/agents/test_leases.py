"""Leases of attempts, and the headers of calls, outside of a server."""

import asyncio
from datetime import timedelta

import pytest
from outlast_activities.attempt_protocol import ActivityAttempt
from temporalio.api.common.v1 import Payload
from temporalio.testing import ActivityEnvironment

from outlast import ToolContext
from outlast.agents import leases
from outlast.agents.leases import Lease
from outlast.agents.tool_context import CallState
from outlast.contracts.heartbeats import ToolProgress
from outlast.errors import AttemptLost
from outlast.temporal.call_headers import root_call_id, text_of, text_payload


class Clock:
    now = 100.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(leases, "_now", lambda: Clock.now)
    Clock.now = 100.0
    return Clock


@pytest.mark.parametrize("silent_s", [0, 1, 3.3, 9.9, 10])
def test_a_lease_holds_until_its_timeout(silent_s: float) -> None:
    lease = Lease(10)
    for _ in range(3):
        Clock.now += silent_s
        assert not lease.is_lost
        lease.renew()


@pytest.mark.parametrize("silent_s", [10.1, 11, 60, 86_400])
@pytest.mark.parametrize("wakes_with_heartbeat", [True, False])
def test_a_lease_that_was_lost_stays_lost(silent_s: float, wakes_with_heartbeat: bool) -> None:
    lease = Lease(10)
    Clock.now += silent_s
    if wakes_with_heartbeat:
        lease.renew()
        lease.renew()
    assert lease.is_lost


def test_a_tool_of_a_frozen_worker_gets_no_key_and_saves_no_checkpoint() -> None:
    context = ToolContext(idempotency_key="run/1.1", state=CallState(lease=Lease(10)))
    assert context.idempotency_key == "run/1.1"
    Clock.now += 20
    with pytest.raises(AttemptLost, match="another worker may make the call"):
        _ = context.idempotency_key
    with pytest.raises(AttemptLost):
        context.save_checkpoint(1)


async def test_an_attempt_renews_its_lease_with_each_heartbeat() -> None:
    environment = ActivityEnvironment()
    environment.info = environment.default_info().__class__(
        **{**vars(environment.default_info()), "heartbeat_timeout": timedelta(seconds=0.3)}
    )

    async def run() -> None:
        async with ActivityAttempt(ToolProgress, own_attempts=1) as attempt:
            assert attempt.lease is not None
            Clock.now += 0.25
            await asyncio.sleep(0.2)
            Clock.now += 0.25
            assert not attempt.lease.is_lost
            Clock.now += 1
            await asyncio.sleep(0.2)
            assert attempt.lease.is_lost

    await environment.run(run)


@pytest.mark.parametrize("call_id", ["1.1", "1.1.verify", "1.1.undo"])
def test_companions_share_the_key_of_their_call(call_id: str) -> None:
    assert root_call_id(call_id) == "1.1"


@pytest.mark.parametrize("data", [b"", b"{", b"1", b"null", b"[]", b"\xff", b"{}"])
def test_a_header_without_text_is_ignored(data: bytes) -> None:
    assert text_of(Payload(data=data)) == ""
    assert text_of(None) == ""
    assert text_of(text_payload("ä/1")) == "ä/1"
