"""The activity that checks which workflow handed its state over to a run."""

from datetime import timedelta

from temporalio import activity
from temporalio.api.enums.v1 import ContinueAsNewInitiator
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from outlast.errors import BadRequest

RPC_TIMEOUT = timedelta(seconds=10)
"""The timeout of one call to the server. After it the attempt fails, and Temporal retries it."""

NOT_BY_WORKFLOW = (
    ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE,
    ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_RETRY,
)
"""The server started the next run itself, with the input of the first. The test server names nobody."""


class ChainActivities:
    """Checks chains of runs with the server's own records, which no client can forge."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn(name="check_chain")
    async def check_chain(self) -> None:
        """Raise `BadRequest` unless a run of the same workflow type and task queue continued as this run.

        The worker of that run ran this code, or was trusted with its task queue. A run that fails here does
        not continue, so the check of each run holds for the chain before it.
        """
        info = activity.info()
        workflow_id, run_id = info.workflow_id or "", info.workflow_run_id
        own = self._client.get_workflow_handle(workflow_id, run_id=run_id)
        events = own.fetch_history_events(page_size=1, rpc_timeout=RPC_TIMEOUT)
        started = (await anext(events)).workflow_execution_started_event_attributes
        previous = self._client.get_workflow_handle(
            workflow_id, run_id=started.continued_execution_run_id
        )
        try:
            described = await previous.describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            raise BadRequest(
                "input: the run that handed its state over is not on the server any more"
            ) from None
        if started.initiator in NOT_BY_WORKFLOW or not started.continued_execution_run_id:
            raise BadRequest("input: has the state of a run, but no run handed it over")
        if described.workflow_type != info.workflow_type:
            raise BadRequest(
                f"input: {described.workflow_type!r} handed the state over; only {info.workflow_type} may"
            )
        if described.task_queue != started.task_queue.name:
            raise BadRequest(
                f"input: a run of the task queue {described.task_queue!r} handed the state over; only one"
                f" of {started.task_queue.name!r} may"
            )
