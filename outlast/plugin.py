"""The Temporal plugin, which sets the data converter, the sandbox and the failure types.

Clients, workers, replayers and tests use the same plugin. A worker also uses the plugins of its client.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverter, PayloadConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import (
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from outlast.contracts.names import AGENT_WORKFLOW
from outlast.errors import BadRequest, Failure, OutlastError

PASSED_THROUGH = ("outlast", "outlast_activities", "pydantic", "pydantic_core", "annotated_types")
"""Modules that the sandbox shares. It imports all others again for each run."""


MAX_MESSAGE = 10_000
MAX_STACK_TRACE = 20_000
"""Characters of a failure that a history records."""


class OutlastPlugin(SimplePlugin):
    """Configures a client, worker or replayer for outlast's workflows and activities."""

    def __init__(self) -> None:
        super().__init__(
            "OutlastPlugin",
            data_converter=_data_converter,
            interceptors=[SingleInput()],
            workflow_runner=_workflow_runner,
            workflow_failure_exception_types=[OutlastError],
        )


class SingleInput(Interceptor):
    """Rejects more than one input, which would make each task of `AgentWorkflow` fail."""

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002 the SDK's signature
    ) -> type[WorkflowInboundInterceptor]:
        """Return the interceptor of one run."""
        return _SingleInputInbound


class _SingleInputInbound(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        if _has_several_inputs(input.args):
            raise BadRequest(f"input: give one JSON object, not {len(input.args)} inputs")
        return await super().execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:  # noqa: A002
        if _has_several_inputs(input.args):
            workflow.logger.warning("signal.rejected", extra={"signal": input.signal})
            return
        await super().handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:  # noqa: A002
        if _has_several_inputs(input.args):
            raise BadRequest(f"{input.query}: give one JSON object, not {len(input.args)} inputs")
        return await super().handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:  # noqa: A002
        if _has_several_inputs(input.args):
            raise BadRequest(f"{input.update}: give one JSON object, not {len(input.args)} inputs")
        super().handle_update_validator(input)


def _has_several_inputs(arguments: Sequence[object]) -> bool:
    return len(arguments) > 1 and workflow.info().workflow_type == AGENT_WORKFLOW


class FailureConverter(DefaultFailureConverter):
    """Limits the size of failures, and drops the stack traces of outlast's own."""

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: FailureProto
    ) -> None:
        """Fill `failure` from `exception`."""
        super().to_failure(exception, payload_converter, failure)
        if isinstance(exception, Failure):
            failure.stack_trace = ""
        # The server rejects a failure that is too large, and the cause would be lost.
        failure.message = failure.message[:MAX_MESSAGE]
        failure.stack_trace = failure.stack_trace[:MAX_STACK_TRACE]


def _data_converter(existing: DataConverter | None) -> DataConverter:
    """Return the data converter; the codec and the storage of an existing one are kept."""
    return dataclasses.replace(
        existing or DataConverter.default,
        payload_converter_class=pydantic_data_converter.payload_converter_class,
        failure_converter_class=FailureConverter,
    )


def _workflow_runner(existing: WorkflowRunner | None) -> WorkflowRunner:
    if not isinstance(existing, SandboxedWorkflowRunner):
        return existing or SandboxedWorkflowRunner()
    restrictions = existing.restrictions.with_passthrough_modules(*PASSED_THROUGH)
    return dataclasses.replace(existing, restrictions=restrictions)
