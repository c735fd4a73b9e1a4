"""Unknown outcomes: finds out whether a call happened, if its worker was lost or the run was cancelled.

A call with an effect is not repeated before that is known. Its `verify` tool finds out, or a person.
"""

import asyncio
from dataclasses import replace

from temporalio.exceptions import ActivityError, is_cancelled_exception

from outlast.contracts.effects import CompanionTool
from outlast.errors import NoWorker, ToolFailed
from outlast.jsonschema.schemas import Schema
from outlast.text.json_text import to_json
from outlast_workflows.calls.call_batch import CallBatch, PlannedCall
from outlast_workflows.calls.companion_calls import audience_of, verify_call
from outlast_workflows.calls.compensation import Compensation
from outlast_workflows.calls.tool_activities import ToolActivities
from outlast_workflows.display_text import call_summary
from outlast_workflows.people.human_requests import HumanRequests
from outlast_workflows.people.outcomes import question_outcome
from outlast_workflows.step_failures import cause_of, failure_line

NOT_HAPPENED = ("null", "false")
"""What a `verify` tool returns, as JSON, for a call that did not happen."""

HAPPENED_SUFFIX = ".happened"
"""What follows a call's id in that of the request to a person."""

HAPPENED = "it happened"
DID_NOT_HAPPEN = "it did not happen"
HAPPENED_ANSWER: Schema = {"type": "string", "enum": [HAPPENED, DID_NOT_HAPPEN]}


class UnknownOutcomes:
    """Finds out the unknown outcomes of one run's calls, and records the effects that happened."""

    def __init__(
        self, activities: ToolActivities, compensation: Compensation, requests: HumanRequests
    ) -> None:
        self._activities = activities
        self._compensation = compensation
        self._requests = requests

    async def find_out(self, call: PlannedCall, error: ActivityError, attempt: int) -> str | None:
        """Return the result of a call that happened, as JSON text, or None if it did not happen.

        `attempt` numbers the requests to people about repeats of the call. Raises `ToolFailed` if the
        outcome stays unknown.
        """
        failure = failure_line(error, call.tool, call.id)
        if call.tool.verify is not None:
            try:
                result = await self._verify(call, call.tool.verify)
            except (ActivityError, ToolFailed, NoWorker) as verify_error:
                if is_cancelled_exception(verify_error):
                    raise asyncio.CancelledError from verify_error
                cause = cause_of(verify_error)
                failure = f"{failure}; {call.tool.verify.tool} could not find out: {cause}"
            else:
                if result is not None:
                    self._compensation.record(call, result)
                return result
        return await self._ask(call, failure, attempt)

    async def _verify(self, call: PlannedCall, companion: CompanionTool) -> str | None:
        route, key = self._activities.route_of(call.tool), self._activities.keys.key_of(call)
        result = await self._activities.execute(verify_call(call, companion, route, key=key))
        return None if result in NOT_HAPPENED else result

    async def _ask(self, call: PlannedCall, failure: str, attempt: int) -> str | None:
        # The handler of `decide` runs while this waits; `HumanRequests` protects the request.
        suffix = HAPPENED_SUFFIX if attempt == 1 else f"{HAPPENED_SUFFIX}.{attempt}"
        settled, answer = await self._requests.ask_about(
            # Where the effect can be undone, people get the question even if another call ends the run.
            replace(
                call,
                id=f"{call.id}{suffix}",
                batch=call.batch if call.tool.compensate is None else CallBatch(),
            ),
            question=f"did this call happen? {call_summary(call.call)}: {failure}",
            answer_schema=HAPPENED_ANSWER,
            audience=audience_of(call.tool),
        )
        if answer == DID_NOT_HAPPEN:
            return None
        if answer == HAPPENED:
            self._compensation.record(call, None)
            return to_json({"happened": True, "said_by": question_outcome(settled)})
        raise ToolFailed(f"{failure}; {question_outcome(settled)}")
