"""Who is admitted: a real demand service, asked in the forms that KEDA's own scalers use.

The forms are those of KEDA 2.20.2. `pkg/scalers/metrics_api_scaler.go` sends `Authorization: Bearer …`, and
with `authModes: tls,bearer` a client certificate. `pkg/scalers/external_scaler.go` sends no header, but the
trigger's metadata, in which a key that ends in `FromEnv` holds the value of a variable.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from outlast_workers.demand import keda_protocol as keda
from outlast_workers.demand.service import run_demand
from outlast_workers.local.ports import HOST, free_port
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.demand import DemandSettings, TlsSettings
from pydantic import SecretStr
from temporalio.client import Client

from outlast.errors import NotReady
from tests.workers.demand.certificates import Authority

TOKEN = "a-token-of-the-tests-0123456789"  # noqa: S105
QUEUE = "q"
PATHS = ("/demand", f"/demand/{QUEUE}", "/metrics")
METHODS = ("IsActive", "GetMetricSpec", "GetMetrics", "StreamIsActive")

Serve = Callable[[DemandSettings], Any]


@pytest.fixture
def serve(temporal: Client, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Return a function that serves demand of the tests' Temporal server."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal.service_client.config.target_host)

    @asynccontextmanager
    async def serving(demand: DemandSettings) -> AsyncIterator[DemandSettings]:
        stop = asyncio.Event()
        process = asyncio.create_task(run_demand(Settings(demand=demand), stop=stop))
        try:
            await _listening(demand.port, process)
            yield demand
        finally:
            stop.set()
            await process

    return serving


async def _listening(port: int, process: "asyncio.Task[int]") -> None:
    async with asyncio.timeout(40):
        while not process.done():
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
    await process


def _demand(**more: Any) -> DemandSettings:
    ports = {"port": free_port(), "grpc_port": free_port()}
    return DemandSettings(token=SecretStr(TOKEN), queues=(QUEUE,), poll_s=0.2, **ports, **more)


async def _status(path: str, demand: DemandSettings, headers: Mapping[str, str]) -> int:
    url = f"http://{HOST}:{demand.port}{path}"
    async with httpx2.AsyncClient(trust_env=False) as client:
        return (await client.get(url, headers=dict(headers))).status_code


async def _call(
    channel: grpc.aio.Channel,
    method: str,
    metadata: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
) -> grpc.StatusCode:
    """Call a method as KEDA does, and return the status."""
    reference = keda.ScaledObjectRef(
        name="outlast-tools", namespace="agents", scalerMetadata={"taskQueue": QUEUE, **metadata}
    )
    request = reference
    if method == "GetMetrics":
        request = keda.GetMetricsRequest(scaledObjectRef=reference, metricName="m")
    is_stream = method == "StreamIsActive"
    open_call: Any = channel.unary_stream if is_stream else channel.unary_unary
    call = open_call(
        f"/{keda.SERVICE}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=bytes,
    )(request, metadata=tuple((headers or {}).items()), timeout=30)
    try:
        await (call.read() if is_stream else call)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


WRONG: list[dict[str, str]] = [
    {},
    {"authorization": "Bearer wrong"},
    {"authorization": f"Basic {TOKEN}"},
    {"authorization": TOKEN},
    {"authorization": f"Bearer {TOKEN}x"},
    {"authorization": "Bearer"},
]


async def test_http_without_the_token_is_rejected_everywhere_but_for_probes(serve: Serve) -> None:
    async with serve(_demand()) as demand:
        for headers in WRONG:
            assert [await _status(path, demand, headers) for path in PATHS] == [401] * 3, headers
        bearer = {"authorization": f"Bearer {TOKEN}"}
        for path in PATHS:
            await _reached(lambda path=path: _is_ok(path, demand, bearer))  # type: ignore[misc]
        assert await _status("/healthz", demand, {}) == 200


async def _is_ok(path: str, demand: DemandSettings, headers: Mapping[str, str]) -> bool:
    return await _status(path, demand, headers) == 200


async def _reached(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(40):
        while not await condition():
            await asyncio.sleep(0.1)


async def test_grpc_without_the_token_is_rejected_in_every_method(serve: Serve) -> None:
    async with (
        serve(_demand()) as demand,
        grpc.aio.insecure_channel(f"{HOST}:{demand.grpc_port}") as channel,
    ):
        for method in METHODS:
            for headers in WRONG:
                status = await _call(channel, method, {}, headers)
                assert status is grpc.StatusCode.UNAUTHENTICATED, (method, headers)
            wrong = {"tokenFromEnv": "OUTLAST_DEMAND__TOKEN"}
            assert await _call(channel, method, wrong) is grpc.StatusCode.UNAUTHENTICATED
            from_env = {"tokenFromEnv": TOKEN}
            assert await _call(channel, method, from_env) is grpc.StatusCode.OK
            bearer = {"authorization": f"Bearer {TOKEN}"}
            assert await _call(channel, method, {}, bearer) is grpc.StatusCode.OK


async def test_keda_connects_with_tls_and_a_client_certificate(
    serve: Serve, tmp_path: Path
) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    server, client, stranger = ours.issue("server"), ours.issue("keda"), theirs.issue("stranger")
    tls = TlsSettings(cert=str(server.cert), key=str(server.key), client_ca=str(ours.cert))
    async with serve(_demand(tls=tls)) as demand:
        root = ours.cert.read_bytes()
        for files, expected in (
            (client, grpc.StatusCode.OK),
            (stranger, grpc.StatusCode.UNAVAILABLE),
            (None, grpc.StatusCode.UNAVAILABLE),
        ):
            pair = (files.key.read_bytes(), files.cert.read_bytes()) if files else (None, None)
            credentials = grpc.ssl_channel_credentials(root, *pair)
            address = f"{HOST}:{demand.grpc_port}"
            async with grpc.aio.secure_channel(address, credentials) as channel:
                for method in METHODS:
                    assert await _call(channel, method, {"enableTLS": "true"}) is expected, files
        async with grpc.aio.insecure_channel(f"{HOST}:{demand.grpc_port}") as plain:
            assert await _call(plain, "IsActive", {}) is grpc.StatusCode.UNAVAILABLE

        context = ssl.create_default_context(cafile=ours.cert)
        context.load_cert_chain(client.cert, client.key)
        async with httpx2.AsyncClient(
            base_url=f"https://{HOST}:{demand.port}", verify=context, trust_env=False
        ) as http:
            assert (await http.get("/demand/q")).status_code == 401
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            answer = await http.get("/demand/q?types=activity&slots=4", headers=bearer)
            assert answer.json()["demand"] == 0


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ({"cert": "none.crt", "key": "none.key"}, "no certificate with its key"),
        ({"cert": "server.crt", "key": "server.key", "client_ca": "no.crt"}, "cannot be read"),
    ],
)
async def test_files_that_are_no_certificates_are_named(
    serve: Serve, tmp_path: Path, tls: dict[str, str], words: str
) -> None:
    Authority(tmp_path).issue("server")
    files = TlsSettings(**{name: str(tmp_path / file) for name, file in tls.items()})
    with pytest.raises(NotReady, match=words):
        async with serve(_demand(tls=files)):
            pass


async def test_the_target_of_keda_leaves_room_for_the_tolerance_of_the_hpa(serve: Serve) -> None:
    """The HPA ignores a deviation of up to 10 %. At 90 % of the slots, no pod is missing."""
    async with (
        serve(_demand()) as demand,
        grpc.aio.insecure_channel(f"{HOST}:{demand.grpc_port}") as channel,
    ):
        call = channel.unary_unary(
            f"/{keda.SERVICE}/GetMetricSpec",
            request_serializer=keda.ScaledObjectRef.SerializeToString,
            response_deserializer=keda.GetMetricSpecResponse.FromString,
        )
        metadata = {"taskQueue": QUEUE, "tokenFromEnv": TOKEN, "slotsPerWorker": "8"}
        for more, target in (({}, 8.0), ({"targetUtilization": "90"}, 7.2)):
            answer = await call(keda.ScaledObjectRef(scalerMetadata={**metadata, **more}))
            assert answer.metricSpecs[0].targetSizeFloat == pytest.approx(target)
        for wrong in ("0", "101", "00019999", "0001" + "9" * 5_000):
            with pytest.raises(grpc.aio.AioRpcError, match="from 1 to 100, not '"):
                await call(
                    keda.ScaledObjectRef(scalerMetadata={**metadata, "targetUtilization": wrong})
                )
