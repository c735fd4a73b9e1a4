"""The Temporal plugin, which sets the data converter, the sandbox and the failure types.

Clients, workers, replayers and tests use the same plugin. A worker also uses the plugins of its client.
"""

import asyncio
import contextlib
import dataclasses
import functools
import threading
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.common import RawValue
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    ExternalStorage,
    PayloadCodec,
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError
from temporalio.plugin import SimplePlugin
from temporalio.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    UnsandboxedWorkflowRunner,
    WorkerConfig,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import ActivityHandle, ChildWorkflowHandle

from outlast.contracts.names import WORKFLOWS
from outlast.contracts.proofs import CALL_HEADER, CallProof
from outlast.errors import BadRequest, Failure, OutlastError
from outlast.temporal.call_headers import (
    CHILD_KEY_BASE,
    CHILD_KEY_HEADER,
    TEXT_HEADERS,
    text_of,
    text_payload,
)
from outlast.temporal.call_proof import CALL_PROOF
from outlast.temporal.local_attempts import MAY_BE_REPEATED, REPEATED_HEADER
from outlast.temporal.query_guard import QueryGuard
from outlast.text.error_text import clean_text, error_text, type_name

PASSED_THROUGH = ("outlast", "outlast_activities", "pydantic", "pydantic_core", "annotated_types")
"""Modules that the sandbox shares. It imports all others again for each run."""


MAX_MESSAGE = 10_000
MAX_STACK_TRACE = 20_000
"""Characters of a failure that a history records."""

MAX_CAUSES = 5
"""Causes of a failure that a history records, each with a message and a stack trace."""


class OutlastPlugin(SimplePlugin):
    """Configures a client, worker or replayer for outlast's workflows and activities.

    `codec` encodes payloads, for example to encrypt them, and `storage` holds large ones. Those of the data
    converter are kept instead.
    """

    def __init__(
        self, codec: PayloadCodec | None = None, storage: ExternalStorage | None = None
    ) -> None:
        super().__init__(
            "OutlastPlugin",
            data_converter=functools.partial(_data_converter, codec=codec, storage=storage),
            interceptors=[SingleInput(), CallsOfTools()],
            workflow_runner=_workflow_runner,
            workflow_failure_exception_types=[OutlastError],
        )

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Return the configuration of a worker, with the queries of `AgentWorkflow` guarded."""
        config = super().configure_worker(config)
        runner = config.get("unsandboxed_workflow_runner") or UnsandboxedWorkflowRunner()
        config["unsandboxed_workflow_runner"] = QueryGuard(runner)
        return config


class SingleInput(Interceptor):
    """Rejects more than one input, which would make each task of `AgentWorkflow` fail."""

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002 the SDK's signature
    ) -> type[WorkflowInboundInterceptor]:
        """Return the interceptor of one run."""
        return _SingleInputInbound


class _CallHeaderOutbound(WorkflowOutboundInterceptor):
    """Sends the proof, the idempotency key and the tenant of a call in headers of its activity.

    A child gets what begins its keys in a header too.
    Headers of local activities are not in the history, so they may differ in a replay.
    """

    was_replayed = False
    """Whether this process has the run from its history, and not from its start."""
    _live_length = 0

    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:  # noqa: A002
        input.headers = {**input.headers, **_call_headers()}
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> ActivityHandle[Any]:  # noqa: A002
        input.headers = {**input.headers, **_call_headers()}
        if self._may_be_repeated():
            input.headers = {**input.headers, REPEATED_HEADER: text_payload("yes")}
        return super().start_local_activity(input)

    async def start_child_workflow(
        self,
        input: StartChildWorkflowInput,  # noqa: A002
    ) -> ChildWorkflowHandle[Any, Any]:
        key_base = CHILD_KEY_BASE.get()
        if key_base:
            input.headers = {**input.headers, CHILD_KEY_HEADER: text_payload(key_base)}
        return await super().start_child_workflow(input)

    def _may_be_repeated(self) -> bool:
        """Tell whether this may be the first workflow task after a replay."""
        if not self.was_replayed or workflow.unsafe.is_replaying():
            return False
        length = workflow.info().get_current_history_length()
        self._live_length = self._live_length or length
        return length == self._live_length


def _call_headers() -> dict[str, Payload]:
    headers = {
        name: text_payload(text)
        for name, variable in TEXT_HEADERS.items()
        if (text := variable.get())
    }
    proof = CALL_PROOF.get()
    if proof is not None:
        data = proof.model_dump_json().encode()
        headers[CALL_HEADER] = Payload(metadata={"encoding": b"json/plain"}, data=data)
    return headers


class _SingleInputInbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self._calls = _CallHeaderOutbound(outbound)
        super().init(self._calls)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        self._calls.was_replayed = workflow.unsafe.is_replaying()
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
    return len(arguments) > 1 and workflow.info().workflow_type in WORKFLOWS


class CallsOfTools(Interceptor):
    """Reads the proof of a call from its header, and lets tools call `activity.heartbeat()`.

    Tools run outside of the worker's event loop, to which the SDK's heartbeats belong.
    """

    def intercept_activity(
        self,
        next: ActivityInboundInterceptor,  # noqa: A002 the SDK's signature
    ) -> ActivityInboundInterceptor:
        """Return the interceptor of one activity."""
        return _ActivityInbound(next)


class _ActivityInbound(ActivityInboundInterceptor):
    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        super().init(_ActivityOutbound(outbound))

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        for name, variable in TEXT_HEADERS.items():
            variable.set(text_of(input.headers.get(name)))
        MAY_BE_REPEATED.set(REPEATED_HEADER in input.headers)
        header = input.headers.get(CALL_HEADER)
        if header is not None:
            with contextlib.suppress(ValidationError):  # a call without a readable proof has none
                CALL_PROOF.set(CallProof.model_validate_json(header.data))
        return await super().execute_activity(input)


class _ActivityOutbound(ActivityOutboundInterceptor):
    def __init__(self, next: ActivityOutboundInterceptor) -> None:  # noqa: A002
        super().__init__(next)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def heartbeat(self, *details: Any) -> None:
        if self.info().is_local:
            return  # the server does not know the activity
        if threading.get_ident() == self._thread:
            super().heartbeat(*details)
        else:
            self._loop.call_soon_threadsafe(self.next.heartbeat, *details)


_CONVERTERS = PydanticPayloadConverter().converters
"""The converters of all encodings. They hold pydantic's validators, and are safe in threads."""


class LenientPayloadConverter(PydanticPayloadConverter):
    """Decodes as pydantic does. Several inputs that cannot be decoded stay raw, to be rejected by name.

    The SDK ignores the types of a workflow that takes one input if it is given several. To decode them
    without a type can fail, which would fail the workflow task without end.

    All instances share their converters: the SDK creates an instance for each workflow task and each
    activity, which would build its validators again.
    """

    def __init__(self) -> None:
        self.converters = _CONVERTERS

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """Return the decoded payloads."""
        try:
            return super().from_payloads(payloads, type_hints)
        except Exception:
            if len(payloads) < 2 or type_hints:
                raise
            return [RawValue(payload) for payload in payloads]


class FailureConverter(DefaultFailureConverter):
    """Limits the size of failures, drops the stack traces of outlast's own, and never fails itself."""

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: FailureProto
    ) -> None:
        """Fill `failure` from `exception`."""
        _cut_causes(exception)
        try:
            super().to_failure(exception, payload_converter, failure)
        except Exception:  # noqa: BLE001 exceptions of other people may be anything
            failure.Clear()
            plain = ApplicationError(
                error_text(exception),
                type=clean_text(str(vars(exception).get("_type") or type_name(exception))),
                non_retryable=bool(vars(exception).get("_non_retryable", False)),
            )
            super().to_failure(plain, payload_converter, failure)
        if isinstance(exception, Failure):
            failure.stack_trace = ""
        # The server rejects a failure that is too large, and the cause would be lost.
        failure.message = failure.message[:MAX_MESSAGE]
        failure.stack_trace = failure.stack_trace[:MAX_STACK_TRACE]

    def from_failure(
        self, failure: FailureProto, payload_converter: PayloadConverter
    ) -> BaseException:
        """Return a failure as an exception, without its details if nobody can decode them."""
        try:
            return super().from_failure(failure, payload_converter)
        except Exception:  # noqa: BLE001 details of other workers may raise anything
            bare = FailureProto()
            bare.CopyFrom(failure)
            for info, details in _DETAILS.items():
                if bare.HasField(info):
                    getattr(bare, info).ClearField(details)
            return super().from_failure(bare, payload_converter)


_DETAILS: dict[Any, Any] = {
    "application_failure_info": "details",
    "canceled_failure_info": "details",
    "timeout_failure_info": "last_heartbeat_details",
}
"""Where a failure has payloads of the worker that failed."""


def _cut_causes(exception: BaseException) -> None:
    """Cut the chain of causes, which may be long, or a circle."""
    error = exception
    for _ in range(MAX_CAUSES):
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            return
        error = cause
    error.__cause__ = None
    error.__suppress_context__ = True


def _data_converter(
    existing: DataConverter | None, codec: PayloadCodec | None, storage: ExternalStorage | None
) -> DataConverter:
    """Return the data converter; the codec and the storage of an existing one are kept."""
    converter = existing or DataConverter.default
    return dataclasses.replace(
        converter,
        payload_codec=converter.payload_codec or codec,
        external_storage=converter.external_storage or storage,
        payload_converter_class=LenientPayloadConverter,
        failure_converter_class=FailureConverter,
    )


def _workflow_runner(existing: WorkflowRunner | None) -> WorkflowRunner:
    if not isinstance(existing, SandboxedWorkflowRunner):
        return existing or SandboxedWorkflowRunner()
    restrictions = existing.restrictions.with_passthrough_modules(*PASSED_THROUGH)
    return dataclasses.replace(existing, restrictions=restrictions)
