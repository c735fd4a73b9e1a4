import asyncio
import os
import sys
import time
import uuid
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from outlast_workers.connection import (
    LISTING_TIMEOUT_S,
    connect,
    create_command,
    ensure_search_attributes,
)
from outlast_workers.local.ports import free_port
from structlog.testing import capture_logs
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from outlast.contracts.search_attributes import AGENT_NAME, SEARCH_ATTRIBUTES
from outlast.errors import NotReady
from outlast.temporal.plugin import OutlastPlugin


@pytest.fixture(autouse=True)
def no_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("TEMPORAL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "temporal.toml"))


def address(client: Client) -> str:
    return client.service_client.config.target_host


async def namespace_of_its_own(client: Client) -> Client:
    """Register a namespace, which begins without search attributes, and return a client of it."""
    name = f"ns-{uuid.uuid4().hex[:8]}"
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(
            namespace=name, workflow_execution_retention_period=Duration(seconds=86_400)
        )
    )
    return await connect(address=address(client), namespace=name)


async def listed(client: Client) -> dict[str, int]:
    request = ListSearchAttributesRequest(namespace=client.namespace)
    answer = await client.operator_service.list_search_attributes(request)
    return {name: int(kind) for name, kind in answer.custom_attributes.items()}


async def add(client: Client, **types: IndexedValueType.ValueType) -> None:
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=client.namespace, search_attributes=types)
    )


async def test_connection_is_that_of_the_profile(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", address(temporal))
    client = await connect(plugins=[OutlastPlugin()], wait_s=1)
    assert client.namespace == "default"
    assert [type(plugin) for plugin in client.config()["plugins"]] == [OutlastPlugin]


async def test_an_address_stands_alone_without_the_profile(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "of-somebody-else")
    monkeypatch.setenv("TEMPORAL_API_KEY", "of-somebody-else")
    client = await connect(address=address(temporal), use_profile=False, wait_s=1)
    assert client.namespace == "default"


async def test_a_server_that_is_away_is_one_line_after_the_wait() -> None:
    target = f"127.0.0.1:{free_port()}"
    started = time.monotonic()
    with capture_logs() as lines, pytest.raises(NotReady) as error:
        await connect(address=target, wait_s=0.3)
    assert time.monotonic() - started < 20
    assert str(error.value) == (
        f"no Temporal namespace could be reached at {target} in 0.3 s (Connection refused): start a"
        " server (`temporal server start-dev`), or set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE"
    )
    assert [line["event"] for line in lines] == ["temporal.awaited"]


async def test_a_server_that_is_silent_is_given_up_after_the_wait() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(NotReady, match="no answer"):
            await connect(address=f"127.0.0.1:{port}", wait_s=0.3)


async def test_a_namespace_that_is_missing_is_named(temporal: Client) -> None:
    with pytest.raises(NotReady, match="Namespace gone is not found"):
        await connect(address=address(temporal), namespace="gone", wait_s=0.2)


async def test_a_profile_that_cannot_be_read_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "temporal.toml").write_text("address = [")
    with pytest.raises(NotReady, match="TOML parse error at line 1") as error:
        await connect()
    assert "\n" not in str(error.value)


async def test_search_attributes_are_created_and_accepted(temporal: Client) -> None:
    client = await namespace_of_its_own(temporal)
    assert await listed(client) == {}
    assert await ensure_search_attributes(client)
    assert await listed(client) == {name: int(kind) for name, kind in SEARCH_ATTRIBUTES.items()}
    await client.start_workflow(
        "Anything",
        id="found",
        task_queue="nobody",
        search_attributes=TypedSearchAttributes([SearchAttributePair(AGENT_NAME, "refund-desk")]),
    )
    with capture_logs() as lines:
        assert await ensure_search_attributes(client)
    assert lines == []


async def test_only_search_attributes_that_are_missing_are_created(temporal: Client) -> None:
    client = await namespace_of_its_own(temporal)
    await add(client, AgentName=IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
    assert await ensure_search_attributes(client)


async def test_a_search_attribute_of_another_type_is_said_at_once(temporal: Client) -> None:
    client = await namespace_of_its_own(temporal)
    await add(client, AgentTurns=IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
    started = time.monotonic()
    with capture_logs() as lines:
        assert not await ensure_search_attributes(client)
    assert time.monotonic() - started < LISTING_TIMEOUT_S
    assert [(line["event"], line["missing"]) for line in lines] == [
        ("search_attributes.unusable", ["AgentTurns"])
    ]


async def test_refused_search_attributes_come_with_the_command_that_creates_them(
    temporal: Client,
) -> None:
    client = await namespace_of_its_own(temporal)
    full = dict.fromkeys(("A", "B", "C"), IndexedValueType.INDEXED_VALUE_TYPE_INT)
    await add(client, **full)
    with capture_logs() as lines:
        assert not await ensure_search_attributes(client)
    [line] = lines
    assert "rejected their creation: " in line["reason"]
    assert line["command"] == create_command(client.namespace, SEARCH_ATTRIBUTES)


async def test_the_command_creates_what_is_missing(temporal: Client) -> None:
    client = await namespace_of_its_own(temporal)
    command = create_command(client.namespace, SEARCH_ATTRIBUTES)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = await asyncio.create_subprocess_shell(
        command, env={"PATH": path, "TEMPORAL_ADDRESS": address(temporal)}
    )
    assert await shell.wait() == 0
    with capture_logs() as lines:
        assert await ensure_search_attributes(client)
    assert lines == []
