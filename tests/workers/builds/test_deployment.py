"""Reads of a deployment: the server limits them, and a rejected one is repeated."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from outlast_workers.builds import deployment
from outlast_workers.builds.deployment import Deployment
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentResponse
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode


class BusyService:
    """A workflow service that rejects the first calls with a status."""

    def __init__(self, rejections: int, status: RPCStatusCode) -> None:
        self.calls = 0
        self._rejections = rejections
        self._status = status

    async def describe_worker_deployment(
        self, *_: Any, **__: Any
    ) -> DescribeWorkerDeploymentResponse:
        self.calls += 1
        if self.calls <= self._rejections:
            raise RPCError("too many requests issued", self._status, b"")
        return DescribeWorkerDeploymentResponse()


def reads_of(service: BusyService) -> Deployment:
    client = SimpleNamespace(namespace="default", workflow_service=service)
    return Deployment(cast("Client", client), "shop")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "BUSY_RETRY_S", 0.001)


async def test_a_read_that_is_one_too_many_is_repeated() -> None:
    service = BusyService(3, RPCStatusCode.RESOURCE_EXHAUSTED)
    assert await reads_of(service).routing() is not None
    assert service.calls == 4


async def test_a_server_that_stays_busy_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "MAX_BUSY_S", 0.05)
    with pytest.raises(RPCError, match="too many requests"):
        await reads_of(BusyService(1_000_000, RPCStatusCode.RESOURCE_EXHAUSTED)).routing()


async def test_another_rejection_is_an_error_at_once() -> None:
    service = BusyService(1, RPCStatusCode.PERMISSION_DENIED)
    with pytest.raises(RPCError):
        await reads_of(service).routing()
    assert service.calls == 1
