"""The queries of dashboards and alerts, evaluated by a Prometheus that scrapes real processes.

The worker and the demand service are processes of their own. Prometheus is Debian's, so it scrapes them
directly: a collector is not in a package.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from outlast_workers.local.ports import free_port

from bench.scripted_model_server import Step, Steps
from tests.acceptance.processes import ProcessUnderTest
from tests.deploy.kubernetes.chart import BUILD, NAMESPACE
from tests.deploy.kubernetes.test_monitoring import alerts
from tests.deploy.test_observability import METRICS, dashboard_queries, names_in
from tests.long.site import ANSWER, Site, calling, site

ROUTES = """
[[routes.generate.legs]]
task_queue = "nobody"
start_within_s = 1

[[routes.generate.legs]]
task_queue = "agents"
"""
SCRIPT = (
    calling("refund", order="A0"),  # of the run that waits
    Step("overloaded", status=500),
    calling("look_up", order="A1"),
    calling("lose", order="A2"),
    "no json",
    calling("refund", order="A3"),
    ANSWER,
)
WITHIN_S = 90


@asynccontextmanager
async def prometheus(folder: Path, targets: dict[str, int]) -> AsyncIterator[str]:
    """Run Prometheus, which scrapes these ports as jobs, and yield its URL."""
    port = free_port()
    jobs = [
        {
            "job_name": job,
            "static_configs": [
                {"targets": [f"127.0.0.1:{at}"], "labels": {"namespace": NAMESPACE}}
            ],
        }
        for job, at in targets.items()
    ]
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            await process.wait()


async def run_once(on: Site) -> None:
    """Run the agent once: with a failed prompt, a failed tool, a wrong answer and an approval."""
    run = await on.client.start("clerk", "go")
    async with asyncio.timeout(60):
        while not (requests := await run.pending_requests()):
            await asyncio.sleep(0.1)
    await run.approve(requests[0], by="ann")
    assert (await run.result()).output == "done"


async def leave_waiting(on: Site) -> None:
    """Start a run that waits for a person, and return when the server lists it."""
    await on.client.start("clerk", "wait")
    query = "AgentWaitingSince IS NOT NULL AND AgentStatus='waiting_for_human'"
    async with asyncio.timeout(60):
        while not (await on.client.temporal.count_workflows(query)).count:
            await asyncio.sleep(0.1)


def parts_of(query: str) -> list[str]:
    """Return the parts of an alert's query that have values also while it does not fire.

    Without the label of a build: the processes of this test have none.
    """
    query = re.sub(r"^absent\((.*)\)$", r"\1", query.replace(f', build_id="{BUILD}"', ""))
    return [re.sub(r" (>|==) [\d.]+$", "", part) for part in re.split(" and | unless ", query)]


def queries() -> list[str]:
    """Return the queries of dashboards and alerts, but for those of vLLM, which is not here."""
    every = {*dashboard_queries(), *(part for one in alerts() for part in parts_of(one["expr"]))}
    return sorted(
        query
        for query in every
        if "vllm" not in {METRICS.get(name, "") for name in names_in(query)}
    )


@pytest.mark.skipif(not shutil.which("prometheus"), reason="it is Debian's package prometheus")
@pytest.mark.timeout(240)
async def test_each_query_finds_what_real_processes_report(tmp_path: Path) -> None:
    worker_port, demand_port = free_port(), free_port()
    config = tmp_path / "outlast.toml"
    config.write_text(ROUTES)
    settings = {
        "OUTLAST_CONFIG": str(config),
        "OUTLAST_METRICS__PORT": str(worker_port),
        "OUTLAST_TOOLS__LOCAL": "false",
        "OUTLAST_MODEL__PRICE": '{"prompt_usd": 1, "completion_usd": 2}',
    }
    agents = "tests.workers.traced_agents"
    async with site(tmp_path, Steps(*SCRIPT), agents=agents, settings=settings) as on:
        watched = set(re.findall(r'task_queue="([^"]+)"', "".join(queries())))
        environment = {
            **os.environ,
            "TEMPORAL_ADDRESS": on.temporal.address,
            "OUTLAST_CONFIG": str(config),
            "OUTLAST_DEMAND__PORT": str(demand_port),
            "OUTLAST_DEMAND__GRPC_PORT": str(free_port()),
            "OUTLAST_DEMAND__QUEUES": json.dumps(sorted(watched)),
            "OUTLAST_LOG_FORMAT": "json",
        }
        demand = ProcessUnderTest(
            "demand", environment, log=tmp_path / "demand.log", ready="demand.started"
        )
        await leave_waiting(on)
        await demand.start()
        jobs = {"workers": worker_port, "outlast-demand": demand_port}
        async with prometheus(tmp_path, jobs) as url, httpx2.AsyncClient(base_url=url) as http:
            await run_once(on)
            empty = queries()
            print(f"{len(empty)} queries")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WITHIN_S):
                    while empty:
                        await asyncio.sleep(1)
                        empty = [query for query in empty if not await _values(http, query)]
            assert empty == []
        await demand.terminate()


async def _values(http: httpx2.AsyncClient, query: str) -> list[object]:
    try:
        answer = (await http.get("/api/v1/query", params={"query": query})).json()
    except httpx2.TransportError:  # Prometheus begins to listen after a moment
        return []
    assert answer["status"] == "success", answer
    values: list[object] = answer["data"]["result"]
    return values
