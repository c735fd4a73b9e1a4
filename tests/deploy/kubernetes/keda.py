"""The metadata of KEDA's triggers, which its CRD does not know: what each scaler of KEDA 2.20.2 reads.

Read from `pkg/scalers/external_scaler.go`, `metrics_api_scaler.go`, `temporal_scaler.go` and
`authentication/authentication_types.go` of kedacore/keda v2.20.2. The models hold the keys that we write,
and no others.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, model_validator

from tests.deploy.kubernetes.strict import Address, Digits, Named, Strict, Types

Decimal = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$")]


class Versioned(Strict):
    """What a trigger says of the worker deployment version: both, or neither."""

    worker_deployment_name: str | None = None
    worker_deployment_build_id: str | None = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> "Versioned":
        assert (self.worker_deployment_name is None) == (self.worker_deployment_build_id is None)
        return self


class ExternalMetadata(Versioned):
    """For our external scaler. KEDA itself reads the address and enableTLS."""

    scaler_address: Address
    enable_tls: Literal["true"] | None = Field(default=None, alias="enableTLS")
    task_queue: str
    queue_types: Types
    slots_per_worker: Digits
    target_utilization: Digits
    activation_demand: Digits


class MetricsApiMetadata(Strict):
    """For the JSON of our demand service."""

    url: Annotated[str, Field(pattern=r"^https?://[a-z0-9.-]+:8070/demand/[^?]+\?[^ ]+$")]
    format: Literal["json"]
    value_location: Literal["demand"]
    target_value: Decimal
    activation_target_value: Digits
    auth_mode: Literal["bearer"] | None = None
    auth_modes: Literal["tls,bearer"] | None = None


class TemporalMetadata(Versioned):
    """For KEDA's own scaler, 2.20 and later."""

    endpoint: Address
    namespace: str
    task_queue: str
    queue_types: Types
    target_queue_size: Digits
    tls_server_name: str | None = None


class ExternalTrigger(Strict):
    """Asks our demand service by gRPC."""

    type: Literal["external"]
    name: str | None = None
    metadata: ExternalMetadata
    authentication_ref: Named | None = None


class MetricsApiTrigger(Strict):
    """Asks our demand service by HTTP."""

    type: Literal["metrics-api"]
    name: str | None = None
    metadata: MetricsApiMetadata
    authentication_ref: Named | None = None


class TemporalTrigger(Strict):
    """Asks Temporal."""

    type: Literal["temporal"]
    name: str | None = None
    metadata: TemporalMetadata
    authentication_ref: Named | None = None


TRIGGER: TypeAdapter[Any] = TypeAdapter(
    Annotated[ExternalTrigger | MetricsApiTrigger | TemporalTrigger, Field(discriminator="type")]
)

PARAMETERS: Mapping[str, frozenset[str]] = {
    "external": frozenset({"caCert", "tlsClientCert", "tlsClientKey"}),
    "metrics-api": frozenset({"token", "ca", "cert", "key"}),
    "temporal": frozenset({"apiKey", "ca", "cert", "key"}),
}
"""By trigger: the parameters that a TriggerAuthentication may give it."""


def speaks_tls(parameters: set[str]) -> bool:
    """Return whether the temporal scaler connects with TLS (`buildTemporalTLSConfig`)."""
    return "apiKey" in parameters or {"cert", "key"} <= parameters
