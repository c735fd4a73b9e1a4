"""Settings of workers: routes, queues, concurrency, health, version, and what a request may ask for."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from outlast.contracts.base import InputModel
from outlast.contracts.names import Name
from outlast.errors import NotReady
from outlast_workers.settings_sections.setting_types import (
    MAX_CONCURRENCY,
    Host,
    Names,
    Port,
    QueueName,
    TypedRoute,
)

VERSION_VARIABLES = {
    "deployment_name": "TEMPORAL_DEPLOYMENT_NAME",
    "build_id": "TEMPORAL_WORKER_BUILD_ID",
}


class RoutesSettings(InputModel):
    """The routes of the runs that this process starts.

    `generate` and `tools` are the routes of all model calls and all tools. More specific routes override
    them: `model` by the name of the agent's model, `tool` by tool name, `tool_class` by the tool's class.
    Without a route, a step uses the task queue of its role (`Settings.queue`).
    """

    generate: TypedRoute | None = None
    tools: TypedRoute | None = None
    tool: dict[Name, TypedRoute] = Field(default_factory=dict)
    tool_class: dict[Name, TypedRoute] = Field(default_factory=dict)
    model: dict[str, TypedRoute] = Field(default_factory=dict)


class ToolsSettings(InputModel):
    """How the tools of the runs that this process starts are called."""

    local: bool = True
    """Call short tools as local activities, if the process that has the run serves them."""


class SpecsSettings(InputModel):
    """What a `spec` may ask for, on the workers of the role `workflows`. Unset, there is no limit.

    An empty list allows nothing. A spec without a model uses the default model, which is always allowed.
    """

    enabled: bool = True
    tools: Names | None = None
    models: Names | None = None
    audiences: Names | None = None
    """Audiences that the tools of a spec may ask, also in escalations."""


class QueuesSettings(InputModel):
    """The task queue that each role of this process polls. Unset, it is the default of the role."""

    workflows: QueueName | None = None
    generate: QueueName | None = None
    tools: QueueName | None = None


class ConcurrencySettings(InputModel):
    """Concurrent tasks of each role, and the number of runs that stay in memory between tasks."""

    # Temporal's core rejects a single slot for workflow tasks while it caches workflows.
    workflows: int = Field(default=100, ge=2, le=MAX_CONCURRENCY)
    generate: int = Field(default=32, ge=1, le=MAX_CONCURRENCY)
    tools: int = Field(default=100, ge=1, le=MAX_CONCURRENCY)
    cached_workflows: int = Field(default=1000, ge=0, le=MAX_CONCURRENCY)


class HealthSettings(InputModel):
    """Where the health endpoint listens. Without a port, there is no endpoint."""

    host: Host = "127.0.0.1"
    port: Port | None = None


class MetricsSettings(InputModel):
    """Where a worker serves the SDK's metrics for Prometheus. Without a port, it does not."""

    host: Host = "127.0.0.1"
    port: Port | None = None


class VersioningSettings(InputModel):
    """The worker deployment version of this process. Unset, its workers are not versioned.

    `TEMPORAL_DEPLOYMENT_NAME` and `TEMPORAL_WORKER_BUILD_ID` set it too. Temporal's worker controller for
    Kubernetes sets these variables.
    """

    deployment_name: str | None = Field(default=None, min_length=1)
    build_id: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _build_of_a_deployment(self) -> Self:
        if self.deployment_name is None and self.build_id is not None:
            raise PydanticCustomError(
                "half",
                "a build_id needs a deployment_name too ({build_id} and {deployment_name} set them)",
                VERSION_VARIABLES,
            )
        return self

    def require_build_id(self) -> None:
        """Raise `NotReady` if there is only a deployment: a command about all builds needs no more."""
        if self.deployment_name is not None and self.build_id is None:
            raise NotReady(
                f"versioning: workers of the deployment {self.deployment_name!r} need a build id too: set"
                f" {VERSION_VARIABLES['build_id']}, or the key versioning.build_id"
            )
