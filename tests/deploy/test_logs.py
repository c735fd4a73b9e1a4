"""Logs: the configuration of Loki, of the collector, of Docker's log driver and of Grafana's links.

Neither Loki nor the collector is in a package. Their configuration is compared with what they publish; each
list names its source and version. Queries are parsed with Grafana's own grammar of LogQL.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.cache import make_once, outlast_cache
from tests.deploy.compose import composed
from tests.deploy.kubernetes.chart import rendered
from tests.deploy.test_observability import panels, queries_of, read
from tests.deploy.tools import ROOT

LOKI_VERSION = "3.7.6"
LOKI_FIELDS: dict[str, str] = json.loads(
    (Path(__file__).parent / f"loki-{LOKI_VERSION}.json").read_text()
)["fields"]
TYPES: dict[str, type] = {"boolean": bool, "int": int}
"""All other types of Loki's reference are text in YAML."""

DRIVER_OPTIONS = {
    *("fluentd-address", "fluentd-async", "fluentd-buffer-limit", "fluentd-max-retries"),
    *("fluentd-request-ack", "fluentd-retry-wait", "fluentd-sub-second-precision"),
    *("env", "env-regex", "labels", "labels-regex", "tag"),
}
"""The options that Docker accepts, by `ValidateLogOpt` of daemon/logger/fluentd of moby at 00396ccf."""

STATEMENT = re.compile(
    r"set\((?P<path>[\w.]+(\[\"[\w.]+\"\])?), "
    r"(\"\w+\"|ParseJSON\(log\.body\)|log\.cache\[\"(?P<field>\w+)\"\])\)"
    r"( where (IsMatch\(log\.body, \"\^\\\\\{\"\)|log\.cache\[\"(?P<present>\w+)\"\] != nil))?"
)
"""The forms that our statements have, of OTTL's grammar."""

LOG_PATHS = {
    *("log.cache", "log.severity_text", "log.trace_id.string", "log.span_id.string"),
    'resource.attributes["service.name"]',
}
"""Of pkg/ottl/contexts/ottllog/README.md of opentelemetry-collector-contrib, as far as we set them."""

LEZER = ("@grafana/lezer-logql@0.4.2", "@lezer/lr@1.4.10", "@lezer/common@1.5.5")
COUNT_ERRORS = """
import {parser} from '@grafana/lezer-logql';
const errors = query => {
  let found = 0;
  parser.parse(query).iterate({enter: node => { if (node.type.isError) found++; }});
  return found;
};
console.log(JSON.stringify(process.argv.slice(2).map(errors)));
"""


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """Every service of every profile."""
    return composed("*")


def fields_of(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield each field of a configuration with its value; items of a list have the path of the list."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from fields_of(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for inner in value:
            yield from fields_of(inner, path)
    else:
        yield path, value


def test_loki_is_configured_with_fields_of_its_version(services: dict[str, Any]) -> None:
    assert services["loki"]["image"] == f"grafana/loki:{LOKI_VERSION}"
    for path, value in fields_of(read("loki.yaml")):
        assert path in LOKI_FIELDS, path
        assert isinstance(value, TYPES.get(LOKI_FIELDS[path], str)), (path, value)


def test_loki_keeps_logs_where_its_volume_is(services: dict[str, Any]) -> None:
    volumes = services["loki"]["volumes"]
    (kept,) = [volume["target"] for volume in volumes if volume["type"] == "volume"]
    folders = [str(value) for path, value in fields_of(read("loki.yaml")) if "director" in path]
    assert len(folders) == 3
    assert all(folder.startswith(f"{kept}/") for folder in folders)
    assert read("loki.yaml")["common"]["path_prefix"] == kept


def test_dockers_driver_reaches_the_receiver_of_the_collector(services: dict[str, Any]) -> None:
    ours = {name for name, one in services.items() if one["image"].startswith("outlast-worker")}
    logging = {name: one["logging"] for name, one in services.items() if "logging" in one}
    assert logging.keys() == ours | {"vllm-cpu", "vllm-gpu"}
    endpoint = read("otel-collector.yaml")["receivers"]["fluent_forward"]["endpoint"]
    (port,) = services["otel-collector"]["ports"]
    assert endpoint == f"0.0.0.0:{port['target']}"
    for one in logging.values():
        assert one["driver"] == "fluentd"
        assert one["options"].keys() <= DRIVER_OPTIONS
        assert one["options"]["fluentd-address"] == f"{port['host_ip']}:{port['published']}"
        # Without it, a container does not start while the collector is away.
        assert one["options"]["fluentd-async"] == "true"


def test_the_collector_sends_logs_to_loki(services: dict[str, Any]) -> None:
    collector = read("otel-collector.yaml")
    endpoint = collector["exporters"]["otlp_http/loki"]["endpoint"]
    host, _, port = endpoint.removeprefix("http://").removesuffix("/otlp").partition(":")
    assert host in services
    assert int(port) == read("loki.yaml")["server"]["http_listen_port"]
    assert collector["service"]["pipelines"]["logs"]["exporters"] == ["otlp_http/loki"]


def test_the_collector_reads_the_fields_of_our_lines() -> None:
    """`tests/workers/test_telemetry.py` finds these fields in a line of a real process."""
    transform = read("otel-collector.yaml")["processors"]["transform/logs"]
    matches = [STATEMENT.fullmatch(statement) for statement in transform["log_statements"]]
    assert all(matches), transform["log_statements"]
    assert {match["path"] for match in matches if match} == LOG_PATHS
    fields = [(match["field"], match["present"]) for match in matches if match and match["field"]]
    assert fields == [(name, name) for name in ("level", "trace_id", "span_id")]


def test_a_trace_links_to_its_logs_and_a_line_to_its_trace() -> None:
    sources = {
        source["type"]: source
        for source in read("grafana/provisioning/datasources/outlast.yaml")["datasources"]
    }
    (field,) = sources["loki"]["jsonData"]["derivedFields"]
    assert field["datasourceUid"] == sources["tempo"]["uid"]
    to_logs = sources["tempo"]["jsonData"]["tracesToLogsV2"]
    assert to_logs["datasourceUid"] == sources["loki"]["uid"]
    assert field["matcherType"] == "label"
    assert f'| {field["matcherRegex"]}="$${{__trace.traceId}}"' in to_logs["query"]
    selector = to_logs["query"].partition(" ")[0]
    assert all(selector in query for query in queries_of("loki"))
    attribute = read("otel-collector.yaml")["processors"]["transform/logs"]["log_statements"][0]
    label, value = re.findall(r'"([\w.]+)"', attribute)
    assert selector == f'{{{label.replace(".", "_")}="{value}"}}'


def test_the_receiver_of_pods_gives_lines_the_same_name() -> None:
    page = (ROOT / "docs" / "watching.md").read_text()
    (receivers,) = re.findall(r"```yaml\n(receivers:.*?)```", page, re.DOTALL)
    receiver = yaml.safe_load(receivers)["receivers"]["file_log"]
    assert receiver["resource"] == {"service.name": "outlast"}
    example = yaml.safe_load((ROOT / "deploy/kubernetes/examples/logs-collector.yaml").read_text())
    assert example["config"]["receivers"]["file_log/outlast"] == receiver


def test_the_chart_links_traces_and_logs_as_the_stack_of_compose_does() -> None:
    release = rendered(
        "gpus",
        "monitoring.datasources.loki=http://loki-gateway.logs",
        "monitoring.datasources.tempo=http://tempo.traces:3200",
    )
    (found,) = (
        one
        for one in release.of("ConfigMap")
        if one["metadata"]["labels"].get("grafana_datasource") == "1"
    )
    (text,) = found["data"].values()
    ours, theirs = (
        {source["type"]: source for source in document["datasources"]}
        for document in (
            yaml.safe_load(text),
            read("grafana/provisioning/datasources/outlast.yaml"),
        )
    )
    assert ours.keys() == {"loki", "tempo"}
    for kind, other in (("loki", "tempo"), ("tempo", "loki")):
        written = json.dumps(ours[kind]["jsonData"])
        renamed = written.replace(ours[other]["uid"], theirs[other]["uid"])
        assert json.loads(renamed) == theirs[kind]["jsonData"]
    assert ours["tempo"]["url"] == "http://tempo.traces:3200"


@pytest.mark.parametrize(("kind", "other"), [("loki", "tempo"), ("tempo", "loki")])
def test_the_chart_links_to_no_data_source_that_is_not_there(kind: str, other: str) -> None:
    release = rendered("gpus", f"monitoring.datasources.{kind}=http://{kind}.example")
    texts = [
        text
        for one in release.of("ConfigMap")
        if one["metadata"]["labels"].get("grafana_datasource") == "1"
        for text in one["data"].values()
    ]
    (source,) = yaml.safe_load("".join(texts))["datasources"]
    assert source["type"] == kind
    assert other not in json.dumps(source)


@pytest.mark.skipif(not shutil.which("npm"), reason="Grafana's grammar is in a package of npm")
def test_queries_of_logs_are_logql() -> None:
    folder = outlast_cache() / "deploy-tools" / "lezer-logql"
    folder.parent.mkdir(parents=True, exist_ok=True)
    make_once(folder, json.dumps([LEZER, COUNT_ERRORS]).encode(), _install)
    (tempo,) = (
        source
        for source in read("grafana/provisioning/datasources/outlast.yaml")["datasources"]
        if source["type"] == "tempo"
    )
    written = [*queries_of("loki"), tempo["jsonData"]["tracesToLogsV2"]["query"]]
    queries = [_with_values(query) for query in written]
    assert len(queries) == 3
    broken = queries[0].replace("}", "", 1)
    done = subprocess.run(
        ["node", folder / "errors.mjs", *queries, broken],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *errors, in_broken = json.loads(done.stdout)
    assert errors == [0, 0, 0]
    assert in_broken


def _with_values(query: str) -> str:
    """Return a query as Grafana sends it, with values for its variables."""
    return (
        query.replace("$${__trace.traceId}", "0" * 32)
        .replace("$__auto", "1m")
        .replace("$search", "run-1")
    )


def _install(folder: Path) -> None:
    folder.mkdir()
    subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, *LEZER],
        timeout=300,
        check=True,
    )
    (folder / "errors.mjs").write_text(COUNT_ERRORS)


def test_panels_of_logs_are_below_a_row_of_their_own() -> None:
    shown = [panel for panel in panels() if panel["datasource"]["type"] == "loki"]
    assert {panel["type"] for panel in shown} == {"logs", "timeseries"}
    others = [panel for panel in panels() if panel not in shown]
    lowest = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in others)
    assert min(panel["gridPos"]["y"] for panel in shown) > lowest
