"""Alerts, dashboards and monitors of the chart: what they read exists, and each alert has a runbook."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.kubernetes.chart import CHART, NAMESPACE, SETS, VALUES, rendered
from tests.deploy.kubernetes.crds import problems
from tests.deploy.test_observability import METRICS, names_in
from tests.deploy.tools import ROOT

RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text()
OPERATING = (ROOT / "docs" / "operating.md").read_text()

ALERT_WORDS = {"absent", "up", "job", "namespace", "and", "pod", "unless", "increase"}
"""Words of the alerts' queries that name no metric of ours."""

ALERT_METRICS = {
    "temporal_activity_execution_failed_total",
    "temporal_activity_execution_latency_seconds_count",
}
"""Metrics of the SDK, as its endpoint for Prometheus names them."""

VERSION = 'task_queue="tools", deployment="outlast", build_id="2026-11-24"'
ATTEMPTS = '{task_queue="t", activity_type="a"}'
STEADY = "{}+0x40"
PROMPTS = "gen_ai_client_operation_duration_seconds_count"

FIRES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "OutlastDemandDown": (
        {f'up{{job="outlast-demand", namespace="{NAMESPACE}"}}': STEADY.format(0)},
        {f'up{{job="outlast-demand", namespace="{NAMESPACE}"}}': STEADY.format(1)},
    ),
    "OutlastDemandStale": (
        {f"outlast_demand_age_seconds{{{VERSION}}}": STEADY.format(61)},
        {f"outlast_demand_age_seconds{{{VERSION}}}": STEADY.format(20)},
    ),
    "OutlastQueueWaits": (
        {f"outlast_oldest_seconds{{{VERSION}}}": STEADY.format(301)},
        {f"outlast_oldest_seconds{{{VERSION}}}": STEADY.format(299)},
    ),
    "OutlastQueueWithoutWorkers": (
        {
            f'outlast_backlog{{{VERSION}, type="activity"}}': STEADY.format(1),
            f"outlast_busy_slots{{{VERSION}}}": STEADY.format(0),
        },
        {
            f'outlast_backlog{{{VERSION}, type="activity"}}': STEADY.format(9),
            f"outlast_busy_slots{{{VERSION}}}": STEADY.format(1),
        },
    ),
    "OutlastWorkersAtMaximum": (
        {f"outlast_desired_workers{{{VERSION}}}": STEADY.format(41)},
        {f"outlast_desired_workers{{{VERSION}}}": STEADY.format(40)},
    ),
    "OutlastActivitiesFail": (
        {
            f"temporal_activity_execution_failed_total{ATTEMPTS}": "0+3x40",
            f"temporal_activity_execution_latency_seconds_count{ATTEMPTS}": "0+10x40",
        },
        {
            f"temporal_activity_execution_failed_total{ATTEMPTS}": "0+1x40",
            f"temporal_activity_execution_latency_seconds_count{ATTEMPTS}": "0+10x40",
        },
    ),
    "OutlastModelCallsFail": (
        {
            f'{PROMPTS}{{gen_ai_request_model="m", error_type="ModelThrottled"}}': "0+3x40",
            f'{PROMPTS}{{gen_ai_request_model="m", error_type=""}}': "0+7x40",
        },
        {
            f'{PROMPTS}{{gen_ai_request_model="m", error_type="ModelThrottled"}}': "0+1x40",
            f'{PROMPTS}{{gen_ai_request_model="m", error_type=""}}': "0+9x40",
        },
    ),
    "OutlastRequestsWait": (
        {'outlast_waiting_runs{audience="*"}': STEADY.format(2)},
        {
            'outlast_waiting_runs{audience="*"}': STEADY.format(2),
            'outlast_request_wait_seconds_count{outcome="approved"}': "0+1x40",
        },
    ),
    "OutlastRequestOld": (
        {'outlast_agent_oldest_request_seconds{agent="clerk"}': "14401+60x40"},
        {'outlast_agent_oldest_request_seconds{agent="clerk"}': "60+60x40"},
    ),
    "OutlastModelMemoryFull": (
        {'vllm:kv_cache_usage_perc{pod="a"}': "0.97+0x40"},
        {'vllm:kv_cache_usage_perc{pod="a"}': "0.9+0x40"},
    ),
    "OutlastModelRequestsWait": (
        {'vllm:num_requests_waiting{pod="a"}': STEADY.format(33)},
        {'vllm:num_requests_waiting{pod="a"}': STEADY.format(32)},
    ),
}  # fmt: skip
"""By alert: series with which it fires, one value a minute, and series with which it does not."""


def rule_spec() -> dict[str, Any]:
    (rule,) = rendered("gpus").of("PrometheusRule")
    spec: dict[str, Any] = rule["spec"]
    return spec


def alerts() -> list[dict[str, Any]]:
    (group,) = rule_spec()["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_each_alert_has_a_runbook_a_row_and_a_case_here() -> None:
    names = {one["alert"] for one in alerts()}
    assert names == set(FIRES)
    assert names == set(re.findall(r"^## (\w+)$", RUNBOOKS, re.MULTILINE))
    rows = re.findall(r"^\| \[(\w+)\]\(runbooks\.md#(\w+)\) \| (\w+) \|", OPERATING, re.MULTILINE)
    assert {name for name, _, _ in rows} == names
    severities = {one["alert"]: one["labels"]["severity"] for one in alerts()}
    for name, anchor, severity in rows:
        assert (anchor, severity) == (name.lower(), severities[name])


def test_alerts_read_metrics_that_there_are() -> None:
    read: set[str] = set().union(*(names_in(one["expr"]) for one in alerts()))
    assert read - ALERT_WORDS <= METRICS.keys() | ALERT_METRICS


def test_an_alert_links_its_runbook_where_people_can_read_it() -> None:
    release = rendered("gpus", "monitoring.alerts.runbookUrl=https://wiki.example/r")
    (rule,) = release.of("PrometheusRule")
    for one in rule["spec"]["groups"][0]["rules"]:
        assert one["annotations"]["runbook_url"] == f"https://wiki.example/r#{one['alert'].lower()}"


@pytest.mark.parametrize("name", FIRES)
def test_an_alert_fires_when_it_should_and_not_otherwise(name: str, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: it is in Debian's package prometheus")
    (tmp_path / "rules.yml").write_text(json.dumps(rule_spec()))
    cases = [
        {
            "interval": "1m",
            "input_series": [{"series": key, "values": value} for key, value in series.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)',
                    "eval_time": "35m",
                    "exp_samples": [{"labels": "{}", "value": value}],
                }
            ],
        }
        for series, value in zip(FIRES[name], (1, 0), strict=True)
    ]
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps({"rule_files": ["rules.yml"], "tests": cases}))
    command = [promtool, "test", "rules", str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_reaches_the_metrics_of_every_worker_and_of_no_other_process() -> None:
    release = rendered("gpus")
    (monitor,) = (
        one for one in release.of("PodMonitor") if one["metadata"]["name"].endswith("-workers")
    )
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    for pod in release.pods:
        ports = {one["name"]: one["containerPort"] for one in pod.main.get("ports", [])}
        assert (endpoint["port"] in ports) == pod.is_worker
        if not pod.is_worker:
            continue
        labels = pod.template["metadata"]["labels"].items()
        assert wanted <= labels
        assert pod.variables["OUTLAST_METRICS__PORT"] == str(ports["metrics"])
        (policy,) = (
            one
            for one in release.of("NetworkPolicy")
            if one["spec"]["podSelector"]["matchLabels"].items() <= labels
        )
        (rule,) = (
            rule
            for rule in policy["spec"]["ingress"]
            if rule["ports"][0]["port"] == ports["metrics"]
        )
        assert rule["from"], "only Prometheus"


def test_without_monitoring_a_worker_serves_no_metrics() -> None:
    for pod in rendered("cpu").workers:
        assert "OUTLAST_METRICS__PORT" not in pod.variables
        assert [one["name"] for one in pod.main["ports"]] == ["health"]


def test_the_dashboard_is_a_config_map_that_grafanas_sidecar_finds() -> None:
    (found,) = (
        one
        for one in rendered("gpus").of("ConfigMap")
        if one["metadata"]["labels"].get("grafana_dashboard") == "1"
    )
    file = ROOT / CHART / "dashboards" / "outlast.json"
    assert json.loads(found["data"]["outlast.json"]) == json.loads(file.read_text())


def test_a_new_revision_of_secrets_restarts_every_pod_that_has_one() -> None:
    before, after = rendered("gateway"), rendered("gateway", "secretsRevision=2026-12-01")
    for old, new in zip(before.pods, after.pods, strict=True):
        if old.main["name"] in ("vllm", "guard"):  # no secret of ours, or started anew each time
            continue
        assert old.template != new.template, old.name
        assert old.owner["metadata"] == new.owner["metadata"]


def test_reloader_sees_every_deployment_of_ours() -> None:
    key = "reloader.stakater.com/auto"
    option = "deploymentAnnotations.reloader\\.stakater\\.com/auto=yes"
    for one in rendered("gateway", option).of("Deployment"):
        if not one["metadata"]["name"].endswith("-vllm"):
            assert one["metadata"]["annotations"][key] == "yes"


def test_external_secrets_have_every_key_that_the_sets_name() -> None:
    text = (ROOT / VALUES).parent.joinpath("examples/external-secrets.yaml").read_text()
    objects = list(yaml.safe_load_all(text))
    made = {
        (one["spec"]["target"]["name"], entry["secretKey"])
        for one in objects
        for entry in one["spec"]["data"]
    }
    wanted = {
        (key["name"], key["key"])
        for name in ("cpu", "gpu", "gpus", "gateway", "gateway with the text of answers")
        for pod in rendered(name).pods
        for key in pod.secrets.values()
    }
    wanted.add(("outlast-temporal", "api-key"))
    assert made == wanted
    assert [problem for one in objects for problem in problems(one, "v1")] == []
    assert {one["apiVersion"] for one in objects} == {"external-secrets.io/v1"}


def test_the_page_lists_every_image_that_a_set_pulls() -> None:
    table = OPERATING.partition("<!-- images:begin -->")[2].partition("<!-- images:end -->")[0]
    listed = set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE))
    pulled = {
        one["image"] for name in SETS for pod in rendered(name).pods for one in pod.containers
    }
    pulled = {re.sub(r"^outlast-worker:.*", "outlast-worker:BUILD", image) for image in pulled}
    dockerfile = (ROOT / "deploy/images/worker.Dockerfile").read_text()
    pulled |= set(re.findall(r"^FROM ([\w./-]+:\S+)", dockerfile, re.MULTILINE))
    assert listed == pulled
