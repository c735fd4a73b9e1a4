"""A Temporal server, a worker and a gateway as processes of their own, for tests that kill them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer

from bench.scripted_model_server import ScriptedModelServer
from outlast import Client
from tests.long.chaos.processes import Supervised, worker
from tests.long.gateway.test_text_kills import gateway, is_up


@dataclass(frozen=True)
class GatewaySite:
    """The processes, the URL of the gateway, and a client of the Temporal server."""

    url: str
    client: Client
    door: Supervised
    served: Supervised


@asynccontextmanager
async def gateway_site(
    log_dir: Path, model: ScriptedModelServer, agents: str
) -> AsyncIterator[GatewaySite]:
    """Serve agents. Their pipelines may call the gateway."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with TemporalServer(log_dir=log_dir, port=free_port(), log_level="error") as temporal:
        door = gateway(port, temporal.address, log_dir, agents=agents)
        served = worker(
            "worker",
            temporal=temporal.port,
            model=model.port,
            log_dir=log_dir,
            agents=agents,
            environment={"OUTLAST_HTTP__HOSTS": url},
        )
        async with door, served:
            await is_up(url)
            client = await Client.connect(target_host=temporal.address)
            yield GatewaySite(url, client, door, served)
