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
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from outlast_activities.telemetry.metrics import prometheus_name
from outlast_workers.local.ports import free_port

from bench.scripted_model_server import Step, Steps
from tests.acceptance.processes import ProcessUnderTest
from tests.deploy.kubernetes.chart import BUILD, NAMESPACE
from tests.deploy.kubernetes.test_monitoring import alerts
from tests.deploy.test_observability import METRICS, dashboard_queries, names_in
from tests.deploy.tools import ROOT
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

WATCHING = (ROOT / "docs" / "watching.md").read_text()

OF_VERSIONS = {"deployment", "build_id"}
"""Labels that are empty here, and so absent: the worker of this test is of no deployment."""

COMMON = {"__name__", "instance", "job", "namespace", "le"}
"""The labels of Prometheus and of its histograms."""


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


@pytest_asyncio.fixture(scope="module")
async def observed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of Prometheus, which scrapes a worker and a demand service after a short load."""
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed: it is Debian's package prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    worker_port, demand_port = free_port(), free_port()
    config = folder / "outlast.toml"
    config.write_text(ROUTES)
    settings = {
        "OUTLAST_CONFIG": str(config),
        "OUTLAST_METRICS__PORT": str(worker_port),
        "OUTLAST_TOOLS__LOCAL": "false",
        "OUTLAST_MODEL__PRICE": '{"prompt_usd": 1, "completion_usd": 2}',
    }
    agents = "tests.workers.traced_agents"
    async with site(folder, Steps(*SCRIPT), agents=agents, settings=settings) as on:
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
            "demand", environment, log=folder / "demand.log", ready="demand.started"
        )
        await leave_waiting(on)
        await demand.start()
        jobs = {"workers": worker_port, "outlast-demand": demand_port}
        async with prometheus(folder, jobs) as url, httpx2.AsyncClient(base_url=url) as http:
            await run_once(on)
            yield http
        await demand.terminate()


@pytest.mark.timeout(240)
async def test_each_query_finds_what_real_processes_report(observed: httpx2.AsyncClient) -> None:
    empty = queries()
    print(f"{len(empty)} queries")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WITHIN_S):
            while empty:
                await asyncio.sleep(1)
                empty = [query for query in empty if not await _values(observed, query)]
    assert empty == []


@pytest.mark.timeout(240)
async def test_the_page_lists_the_metrics_and_labels_that_there_are(
    observed: httpx2.AsyncClient,
) -> None:
    found: dict[str, set[str]] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WITHIN_S):
            while found != documented():
                await asyncio.sleep(1)
                found = await exported(observed)
    assert found == documented()


def documented() -> dict[str, set[str]]:
    """Return the labels of each metric on the page, as Prometheus spells both."""
    table = WATCHING.partition("## Metrics")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]*`[a-z_.]+`[^|]*) \| ([^|]*) \|", table, re.MULTILINE)
    return {
        prometheus_name(name) if "." in name else name: {
            label.replace(".", "_") for label in re.findall(r"`([a-z_.]+)`", labels)
        }
        - OF_VERSIONS
        for names, labels in rows
        for name in re.findall(r"`([a-z_.]+)`", names)
    }


def added() -> set[str]:
    """Return the labels that the page names for all metrics of a worker, outside its table."""
    (sentence,) = re.findall(r"The Temporal SDK adds (.*?)\.\s", WATCHING, re.DOTALL)
    return {*re.findall(r"`(\w+)`", sentence), "exported_namespace"}


async def exported(http: httpx2.AsyncClient) -> dict[str, set[str]]:
    """Return the labels of each metric of ours at Prometheus, without those that all metrics have."""
    labels: dict[str, set[str]] = {}
    page = documented()
    match = {"match[]": '{__name__=~"(outlast|gen_ai)_.+"}'}
    for series in await _data(http, "/api/v1/series", match):
        name = re.sub(r"_(bucket|sum|count|total)$", "", series["__name__"])
        others = added() - page.get(name, set())
        labels.setdefault(name, set()).update(series.keys() - COMMON - others)
    return labels


async def _values(http: httpx2.AsyncClient, query: str) -> list[Any]:
    data = await _data(http, "/api/v1/query", {"query": query})
    values: list[Any] = data["result"] if data else []
    return values


async def _data(http: httpx2.AsyncClient, path: str, params: dict[str, str]) -> Any:
    try:
        answer = (await http.get(path, params=params)).json()
    except httpx2.TransportError:  # Prometheus begins to listen after a moment
        return []
    assert answer["status"] == "success", answer
    return answer["data"]
