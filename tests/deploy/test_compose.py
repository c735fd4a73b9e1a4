"""`docker-compose.yml` and what it mounts: what can be said of them without a container engine."""

import json
import os
import re
import shutil
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.engines.vllm_install import outlast_cache
from tests.deploy import tools
from tests.deploy.dockerfiles import stages
from tests.deploy.settings import EXIT_S, loaded
from tests.deploy.vllm import page_engine, starts_as_the_page_says
from workers.demand.http_api import GAUGES
from workers.settings import OWN_QUEUES
from workers.telemetry import SERVICE_NAME

ROOT = tools.ROOT
FILE = ROOT / "docker-compose.yml"
OBSERVABILITY = ROOT / "deploy" / "observability"
DASHBOARDS = sorted((OBSERVABILITY / "grafana" / "dashboards").glob("*.json"))
VLLM_PROFILES = ("gpu", "cpu")
PROFILES = ("embedded", *VLLM_PROFILES, "callback")
OURS = "outlast-worker"

VARIABLES = {
    "POSTGRES_PASSWORD": "a",
    "GRAFANA_PASSWORD": "b",
    "CALLBACK_SECRET": "c" * 32,
    "BUILD_ID": "b1",
}

METRICS = {
    "outlast_demand": "demand",
    "outlast_backlog": "demand",
    "outlast_busy_slots": "demand",
    "outlast_desired_workers": "demand",
    "outlast_demand_age_seconds": "demand",
    "outlast_oldest_seconds": "demand",
    "traces_span_metrics_calls_total": "spans",
    "traces_span_metrics_duration_seconds_bucket": "spans",
    "vllm:num_requests_running": "vllm",
    "vllm:num_requests_waiting": "vllm",
    "vllm:prompt_tokens_total": "vllm",
    "vllm:generation_tokens_total": "vllm",
    "vllm:time_to_first_token_seconds_bucket": "vllm",
    "vllm:kv_cache_usage_perc": "vllm",
}
"""What the dashboard may ask for, by the job of Prometheus that has it."""

FUNCTIONS = {"by", "histogram_quantile", "max", "rate", "sum"}
LABELS = {"le", "service_name", "span_name", "task_queue", "type"}


def composed(*profiles: str, variables: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the services as compose understands them, with the profiles, by their names."""
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    done = tools.run(
        "docker-compose",
        *("--env-file", "/dev/null", "--file", str(FILE), *chosen, "config", "--format", "json"),
        env={"PATH": os.environ["PATH"], **(VARIABLES if variables is None else variables)},
    )
    assert done.returncode == 0, done.stdout
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """Every service of every profile."""
    return composed("*")


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """The services as they are written: compose leaves our remarks out of what it says."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return found


@pytest.mark.parametrize("profiles", [(), *((name,) for name in PROFILES), ("*",)])
def test_the_file_is_valid_with_each_profile(profiles: tuple[str, ...]) -> None:
    assert composed(*profiles)


def test_the_file_is_of_today_and_holds_no_secret() -> None:
    whole = yaml.safe_load(FILE.read_text())
    assert "version" not in whole
    for line in FILE.read_text().splitlines():
        name, _, value = line.strip().partition(":")
        if re.search(r"(PASSWORD|PWD|SECRET|TOKEN)$", name):
            assert value.strip().startswith("${"), line


def test_a_missing_password_is_refused_with_what_to_do() -> None:
    done = tools.run(
        "docker-compose",
        *("--env-file", "/dev/null", "--file", FILE, "config", "-q"),
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode != 0
    assert "run deploy/compose/new-env.sh first" in done.stdout


def test_a_new_env_starts_the_embedded_model_and_is_written_once(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy" / "compose", tmp_path / "deploy" / "compose")
    script = tmp_path / "deploy" / "compose" / "new-env.sh"
    subprocess.run(["/bin/sh", script], check=True, timeout=10)
    first = (tmp_path / ".env").read_text()
    subprocess.run(["/bin/sh", script], check=True, timeout=10)
    assert (tmp_path / ".env").read_text() == first
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    lines = (line.partition("=")[::2] for line in first.splitlines() if not line.startswith("#"))
    values = dict(lines)
    assert len(values["POSTGRES_PASSWORD"]) == 48
    assert values["POSTGRES_PASSWORD"] != values["GRAFANA_PASSWORD"]
    started = composed(variables=values)
    assert {"model", "generate"} <= started.keys()
    assert not {"vllm-gpu", "vllm-cpu", "callback"} & started.keys()


@pytest.mark.parametrize("profile", VLLM_PROFILES)
def test_a_profile_takes_the_place_of_the_embedded_model(profile: str) -> None:
    started = composed(profile, variables={**VARIABLES, "COMPOSE_PROFILES": "embedded"})
    assert f"vllm-{profile}" in started
    assert "generate-vllm" in started
    assert not {"model", "generate"} & started.keys()  # else it would serve the same queue


def test_every_image_is_pinned(services: dict[str, Any]) -> None:
    for name, service in services.items():
        tag = service["image"].rpartition(":")[2]
        built = service["image"].startswith(OURS) and tag == VARIABLES["BUILD_ID"]
        assert built or re.match(r"v?\d+\.\d+", tag), (name, service["image"])


def test_what_is_built_has_a_stage_of_its_name(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if "build" in service:
            build = service["build"]
            assert build["args"]["BUILD_ID"] == service["image"].rpartition(":")[2], name
            named = {stage.name for stage in stages(ROOT / build["dockerfile"])}
            assert build["target"] in named, name


def test_every_service_has_a_health_check_or_says_why_not(
    services: dict[str, Any], written: dict[str, Any]
) -> None:
    for name, service in services.items():
        inherited = service["image"].startswith(OURS)  # from the image
        reason = written[name].get("x-no-healthcheck", "")
        assert bool(service.get("healthcheck") or inherited) != bool(reason), name


def test_health_checks_use_what_their_images_have(services: dict[str, Any]) -> None:
    programs = {
        "outlast-worker": {"python"},
        "vllm/vllm-openai": {"python3"},
        "postgres": {"pg_isready"},
        "temporalio": {"nc"},  # Alpine's busybox
        "prom/prometheus": {"wget"},  # busybox
        "grafana/grafana": {"wget"},  # Alpine's busybox
    }
    for name, service in services.items():
        if "healthcheck" in service:
            kind, program, *_ = service["healthcheck"]["test"]
            assert kind == "CMD", name
            image = next(image for image in programs if service["image"].startswith(image))
            assert program in programs[image], name


def test_services_start_in_an_order_and_wait_for_what_they_need(services: dict[str, Any]) -> None:
    needs = {name: service.get("depends_on", {}) for name, service in services.items()}
    assert list(TopologicalSorter(needs).static_order())  # raises where there is a cycle
    for name, needed in needs.items():
        for other, how in needed.items():
            condition = how["condition"]
            once = services[other]["restart"].startswith("on-failure")
            checked = "healthcheck" in services[other]
            expected = (
                "service_completed_successfully"
                if once
                else "service_healthy"
                if checked
                else "service_started"
            )
            assert condition == expected, (name, other)


def test_vllm_starts_as_the_page_says(services: dict[str, Any]) -> None:
    for profile in VLLM_PROFILES:
        assert starts_as_the_page_says(services[f"vllm-{profile}"]["command"])


OWN_USERS = {
    "temporalio/admin-tools",
    "temporalio/server",
    "temporalio/ui",
    "otel/opentelemetry-collector-contrib",
    "prom/prometheus",
    "grafana/grafana",
}
"""Images whose own user is not root; ours are looked at in test_images.py."""


def test_nothing_runs_as_root_that_does_not_say_why(
    services: dict[str, Any], written: dict[str, Any]
) -> None:
    for name, service in services.items():
        image = service["image"].rpartition(":")[0]
        of_image = "10001" if image in OWN_USERS or image.startswith(OURS) else "0"
        user = service.get("user", of_image).partition(":")[0]
        assert (user in {"0", "root"}) == bool(written[name].get("x-root")), name


def test_users_that_are_not_an_images_own_are_given_the_volumes_that_they_write(
    services: dict[str, Any],
) -> None:
    owner = services["volume-owner"]
    _, user, *given = owner["entrypoint"]
    volume_of = {volume["target"]: volume["source"] for volume in owner["volumes"]}
    owned = {volume_of[target] for target in given}
    for name, service in services.items():
        volumes = {one["source"] for one in service.get("volumes", []) if one["type"] == "volume"}
        if service.get("user") == user:
            assert volumes <= owned, name
            assert "volume-owner" in service["depends_on"], name
    assert sorted(one for one, said in services.items() if said.get("user") == user) == [
        "tempo",
        "vllm-cpu",
        "vllm-gpu",
    ]


FAKE_SQL_TOOL = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in *create*) echo "$SAYS" >&2; exit "$STATUS";; esac
"""


@pytest.mark.parametrize(
    ("says", "status", "ends"),
    [
        ("", 0, 0),
        ('pq: database "temporal_visibility" already exists', 1, 0),
        ("pq: password authentication failed", 1, 1),
    ],
)
def test_the_schema_is_made_where_the_databases_are_or_can_be_made(
    says: str, status: int, ends: int, tmp_path: Path
) -> None:
    tool, calls = tmp_path / "temporal-sql-tool", tmp_path / "calls"
    tool.write_text(FAKE_SQL_TOOL)
    tool.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", ROOT / "deploy" / "compose" / "temporal-schema.sh"],
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "CALLS": str(calls),
            "SAYS": says,
            "STATUS": str(status),
        },
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == ends, done.stderr
    assert done.stderr == (
        f"outlast: the database temporal_visibility cannot be created: {says}\n" if ends else ""
    )
    made = [" ".join(line.split()[1:3]) for line in calls.read_text().splitlines()]
    visibility = ["temporal_visibility setup-schema", "temporal_visibility update-schema"]
    assert made == [
        *("temporal setup-schema", "temporal update-schema", "temporal_visibility create"),
        *(visibility if not ends else []),
    ]


def test_ports_are_published_on_loopback_alone(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    published = [port["published"] for port in ports]
    assert len(published) == len(set(published))


def test_every_service_restarts_and_those_that_run_are_limited(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["restart"], name
        once = service["restart"].startswith("on-failure")
        limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
        assert once or name == "temporal-ui" or int(limits["memory"]), name


def test_what_is_mounted_exists_and_state_is_in_named_volumes(services: dict[str, Any]) -> None:
    declared = yaml.safe_load(FILE.read_text())["volumes"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), (name, volume)
                assert volume["read_only"], (name, volume)
            else:
                assert volume["source"] in declared, (name, volume)


def ours(services: dict[str, Any]) -> dict[str, Any]:
    """Return the services that run `python -m workers`."""
    return {
        name: service
        for name, service in services.items()
        if service["image"].startswith(OURS) and not service.get("entrypoint")
    }


@pytest.mark.parametrize("name", ["worker", "generate", "generate-vllm", "demand", "callback"])
def test_settings_of_a_service_are_accepted(
    name: str, services: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = ours(services)[name]
    monkeypatch.chdir(tmp_path)
    settings = loaded(in_image(service["environment"]))
    assert settings.versioning.build_id == VARIABLES["BUILD_ID"]
    if name.startswith("generate"):
        assert settings.queue("generate") == OWN_QUEUES["generate"]
        assert settings.model.api == ("vllm" if "vllm" in name else "openai")
        assert settings.model.engine == (page_engine() if "vllm" in name else None)
    if name == "worker":
        assert settings.queue("workflows") == OWN_QUEUES["workflows"]
        assert settings.queue("tools") == OWN_QUEUES["tools"]
        assert settings.agents
    grace_s = float(service["stop_grace_period"].removesuffix("s"))
    assert settings.drain_s + EXIT_S < grace_s


def in_image(environment: dict[str, str]) -> dict[str, str]:
    """Return what a container of ours is told: by its image, and by its service."""
    every = {stage.name: stage for stage in stages(ROOT / "deploy/images/worker.Dockerfile")}
    said = [*every["application"].all("ENV"), *every["worker"].all("ENV")]
    image = dict(word.split("=", 1) for rest in said for word in rest.split())
    return {
        name: value.replace("$BUILD_ID", VARIABLES["BUILD_ID"])
        for name, value in {**image, **environment}.items()
        if name.startswith(("OUTLAST_", "TEMPORAL_"))
    }


def test_every_process_of_ours_is_looked_at(services: dict[str, Any]) -> None:
    checked = {"worker", "generate", "generate-vllm", "demand", "callback"}
    assert ours(services).keys() == checked


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


def test_the_collector_sends_spans_to_tempo_and_counts_them(services: dict[str, Any]) -> None:
    collector = read("otel-collector.yaml")
    pipelines = collector["service"]["pipelines"]
    known = {kind: set(collector[kind]) for kind in ("receivers", "processors", "exporters")}
    connectors = set(collector["connectors"])
    for pipeline in pipelines.values():
        assert set(pipeline["receivers"]) <= known["receivers"] | connectors
        assert set(pipeline.get("processors", [])) <= known["processors"]
        assert set(pipeline["exporters"]) <= known["exporters"] | connectors
    assert "spanmetrics" in pipelines["traces"]["exporters"]
    host, _, port = collector["exporters"]["otlp/tempo"]["endpoint"].partition(":")
    assert host in services
    listening = read("tempo.yaml")["distributor"]["receivers"]["otlp"]["protocols"]
    assert listening["grpc"]["endpoint"].endswith(f":{port}")
    told = services["worker"]["environment"]["OUTLAST_OTLP_ENDPOINT"]
    receiving = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert told.rpartition(":")[2] == receiving.rpartition(":")[2]


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
    assert {panel["datasource"]["uid"] for panel in panels()} <= uids


def panels() -> list[Any]:
    """Return the panels of the dashboards that show something."""
    every = [panel for file in DASHBOARDS for panel in json.loads(file.read_text())["panels"]]
    return [panel for panel in every if panel["type"] != "row"]


def asked() -> list[str]:
    """Return the queries of the dashboards."""
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def names_in(query: str) -> set[str]:
    """Return the names of metrics in a query."""
    words = re.findall(r"[a-zA-Z_:][\w:]*", re.sub(r'"[^"]*"|\[\w+\]', "", query))
    return set(words) - FUNCTIONS - LABELS


def test_dashboards_ask_for_metrics_that_are_listed_here() -> None:
    assert set().union(*map(names_in, asked())) == METRICS.keys()


@pytest.mark.parametrize("query", sorted(set(asked())))
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
    assert {name for name, job in METRICS.items() if job == "demand"} == GAUGES.keys()


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


def test_metrics_of_spans_are_those_that_the_collector_makes_of_ours() -> None:
    made = read("otel-collector.yaml")["connectors"]["spanmetrics"]
    prefix = made["namespace"].replace(".", "_")
    unit = {"s": "seconds", "ms": "milliseconds"}[made["histogram"]["unit"]]
    expected = {f"{prefix}_calls_total", f"{prefix}_duration_{unit}_bucket"}
    assert {name for name, job in METRICS.items() if job == "spans"} == expected
    for query in asked():
        if prefix in query:
            assert f'service_name="{SERVICE_NAME}"' in query
