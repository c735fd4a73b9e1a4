"""Strict models of the objects of the Temporal worker controller that we write, as of version 1.8.1."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tests.deploy.keda import ScaledObjectSpec, TemporalTrigger
from tests.deploy.strict import Address, Digits, Duration, Metadata, Name, Named, Strict, Types


class Key(Strict):
    """A key of a Secret."""

    name: Name
    key: str


class ConnectionTls(Strict):
    """How the controller checks the server."""

    server_name: str | None = None
    ca_cert_secret_ref: Named | None = None


class ConnectionSpec(Strict):
    """How the controller and its workers reach Temporal."""

    host_port: Address
    tls: ConnectionTls | None = None
    mutual_tls_secret_ref: Named | None = Field(default=None, alias="mutualTLSSecretRef")
    api_key_secret_ref: Key | None = Field(default=None, alias="apiKeySecretRef")

    @model_validator(mode="after")
    def _as_the_controller_has_it(self) -> "ConnectionSpec":
        assert self.mutual_tls_secret_ref is None or self.api_key_secret_ref is None
        assert not (self.mutual_tls_secret_ref and self.tls and self.tls.ca_cert_secret_ref)
        return self


class Connection(Strict):
    """temporal.io/v1alpha1."""

    api_version: Literal["temporal.io/v1alpha1"]
    kind: Literal["Connection"]
    metadata: Metadata
    spec: ConnectionSpec


class WorkerOptions(Strict):
    """What the controller tells workers."""

    connection_ref: Named
    temporal_namespace: Annotated[str, Field(min_length=1)]
    unsafe_custom_build_id: Annotated[
        str,
        Field(
            pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?$",
            max_length=63,
            alias="unsafeCustomBuildID",
        ),
    ]


class Step(Strict):
    """A step of a progressive rollout."""

    ramp_percentage: Annotated[int, Field(ge=1, le=99)]
    pause_duration: Duration


class RolloutSpec(Strict):
    """How new runs come to a new build."""

    strategy: Literal["Manual", "AllAtOnce", "Progressive"]
    steps: Annotated[list[Step], Field(min_length=1, max_length=20)] | None = None

    @model_validator(mode="after")
    def _steps_are_for_progressive(self) -> "RolloutSpec":
        assert (self.strategy == "Progressive") == (self.steps is not None)
        return self


class Sunset(Strict):
    """When a drained build goes."""

    scaledown_delay: Duration
    delete_delay: Duration


class WorkerDeploymentSpec(Strict):
    """Workers that the controller rolls out by build."""

    replicas: int | None = None
    progress_deadline_seconds: int
    worker_options: WorkerOptions
    rollout: RolloutSpec
    sunset: Sunset
    template: dict[str, Any]


class DeploymentName(Metadata):
    """The controller adds the build to it, and Deployments have 47 characters."""

    name: Annotated[str, Field(max_length=47)]


class WorkerDeployment(Strict):
    """temporal.io/v1alpha1."""

    api_version: Literal["temporal.io/v1alpha1"]
    kind: Literal["WorkerDeployment"]
    metadata: DeploymentName
    spec: WorkerDeploymentSpec


class Injected(Strict):
    """An empty object, which the controller fills in."""


class InjectedMetadata(Strict):
    """The controller fills in what is empty, and refuses what is not."""

    endpoint: Address
    namespace: Literal[""]
    task_queue: str
    queue_types: Types
    target_queue_size: Digits
    worker_deployment_name: Literal[""]
    worker_deployment_build_id: Literal[""]


class InjectedTrigger(TemporalTrigger):
    """A trigger of each build."""

    metadata: InjectedMetadata  # type: ignore[assignment]  # empty strings are all that differs


class InjectedScaledObjectSpec(ScaledObjectSpec):
    """How each build is scaled."""

    scale_target_ref: Injected  # type: ignore[assignment]  # the controller names the Deployment
    triggers: list[InjectedTrigger]  # type: ignore[assignment]  # see there


class InjectedScaledObject(Strict):
    """A ScaledObject without a name: the controller gives one."""

    api_version: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledObject"]
    spec: InjectedScaledObjectSpec


class ResourceTemplateSpec(Strict):
    """A resource that the controller makes for each build."""

    worker_deployment_ref: Named
    template: InjectedScaledObject


class WorkerResourceTemplate(Strict):
    """temporal.io/v1alpha1."""

    api_version: Literal["temporal.io/v1alpha1"]
    kind: Literal["WorkerResourceTemplate"]
    metadata: Metadata
    spec: ResourceTemplateSpec
