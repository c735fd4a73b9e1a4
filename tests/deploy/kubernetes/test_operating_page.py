"""What docs/operating.md and the README tell operators: sign-in and cards."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.deploy.kubernetes.chart import NAMESPACE, rendered
from tests.deploy.kubernetes.crds import SCHEMAS, problems
from tests.deploy.tools import ROOT, run

PAGE = (ROOT / "docs" / "operating.md").read_text()
README = (ROOT / "deploy" / "kubernetes" / "README.md").read_text()

EXPOSED = (
    "callback.expose.kind=HTTPRoute",
    "callback.expose.parentRefs[0].name=public",
)

CARD_BYTES = 79.6 * 2**30
SHARE = 0.92 * 0.95
"""`--gpu-memory-utilization`, less 5 % for activations, as the README says."""

KV_BYTES = {"7B": 28 * 2 * 4 * 128 * 2, "72B": 80 * 2 * 8 * 128 * 2}
"""Of a token: layers, keys and values, heads, numbers of a head, two bytes each."""


def blocks() -> list[Mapping[str, Any]]:
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def test_the_sign_in_of_envoy_gateway_is_for_the_route_of_the_chart() -> None:
    (policy,) = (one for one in blocks() if one.get("kind") == "SecurityPolicy")
    for version in SCHEMAS["envoyGateway"]:
        assert list(problems(policy, version)) == []
    (target,) = policy["spec"]["targetRefs"]
    routes = rendered("gpus", *EXPOSED).of("HTTPRoute")
    assert target["name"] in {route["metadata"]["name"] for route in routes}
    (route,) = (one for one in routes if one["metadata"]["name"] == target["name"])
    (host,) = route["spec"]["hostnames"]
    assert policy["spec"]["oidc"]["redirectURL"].startswith(f"https://{host}/")


def test_the_sign_in_of_an_ingress_is_in_its_annotations(tmp_path: Any) -> None:
    (values,) = (one for one in blocks() if "callback" in one)
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(dict(values)))
    words = ("-f", "deploy/kubernetes/values/values-gpus.yaml", "-f", file)
    chart = ("deploy/kubernetes/chart", "-n", NAMESPACE, "--set-string", "image.tag=a")
    done = run("helm", "template", "outlast", *chart, *words)
    assert done.returncode == 0, done.stdout
    (ingress,) = (
        one for one in yaml.safe_load_all(done.stdout) if one and one["kind"] == "Ingress"
    )
    expected = values["callback"]["expose"]
    assert expected["annotations"].items() <= ingress["metadata"]["annotations"].items()
    assert ingress["spec"]["tls"][0]["secretName"] == expected["tlsSecret"]


def test_the_table_of_cards_follows_from_the_sizes_of_the_models() -> None:
    rows = re.findall(
        r"\| (Qwen2\.5-(\d+B)-\S+) \(.*?\) \| (\d+) GB \| (\d+) \| about ([\d,]+)", README
    )
    assert len(rows) == 4
    for name, size, weights_gb, cards, tokens in rows:
        room = int(cards) * CARD_BYTES * SHARE - int(weights_gb) * 1e9
        rounding = 0.5e9 / KV_BYTES[size]  # the weights are in whole GB
        expected = int(tokens.replace(",", ""))
        assert abs(room / KV_BYTES[size] - expected) < rounding + 0.02 * expected, name
