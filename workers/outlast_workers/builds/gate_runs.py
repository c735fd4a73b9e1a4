"""Gate runs: runs of agents on a new build, which must complete before other runs start on it."""

import asyncio
from collections.abc import Callable
from typing import Any

from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import (
    PinnedVersioningOverride,
    WorkerDeploymentVersion,
    WorkflowIDConflictPolicy,
)
from temporalio.service import RPCError, RPCStatusCode

from outlast.client.client import Client
from outlast.client.runs import Run
from outlast.contracts.names import AGENT_WORKFLOW
from outlast.contracts.results import AgentResult
from outlast.errors import RunFailed
from outlast.start_requests import request_json
from outlast.text.texts import cut
from outlast_workers.builds.deployment import CALL_TIMEOUT
from outlast_workers.builds.plan import Gate

MAX_REASON_BYTES = 400
"""The cause of a failed gate run, as part of one line."""


async def run_gate(
    client: TemporalClient,
    gate: Gate,
    version: WorkerDeploymentVersion,
    *,
    task_queue: str,
    timeout_s: float,
    report: Callable[[str], None],
) -> str | None:
    """Run a gate on a build, and return why it did not complete, or None if it did.

    A run that a killed command started is awaited, and one that has completed is not repeated. `report` is
    called with what the run waits for.
    """
    run_id = gate.run_id(version.deployment_name, version.build_id)
    run = Client(client).get(run_id)
    status = await _status(client, run_id)
    try:
        if status is WorkflowExecutionStatus.COMPLETED and _problem(await run.result()) is None:
            return None
        await client.start_workflow(
            AGENT_WORKFLOW,
            request_json(agent=gate.agent, input=gate.input),
            id=run_id,
            task_queue=task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            versioning_override=PinnedVersioningOverride(version),
        )
        waits = asyncio.create_task(_report_waits(run, gate, report))
        try:
            async with asyncio.timeout(timeout_s):
                return _problem(await run.result())
        finally:
            waits.cancel()
            await asyncio.gather(waits, return_exceptions=True)
    except RunFailed as error:
        return cut(str(error), MAX_REASON_BYTES)
    except TimeoutError:
        await client.get_workflow_handle(run_id).cancel(rpc_timeout=CALL_TIMEOUT)
        return f"run {run_id!r} has not ended in {timeout_s:g} s, and was cancelled"


async def _report_waits(run: Run[Any], gate: Gate, report: Callable[[str], None]) -> None:
    async for entry in run.stream():
        if entry.role == "waiting":
            report(f"gate {gate.agent}: {entry.content}")


def _problem(result: AgentResult) -> str | None:
    if result.status == "completed":
        return None
    return f"the run stopped: {result.stop_reason}"


async def _status(client: TemporalClient, run_id: str) -> WorkflowExecutionStatus | None:
    try:
        described = await client.get_workflow_handle(run_id).describe(rpc_timeout=CALL_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return described.status
