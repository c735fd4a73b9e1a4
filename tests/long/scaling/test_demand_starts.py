"""A demand service that cannot serve says why."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest
from outlast_workers.demand.demand_query import Target
from outlast_workers.demand.temporal_source import ReadingFailed, TemporalSource
from outlast_workers.local.ports import HOST, free_port
from outlast_workers.local.servers import TemporalServer
from temporalio.client import Client

from bench.scaling.napping import TASK_QUEUE


@pytest.mark.parametrize("key", ["port", "grpc_port"])
async def test_a_taken_port_gives_one_line(key: str, tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        ports = {"port": free_port(), "grpc_port": free_port(), key: taken.getsockname()[1]}
        config = tmp_path / "demand.toml"
        config.write_text(
            "[demand]\n" + "".join(f"{name} = {port}\n" for name, port in ports.items())
        )
        async with TemporalServer(log_dir=tmp_path, port=free_port()) as temporal:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "outlast_workers", "demand", "--config", str(config)),
                env={**os.environ, "TEMPORAL_ADDRESS": temporal.address},
                stderr=asyncio.subprocess.PIPE,
            )
            _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert (
        f"demand.{key} (OUTLAST_DEMAND__{key.upper()}) to a free port"
        in errors.decode().splitlines()[-1]
    )


async def test_a_namespace_without_heartbeats_of_workers_has_an_error_and_no_demand(
    tmp_path: Path,
) -> None:
    off = ("frontend.WorkerHeartbeatsEnabled=false",)
    async with TemporalServer(log_dir=tmp_path, port=free_port(), dynamic_config=off) as temporal:
        source = TemporalSource(await Client.connect(temporal.address))
        with pytest.raises(ReadingFailed, match="takes no heartbeats of workers"):
            await source.read(Target(TASK_QUEUE))
