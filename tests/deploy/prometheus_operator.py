"""Strict models of the objects of the Prometheus operator that we write."""

from typing import Literal

from tests.deploy.strict import Duration, Metadata, Strict


class Endpoint(Strict):
    """What Prometheus asks."""

    port: str
    path: Literal["/metrics"]
    interval: Duration


class Selector(Strict):
    """Labels of the scraped targets."""

    match_labels: dict[str, str]


class ServiceMonitorSpec(Strict):
    """The scraped Service."""

    selector: Selector
    endpoints: list[Endpoint]


class ServiceMonitor(Strict):
    """monitoring.coreos.com/v1."""

    api_version: Literal["monitoring.coreos.com/v1"]
    kind: Literal["ServiceMonitor"]
    metadata: Metadata
    spec: ServiceMonitorSpec


class PodMonitorSpec(Strict):
    """The scraped pods."""

    selector: Selector
    pod_metrics_endpoints: list[Endpoint]


class PodMonitor(Strict):
    """monitoring.coreos.com/v1."""

    api_version: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PodMonitor"]
    metadata: Metadata
    spec: PodMonitorSpec
