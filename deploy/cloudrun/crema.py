#!/usr/bin/env python3
"""Print the configuration of CREMA that scales the worker pools of all given builds by demand.

    python3 deploy/cloudrun/crema.py --project P --region R --demand-url URL BUILD [BUILD ...]

Name every build that still has open runs. CREMA leaves the pools of a build that is missing at the
number of instances that they have. The output is JSON, which is YAML too.
"""

import argparse
import json
import re
import sys
from typing import Any
from urllib.parse import quote, urlencode

POLLING_INTERVAL_S = 5
"""The server's numbers are up to 5 s old."""

POOLS = {
    "cpu": ({"agents": 100, "tools-serverless": 10}, 20),
    "gpu": ({"generate-serverless": 16}, 4),
    "model": ({"generate-serverless": 16}, 4),
}
"""By kind: the slots of one instance by task queue, as in KIND.json, and the most instances."""

BEHAVIOR = {
    "scaleDown": {
        "stabilizationWindowSeconds": 300,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
    },
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "policies": [
            {"type": "Percent", "value": 400, "periodSeconds": 15},
            {"type": "Pods", "value": 4, "periodSeconds": 15},
        ],
        "selectPolicy": "Max",
    },
}

TOKEN = {
    "metadata": {"name": "demand"},
    "spec": {
        "gcpSecretManager": {
            "secrets": [{"parameter": "token", "id": "outlast-demand-token", "version": "1"}]
        }
    },
}
"""The token that the demand service asks for. CREMA reads it with its own identity."""


def trigger(queue: str, slots: int, build: str, demand_url: str) -> dict[str, Any]:
    """Return the trigger of one task queue of a build."""
    parameters = urlencode({"deployment": "outlast", "build_id": build, "slots": slots})
    return {
        "type": "metrics-api",
        "name": queue,
        "metadata": {
            "url": f"{demand_url.rstrip('/')}/demand/{quote(queue, safe='')}?{parameters}",
            "valueLocation": "demand",
            "targetValue": str(slots),
            "authMode": "bearer",
        },
        "authenticationRef": {"name": "demand"},
    }


def pool(kind: str, build: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the scaling of one worker pool."""
    queues, most = POOLS[kind]
    name = (
        f"projects/{options.project}/locations/{options.region}/workerpools/outlast-{kind}-{build}"
    )
    triggers = [trigger(queue, slots, build, options.demand_url) for queue, slots in queues.items()]
    return {
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": 0,
            "maxReplicaCount": most,
            "triggers": triggers,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": BEHAVIOR}},
        }
    }


def configuration(options: argparse.Namespace) -> dict[str, Any]:
    """Return CREMA's configuration: both pools of each build."""
    builds = dict.fromkeys(options.builds)
    return {
        "apiVersion": "crema/v1",
        "kind": "CremaConfig",
        "spec": {
            "pollingInterval": POLLING_INTERVAL_S,
            "triggerAuthentications": [TOKEN],
            "scaledObjects": [
                pool(kind, build, options) for build in builds for kind in ("cpu", options.generate)
            ],
        },
    }


def build_id(text: str) -> str:
    """Return a build id; raises `ArgumentTypeError` if no pool can have it in its name."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,36}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r} is not a build id: use at most 38 lower-case letters, digits and hyphens"
        )
    return text


def http_url(text: str) -> str:
    """Return the URL of the demand service; raises `ArgumentTypeError` for anything else."""
    if not re.fullmatch(r"https?://[^\s/?#]+/?", text):
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r} is not the URL of a demand service: give https://HOST"
        )
    return text


def main(arguments: list[str] | None = None) -> None:
    """Print the configuration."""
    parser = argparse.ArgumentParser(
        description="Print CREMA's configuration for all given builds."
    )
    parser.add_argument("--project", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--demand-url", required=True, type=http_url)
    parser.add_argument(
        "--generate",
        choices=("gpu", "model"),
        default="gpu",
        help="the pool that serves model calls",
    )
    parser.add_argument("builds", nargs="+", type=build_id, metavar="BUILD")
    sys.stdout.write(json.dumps(configuration(parser.parse_args(arguments)), indent=2) + "\n")


if __name__ == "__main__":
    main()
