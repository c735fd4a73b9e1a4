"""Answers of agents that check more than a JSON Schema: with their output type, or with `@agent.check`."""

import asyncio
from datetime import timedelta

from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from outlast.contracts.agents import CheckedOutput, OutputToCheck, PinnedAgent
from outlast.errors import AgentFailed, AnswerRejected, ModelError, ModelFailure, NoWorker
from outlast.text.texts import cut
from outlast_workflows.payloads import result_of
from outlast_workflows.step_failures import cause_of

MAX_WRONG_ANSWERS = 3
"""Answers in a row that the output type or a check rejects. After the last one, the run fails."""

CHECK_TIMEOUT = timedelta(seconds=30)
"""One attempt to validate an answer."""

CHECK_WAIT = timedelta(hours=1)
"""All attempts to validate an answer, with the wait for a worker."""

CHECK_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=5)

MAX_PROBLEM_BYTES = 2_000
"""What a model reads about a wrong answer."""


class OutputCheck:
    """Validates the answers of one run."""

    def __init__(self, agent: PinnedAgent, tenant: str) -> None:
        self._agent = agent
        self._tenant = tenant
        self._wrong = 0

    async def problem(self, answer: JsonValue, turn: int) -> str | None:
        """Return what the model must read about an answer that is rejected, or None.

        After `MAX_WRONG_ANSWERS`, raises `ModelError` if the type rejects it, and `AnswerRejected` if a
        check does. Raises `AgentFailed` for a broken check, and `NoWorker` if nobody can validate it.
        """
        if not self._agent.checks_output:
            return None
        try:
            # Handlers run meanwhile. They change the inbound state, which is not read here.
            result: RawValue = await workflow.execute_activity(
                "check_output",
                OutputToCheck(agent=self._agent.name, answer=answer, tenant=self._tenant),
                result_type=RawValue,
                activity_id=f"{turn}.answer",
                start_to_close_timeout=CHECK_TIMEOUT,
                schedule_to_close_timeout=CHECK_WAIT,
                retry_policy=CHECK_RETRY,
                summary=f"turn {turn} · validate the answer",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            cause = error.cause
            if isinstance(cause, ApplicationError) and cause.type == AgentFailed.__name__:
                raise AgentFailed(f"turn {turn}: {cause.message}") from None
            raise NoWorker(f"the answer could not be validated: {cause_of(error)}") from None
        checked = _parse_result(result)
        if checked.problem is None:
            self._wrong = 0
            return None
        self._wrong += 1
        reason = cut(checked.problem, MAX_PROBLEM_BYTES)
        if self._wrong >= MAX_WRONG_ANSWERS:
            if checked.check is not None:
                raise AnswerRejected(
                    f"turn {turn}: {self._wrong} answers were rejected; the last one by the check"
                    f" {checked.check!r}: {reason}"
                )
            raise ModelError(
                f"turn {turn}: {self._wrong} answers were no values of the output type: {reason}",
                kind=ModelFailure.SCHEMA_INVALID,
            )
        return f"Your answer is not valid: {reason}. Answer again."


def _parse_result(result: RawValue) -> CheckedOutput:
    try:
        return result_of(CheckedOutput, result)
    except ValueError as error:
        raise NoWorker(f"the check of the answer returned an invalid result: {error}") from None
