import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from outlast_workers.health import Health, serve_health

from outlast.errors import NotReady

READY = Health(
    roles=("workflows", "tools"),
    queues={"workflows": "agents", "tools": "tools"},
    temporal_reachable=True,
)


@asynccontextmanager
async def serving(health: Health) -> AsyncIterator[int]:
    async with serve_health(lambda: health, port=0) as port:
        yield port


async def ask(port: int, request: str) -> tuple[int, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{request} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body else None


async def test_a_ready_process_answers_200_with_its_state() -> None:
    async with serving(READY) as port:
        status, body = await ask(port, "GET /healthz")
    assert status == 200
    assert body.pop("uptime_s") >= 0
    assert body == {
        "status": "ready",
        "roles": ["workflows", "tools"],
        "queues": {"workflows": "agents", "tools": "tools"},
        "temporal_reachable": True,
        "model_reachable": None,
        "polling": True,
        "draining": False,
    }


@pytest.mark.parametrize(
    "health",
    [
        replace(READY, temporal_reachable=False),
        replace(READY, model_reachable=False),
        replace(READY, polling=False),
        replace(READY, draining=True),
    ],
)
async def test_a_process_that_takes_no_work_answers_503_and_lives(health: Health) -> None:
    async with serving(health) as port:
        status, body = await ask(port, "GET /healthz?verbose")
        assert (status, body["status"]) == (503, "not_ready")
        assert (await ask(port, "GET /livez"))[0] == 200


async def test_each_request_reads_the_current_health() -> None:
    states = [READY, replace(READY, draining=True)]
    async with serve_health(lambda: states.pop(0), port=0) as port:
        assert (await ask(port, "GET /healthz"))[0] == 200
        assert (await ask(port, "HEAD /healthz")) == (503, None)


@pytest.mark.parametrize(("request_line", "status"), [("GET /", 404), ("POST /healthz", 405)])
async def test_other_requests_are_rejected(request_line: str, status: int) -> None:
    async with serving(READY) as port:
        assert (await ask(port, request_line))[0] == status


async def test_an_invalid_request_is_rejected_and_the_connection_closed() -> None:
    async with serving(READY) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 200_000 + b"\r\n\r\n")
        with suppress(ConnectionResetError):
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert (await ask(port, "GET /healthz"))[0] == 200


async def test_an_incomplete_request_does_not_delay_the_end() -> None:
    async with asyncio.timeout(9), serving(READY) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        await writer.drain()
    assert await reader.read() == b""
    writer.close()


async def test_a_taken_port_is_one_line() -> None:
    async with serving(READY) as port:
        with pytest.raises(NotReady) as error:
            async with serve_health(lambda: READY, port=port):
                pass
    assert str(error.value) == (
        f"the health endpoint cannot listen on 127.0.0.1:{port} (Address already in use): set health.port"
        " (OUTLAST_HEALTH__PORT) to a free port"
    )


async def test_a_host_of_another_machine_is_one_line() -> None:
    with pytest.raises(NotReady, match=r"cannot listen on 192\.0\.2\.1:8081"):
        async with serve_health(lambda: READY, host="192.0.2.1", port=8081):
            pass
