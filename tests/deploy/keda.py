"""Strict models of the objects of KEDA that we write: the fields that we use, as of 2.20, and no others."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tests.deploy.strict import Address, Digits, Metadata, Name, Named, Strict, Types


class Versioned(Strict):
    """What a trigger says of the worker deployment version: both, or neither."""

    worker_deployment_name: str | None = None
    worker_deployment_build_id: str | None = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> "Versioned":
        assert (self.worker_deployment_name is None) == (self.worker_deployment_build_id is None)
        return self


class ExternalMetadata(Versioned):
    """For our external scaler."""

    scaler_address: Address
    task_queue: str
    queue_types: Types
    slots_per_worker: Digits
    activation_demand: Digits


class MetricsApiMetadata(Strict):
    """For the JSON of our demand service."""

    url: Annotated[str, Field(pattern=r"^http://[a-z0-9.-]+:8070/demand/[^?]+\?[^ ]+$")]
    format: Literal["json"]
    value_location: Literal["demand"]
    target_value: Digits
    activation_target_value: Digits


class TemporalMetadata(Versioned):
    """For KEDA's own scaler, 2.20 and later."""

    endpoint: Address
    namespace: str
    task_queue: str
    queue_types: Types
    target_queue_size: Digits


class ExternalTrigger(Strict):
    """Asks our demand service by gRPC."""

    type: Literal["external"]
    metadata: ExternalMetadata


class MetricsApiTrigger(Strict):
    """Asks our demand service by HTTP."""

    type: Literal["metrics-api"]
    metadata: MetricsApiMetadata


class TemporalTrigger(Strict):
    """Asks Temporal."""

    type: Literal["temporal"]
    metadata: TemporalMetadata
    authentication_ref: Named | None = None


Trigger = Annotated[
    ExternalTrigger | MetricsApiTrigger | TemporalTrigger, Field(discriminator="type")
]
Triggers = Annotated[list[Trigger], Field(min_length=1)]


class Fallback(Strict):
    """What holds while a trigger cannot be read."""

    failure_threshold: Annotated[int, Field(ge=1)]
    replicas: Annotated[int, Field(ge=1)]
    behavior: Literal["static", "currentReplicas", "currentReplicasIfHigher"]


class Policy(Strict):
    """How fast it scales."""

    type: Literal["Pods", "Percent"]
    value: Annotated[int, Field(ge=1)]
    period_seconds: Annotated[int, Field(ge=1, le=1800)]


class Direction(Strict):
    """How it scales out, or in."""

    stabilization_window_seconds: Annotated[int, Field(ge=0, le=3600)]
    policies: Annotated[list[Policy], Field(min_length=1)]


class Behavior(Strict):
    """Of the HorizontalPodAutoscaler that KEDA makes."""

    scale_up: Direction
    scale_down: Direction


class AutoscalerConfig(Strict):
    """What KEDA hands on to it."""

    behavior: Behavior


class Advanced(Strict):
    """The rest of a ScaledObject."""

    horizontal_pod_autoscaler_config: AutoscalerConfig


class Bounded(Strict):
    """How many replicas there may be."""

    polling_interval: Annotated[int, Field(ge=5)]
    min_replica_count: Annotated[int, Field(ge=0)]
    max_replica_count: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _in_order(self) -> "Bounded":
        assert self.min_replica_count <= self.max_replica_count
        return self


class ScaledObjectSpec(Bounded):
    """How a Deployment is scaled."""

    scale_target_ref: Named
    cooldown_period: Annotated[int, Field(ge=0)]
    fallback: Fallback
    advanced: Advanced
    triggers: Triggers


class ScaledObject(Strict):
    """keda.sh/v1alpha1."""

    api_version: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledObject"]
    metadata: Metadata
    spec: ScaledObjectSpec


class JobTarget(Strict):
    """A Job: its pods are checked as every other's are."""

    backoff_limit: Annotated[int, Field(ge=0)]
    ttl_seconds_after_finished: Annotated[int, Field(ge=0)]
    template: dict[str, Any]


class Rollout(Strict):
    """What a change does to Jobs that run: `gradual` leaves them."""

    strategy: Literal["default", "gradual"]


class ScalingStrategy(Strict):
    """How running Jobs count."""

    strategy: Literal["default", "accurate", "eager"]


class ScaledJobSpec(Bounded):
    """How Jobs are started."""

    successful_jobs_history_limit: int
    failed_jobs_history_limit: int
    rollout: Rollout
    scaling_strategy: ScalingStrategy
    job_target_ref: JobTarget
    triggers: Triggers


class ScaledJob(Strict):
    """keda.sh/v1alpha1."""

    api_version: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledJob"]
    metadata: Metadata
    spec: ScaledJobSpec


class Parameter(Strict):
    """A parameter of a scaler, out of a Secret."""

    parameter: Literal["apiKey", "cert", "key", "ca"]
    name: Name
    key: str


class TriggerAuthenticationSpec(Strict):
    """Where the credentials of a scaler are."""

    secret_target_ref: Annotated[list[Parameter], Field(min_length=1)]


class TriggerAuthentication(Strict):
    """keda.sh/v1alpha1."""

    api_version: Literal["keda.sh/v1alpha1"]
    kind: Literal["TriggerAuthentication"]
    metadata: Metadata
    spec: TriggerAuthenticationSpec
