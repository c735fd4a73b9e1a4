"""Settings of the demand service."""

from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from outlast.contracts.base import InputModel
from outlast_workers.settings_sections.setting_types import (
    MAX_CONCURRENCY,
    MAX_SETTING_S,
    Host,
    Port,
    QueueName,
    distinct,
    split,
)


class WatchedVersion(InputModel):
    """One worker deployment version on one task queue."""

    task_queue: QueueName
    deployment_name: str = Field(min_length=1)
    build_id: str = Field(min_length=1)


class PodSettings(InputModel):
    """Whether the demand service sets pod deletion costs in Kubernetes, and which pods are workers."""

    enabled: bool = False
    namespace: str = Field(default="", pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$")
    """Namespace of the worker pods. Empty means the namespace of the demand service."""
    prefix: str = ""
    """Prefix of the worker pods' names. The service ignores other host names."""


class TlsSettings(InputModel):
    """The PEM files of the demand service's certificate. Unset, its ports speak plain text."""

    cert: str = ""
    key: str = ""
    client_ca: str = ""
    """CA of client certificates: the gRPC port then admits only callers with a certificate of this CA."""

    @model_validator(mode="after")
    def _require_both(self) -> Self:
        if bool(self.cert) != bool(self.key) or (self.client_ca and not self.cert):
            raise PydanticCustomError("half", "needs cert and key, or neither")
        return self


class DemandSettings(InputModel):
    """The demand service: where it listens, and the task queues that it always reads.

    `slots` is the number of concurrent tasks of one worker, by task queue. `*` applies to all queues that
    are not listed.
    """

    host: Host = "127.0.0.1"
    port: Port = 8070
    grpc_port: Port = 8071
    token: Annotated[SecretStr | None, Field(min_length=16)] = None
    """The token that callers send. Prefer the variable OUTLAST_DEMAND__TOKEN to the file."""
    tls: TlsSettings = TlsSettings()
    # Servers update their counts every 5 s, so a shorter interval shows nothing new.
    poll_s: float = Field(default=5, ge=0.1, le=3_600)
    keep_s: float = Field(default=60, ge=0, le=MAX_SETTING_S)
    """Maximum age of a reading that is returned while Temporal does not answer."""
    queues: Annotated[tuple[QueueName, ...], BeforeValidator(split), AfterValidator(distinct)] = ()
    versions: tuple[WatchedVersion, ...] = ()
    only_watched: bool = False
    """Reject queries for other targets than those of `queues`, `versions` and the routes."""
    slots: dict[QueueName, Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)]] = Field(
        default_factory=dict
    )
    pods: PodSettings = PodSettings()
