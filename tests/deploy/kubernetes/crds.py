"""The schemas of custom resources, as facts from the CRDs of the operators' own releases.

Each file of the folder `crds` has the schema of a kind in a version, reduced to the fields that we write.
Its `source` names repository, version and file. Unknown fields are refused, as the API server refuses them.
`UNVERIFIED` lists what a schema cannot say.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tests.deploy.kubernetes.chart import CHART
from tests.deploy.tools import ROOT

FOLDER = Path(__file__).parent / "crds"

VERSIONS: Mapping[str, Any] = yaml.safe_load((ROOT / CHART / "versions.yaml").read_text())
"""The supported versions, which the chart and its README read too."""

SCHEMAS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "keda": {
        "2.20.0": ("keda-2.20.0",),
        "2.20.1": ("keda-2.20.0",),
        "2.20.2": ("keda-2.20.2",),
    },
    "workerController": {
        "1.8.1": ("worker-controller-1.8.1",),
        "1.10.1": ("worker-controller-1.10.1", "worker-controller-1.8.1"),
    },
    "gatewayApi": {"1.0.0": ("gateway-api-1.0.0",), "1.6.1": ("gateway-api-1.6.1",)},
    "externalSecrets": {"v1": ("external-secrets-v1",)},
    "prometheusOperator": {"0.93.0": ("prometheus-operator-0.93.0",)},
    "envoyGateway": {"1.9.0": ("envoy-gateway-1.9.0",)},
    "argoCd": {"3.3.0": ("argo-cd-3.3.0",), "3.5.1": ("argo-cd-3.5.1",)},
    "fluxHelm": {"1.6.3": ("flux-helm-controller-1.6.3",)},
    "fluxSource": {"1.9.1": ("flux-source-controller-1.9.1",)},
}
"""By operator and version: the folders with its schemas. The first that has a kind counts."""

GROUPS = {
    "keda.sh": "keda",
    "temporal.io": "workerController",
    "gateway.networking.k8s.io": "gatewayApi",
    "external-secrets.io": "externalSecrets",
    "monitoring.coreos.com": "prometheusOperator",
    "gateway.envoyproxy.io": "envoyGateway",
    "argoproj.io": "argoCd",
    "helm.toolkit.fluxcd.io": "fluxHelm",
    "source.toolkit.fluxcd.io": "fluxSource",
}

UNVERIFIED = {
    "keda": (
        "its webhooks, other than the lengths of names; the metadata of triggers are strings to the CRD"
    ),
    "workerController": (
        "its webhooks; WorkerDeployment and WorkerResourceTemplate of 1.10.1, read as of 1.8.1"
    ),
    "gatewayApi": "no controller accepted a route; the experimental channel",
    "externalSecrets": "the example of ExternalSecrets was not synced with a store",
    "prometheusOperator": "nothing reconciled these objects",
    "envoyGateway": "no gateway asked for the sign-in of the example",
    "argoCd": "no controller synced the example",
    "fluxHelm": "no controller installed the example",
    "fluxSource": "no controller fetched the source of the example",
    "x-kubernetes-validations": "CEL rules are in the files, and run in the API server alone",
}
"""What no schema here checks."""


READ_AS_ANOTHER = {
    ("keda", "2.20.1"): "v2.20.1 did not change the CRDs of v2.20.0",
    (
        "workerController",
        "1.10.1",
    ): "WorkerDeployment and WorkerResourceTemplate of 1.10.1, read as of 1.8.1",
}
"""Versions with kinds whose schema is that of another version, and what the documents say of it."""


def borrowed(operator: str, version: str) -> set[str]:
    """Return the kinds of a version whose schema here is that of another version."""
    first, *others = SCHEMAS[operator][version]
    own = (
        {file.stem for file in (FOLDER / first).glob("*.json")}
        if first.endswith(version)
        else set()
    )
    every = {file.stem for one in (first, *others) for file in (FOLDER / one).glob("*.json")}
    return every - own


@cache
def schema(operator: str, version: str, kind: str) -> Mapping[str, Any]:
    """Return the schema of a kind's `spec` in a version of an operator."""
    for folder in SCHEMAS[operator][version]:
        file = FOLDER / folder / f"{kind}.json"
        if file.is_file():
            found: Mapping[str, Any] = json.loads(file.read_text())["spec"]
            return found
    raise KeyError(f"no schema of {kind} in {operator} {version}: extend {FOLDER}")


def operator_of(resource: Mapping[str, Any]) -> str | None:
    """Return whose resource it is, None for those of Kubernetes itself."""
    return GROUPS.get(resource["apiVersion"].partition("/")[0])


def problems(resource: Mapping[str, Any], version: str) -> Iterator[str]:
    """Yield what a version of its operator would refuse of a resource."""
    operator = operator_of(resource)
    assert operator is not None, resource["kind"]
    validator = Draft202012Validator(schema(operator, version, resource["kind"]))
    for error in validator.iter_errors(resource["spec"]):
        at = ".".join(map(str, error.absolute_path))
        yield f"{resource['kind']} {resource['metadata']['name']} spec.{at}: {error.message}"
