"""The configuration of Prometheus, the collector, Tempo and Grafana fits the services and each other."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from outlast_activities.telemetry import conventions as names
from outlast_activities.telemetry.metrics import prometheus_name
from outlast_workers.demand import open_requests, waiting_runs
from outlast_workers.demand.http_api import GAUGES

from bench.cache import outlast_cache
from tests.deploy.compose import composed
from tests.deploy.tools import ROOT

OBSERVABILITY = ROOT / "deploy" / "observability"
DASHBOARDS = sorted((ROOT / "deploy/kubernetes/chart/dashboards").glob("*.json"))

WORKER_METRICS = {
    f"{prometheus_name(names.OPERATION_DURATION)}_bucket",
    f"{prometheus_name(names.OPERATION_DURATION)}_count",
    f"{prometheus_name(names.TOKEN_USAGE)}_sum",
    f"{names.TOOL_DURATION}_bucket",
    f"{names.TOOL_DURATION}_count",
    f"{names.COST}_sum",
    f"{names.REQUEST_WAIT}_bucket",
    f"{names.REQUEST_WAIT}_count",
    f"{names.REQUESTS_OPENED}_total",
    f"{names.PROMPTS_REPEATED}_total",
    f"{names.SPILLOVERS}_total",
}
"""Of a worker, as `tests/workers/test_traces.py` finds them at a real one."""

METRICS = {
    "outlast_demand": "demand",
    "outlast_backlog": "demand",
    "outlast_busy_slots": "demand",
    "outlast_desired_workers": "demand",
    "outlast_demand_age_seconds": "demand",
    "outlast_oldest_seconds": "demand",
    "outlast_waiting_runs": "demand",
    "outlast_agent_waiting_runs": "demand",
    "outlast_agent_oldest_request_seconds": "demand",
    **dict.fromkeys(WORKER_METRICS, "worker"),
    "vllm:num_requests_running": "vllm",
    "vllm:num_requests_waiting": "vllm",
    "vllm:prompt_tokens_total": "vllm",
    "vllm:generation_tokens_total": "vllm",
    "vllm:time_to_first_token_seconds_bucket": "vllm",
    "vllm:kv_cache_usage_perc": "vllm",
    "temporal_worker_task_slots_used": "sdk",
    "temporal_worker_task_slots_available": "sdk",
    "temporal_activity_execution_failed_total": "sdk",
    "temporal_activity_schedule_to_start_latency_seconds_bucket": "sdk",
    "temporal_sticky_cache_size": "sdk",
}
"""What the dashboard may ask for, by the job of Prometheus that has it."""

FUNCTIONS = {"by", "histogram_quantile", "max", "rate", "sum"}
LABELS = {
    "activity_type",
    "worker_type",
    "build_id",
    "deployment",
    "le",
    "agent",
    "audience",
    "error_type",
    "from_task_queue",
    "gen_ai_request_model",
    "gen_ai_token_type",
    "outcome",
    "tool",
    "task_queue",
    "type",
}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """Every service of every profile."""
    return composed("*")


def read(name: str) -> Any:
    return yaml.safe_load((OBSERVABILITY / name).read_text())


def test_promtool_accepts_the_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: it is in Debian's package prometheus")
    command = [promtool, "check", "config", str(OBSERVABILITY / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_scrapes_services_that_there_are(services: dict[str, Any]) -> None:
    aliases = {
        alias
        for service in services.values()
        for network in (service.get("networks") or {}).values()
        for alias in (network or {}).get("aliases", [])
    }
    for job in read("prometheus.yml")["scrape_configs"]:
        for static in job.get("static_configs", []):
            assert {target.partition(":")[0] for target in static["targets"]} <= services.keys()
        for looked_up in job.get("dns_sd_configs", []):
            assert set(looked_up["names"]) <= aliases


def test_prometheus_scrapes_temporal_where_it_serves_metrics(services: dict[str, Any]) -> None:
    jobs = {job["job_name"]: job for job in read("prometheus.yml")["scrape_configs"]}
    (target,) = jobs["temporal"]["static_configs"][0]["targets"]
    listens = services["temporal"]["environment"]["PROMETHEUS_ENDPOINT"]
    assert target.rpartition(":")[2] == listens.rpartition(":")[2]


def test_the_collector_sends_spans_to_tempo(services: dict[str, Any]) -> None:
    collector = read("otel-collector.yaml")
    pipelines = collector["service"]["pipelines"]
    known = {kind: set(collector[kind]) for kind in ("receivers", "processors", "exporters")}
    for pipeline in pipelines.values():
        assert set(pipeline["receivers"]) <= known["receivers"]
        assert set(pipeline.get("processors", [])) <= known["processors"]
        assert set(pipeline["exporters"]) <= known["exporters"]
    host, _, port = collector["exporters"]["otlp_grpc/tempo"]["endpoint"].partition(":")
    assert host in services
    listening = read("tempo.yaml")["distributor"]["receivers"]["otlp"]["protocols"]
    assert listening["grpc"]["endpoint"].endswith(f":{port}")
    endpoint = services["worker"]["environment"]["OUTLAST_OTLP_ENDPOINT"]
    receiving = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert endpoint.rpartition(":")[2] == receiving.rpartition(":")[2]


def test_tempo_keeps_traces_where_its_volume_is(services: dict[str, Any]) -> None:
    trace = read("tempo.yaml")["storage"]["trace"]
    volumes = services["tempo"]["volumes"]
    (kept,) = [volume["target"] for volume in volumes if volume["type"] == "volume"]
    assert trace["backend"] == "local"
    assert trace["wal"]["path"].startswith(kept)
    assert trace["local"]["path"].startswith(kept)


def test_grafana_finds_its_sources_and_dashboards(services: dict[str, Any]) -> None:
    provisioned = read("grafana/provisioning/datasources/outlast.yaml")["datasources"]
    for source in provisioned:
        assert source["url"].removeprefix("http://").partition(":")[0] in services
    uids = {source["uid"] for source in provisioned}
    (provider,) = read("grafana/provisioning/dashboards/outlast.yaml")["providers"]
    targets = {volume["target"] for volume in services["grafana"]["volumes"]}
    assert provider["options"]["path"] in targets
    mounts = {
        Path(volume["source"]).resolve()
        for volume in services["grafana"]["volumes"]
        if volume["type"] == "bind"
    }
    assert DASHBOARDS[0].parent in mounts
    variables = json.loads(DASHBOARDS[0].read_text())["templating"]["list"]
    sources = {one["name"]: one["query"] for one in variables if one["type"] == "datasource"}
    assert sources == {"datasource": "prometheus", "logs": "loki"}
    assert set(sources.values()) <= uids
    for panel in panels():
        uid = panel["datasource"]["uid"]
        assert sources[uid.strip("${}")] == panel["datasource"]["type"]
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


def panels() -> list[Any]:
    """Return the panels of the dashboards that show something."""
    every = [panel for file in DASHBOARDS for panel in json.loads(file.read_text())["panels"]]
    return [panel for panel in every if panel["type"] != "row"]


def queries_of(kind: str) -> list[str]:
    """Return the queries of the dashboards to one kind of data source."""
    shown = [panel for panel in panels() if panel["datasource"]["type"] == kind]
    return [target["expr"] for panel in shown for target in panel["targets"]]


def dashboard_queries() -> list[str]:
    """Return the queries of the dashboards to Prometheus."""
    return queries_of("prometheus")


def names_in(query: str) -> set[str]:
    """Return the names of metrics in a query."""
    words = re.findall(r"[a-zA-Z_:][\w:]*", re.sub(r'"[^"]*"|\[\w+\]', "", query))
    return set(words) - FUNCTIONS - LABELS


def test_dashboards_ask_for_metrics_that_are_listed_here() -> None:
    assert set().union(*map(names_in, dashboard_queries())) == METRICS.keys()


@pytest.mark.parametrize("query", sorted(set(dashboard_queries())))
def test_queries_of_dashboards_are_promql(query: str, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: it is in Debian's package prometheus")
    rules = tmp_path / "rules.yml"
    rule = {"record": "checked", "expr": query}
    rules.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": [rule]}]}))
    command = [promtool, "check", "rules", str(rules)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_metrics_of_demand_are_those_that_it_serves() -> None:
    assert {name for name, job in METRICS.items() if job == "demand"} == {
        *GAUGES,
        waiting_runs.NAME,
        *open_requests.TEXTS,
    }


def test_metrics_of_vllm_are_those_that_it_serves() -> None:
    installed = (outlast_cache()).glob(
        "vllm-*/venv/lib/python3*/site-packages/vllm/v1/metrics/loggers.py"
    )
    source = next(installed, None)
    if source is None:
        pytest.skip("vLLM is not installed: make test-vllm installs it")
    served = source.read_text()
    for name in (name for name, job in METRICS.items() if job == "vllm"):
        # The client library adds the endings, of counters and of histograms.
        assert f'"{re.sub("(_total|_bucket)$", "", name)}"' in served, name


def test_replicas_of_the_demand_service_do_not_double_what_a_panel_shows() -> None:
    """Each replica is scraped and reports the same: the largest counts, and builds are added."""
    text = DASHBOARDS[0].read_text()
    for metric in (
        "outlast_demand",
        "outlast_backlog",
        "outlast_busy_slots",
        "outlast_desired_workers",
    ):
        shown = re.findall(rf"[a-z]+ by \(([^)]*)\) \({metric}\)", text)
        assert shown
        assert all("deployment, build_id" in labels for labels in shown), metric


def test_every_pipeline_bounds_its_memory() -> None:
    collector = yaml.safe_load((ROOT / "deploy/observability/otel-collector.yaml").read_text())
    for pipeline in collector["service"]["pipelines"].values():
        assert pipeline["processors"][0] == "memory_limiter"


def test_health_checks_name_the_address_that_servers_listen_on() -> None:
    assert '"localhost"' not in (ROOT / "docker-compose.yml").read_text()
