"""The activity that validates an answer with the output type and the checks of its agent.

A `generate` worker knows no types. Validators and checks are code of other people, so they run like a tool.
"""

import asyncio
from typing import Any

from pydantic import JsonValue, ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from outlast.agents.agent import Agent
from outlast.agents.catalog import Catalog
from outlast.agents.tool_context import RunContext
from outlast.contracts.agents import CheckedOutput, OutputToCheck
from outlast.errors import AgentFailed, Retry
from outlast.output_types import type_problem
from outlast.text.json_text import to_json
from outlast.text.texts import cut
from outlast_activities.tool_runner import ToolRunner, is_of_worker

OUTPUT_CHECK_S = 20.0
"""How long the validators of one answer may take. It is less than the timeout of the activity."""

CHECK_S = 20.0
"""How long one check of an answer may take."""

ALL_CHECKS_S = 28.0
"""How long the validators and checks of an answer may take together. It is less than the timeout of the
activity, so that the failure names the check that was running."""

MAX_RETURNED_BYTES = 60
"""The value that a check returned, in the failure."""


class OutputActivities:
    """Validates answers with the types and the checks of this worker's agents."""

    def __init__(self, catalog: Catalog, runner: ToolRunner) -> None:
        self._catalog = catalog
        self._runner = runner

    @activity.defn(name="check_output")
    async def check_output(self, input: OutputToCheck) -> CheckedOutput:  # noqa: A002 Temporal's word
        """Return why an answer is not valid, if it is not. Raises `AgentFailed` for a broken check."""
        agent = self._catalog.agents.get(input.agent)
        if agent is None:
            # Another worker may know it.
            raise ApplicationError(f"agent {input.agent!r} is not registered with this worker")
        ends_at = asyncio.get_running_loop().time() + ALL_CHECKS_S
        try:
            async with asyncio.timeout(OUTPUT_CHECK_S):
                problem, value = await self._validate(agent, input.answer)
        except TimeoutError:
            problem, value = f"its validators took longer than {OUTPUT_CHECK_S:g} s", None
        if problem is not None:
            return CheckedOutput(problem=problem)
        return await self._check(agent, value, _context(input.tenant), ends_at)

    async def _validate(self, agent: Agent[Any, Any], answer: JsonValue) -> tuple[str | None, Any]:
        """Return what is wrong with an answer, or the value of the output type."""

        def validate() -> tuple[str | None, Any]:
            try:
                return None, agent.output_type.validate_json(to_json(answer))
            except ValidationError as error:
                return type_problem(error), None

        try:
            result: tuple[str | None, Any] = await self._runner.call("validate", validate)
        except ApplicationError as error:
            if is_of_worker(error):
                raise  # the answer may be right
            return f"its validators failed: {error.type}: {error.message}", None
        return result

    async def _check(
        self, agent: Agent[Any, Any], value: Any, context: RunContext, ends_at: float
    ) -> CheckedOutput:
        """Call the checks of an answer, which must have ended at `ends_at` of the event loop."""
        for check in agent.checks:
            name = check.name
            what = f"the check {name!r} of agent {agent.name!r}"
            left_s = ends_at - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(min(CHECK_S, left_s)):
                    returned = await self._runner.call_for_agent(
                        agent.name, "check", check, context, value
                    )
            except TimeoutError:
                took = f"took longer than {CHECK_S:g} s"
                if left_s < CHECK_S:
                    took = (
                        f"had not ended after the {ALL_CHECKS_S:g} s that all checks have together"
                    )
                raise AgentFailed(f"{what} {took}", retryable=True) from None
            except ApplicationError as error:
                if error.type == Retry.__name__:
                    return CheckedOutput(problem=error.message, check=name)
                raise AgentFailed(
                    f"{what} failed: {error.type}: {error.message}", retryable=True
                ) from error.__cause__
            if returned is not None:
                shown = _shown(returned)
                raise AgentFailed(
                    f"{what} returned {shown}; return nothing, and raise Retry to reject an answer"
                )
        return CheckedOutput()


def _shown(value: object) -> str:
    """Return a value in words: of other people's classes only the name, because a `repr` may fail."""
    if isinstance(value, bool | int | float | str):
        return cut(repr(value), MAX_RETURNED_BYTES)
    return f"a value of the type {type(value).__name__}"


def _context(tenant: str) -> RunContext:
    info = activity.info()
    return RunContext(
        workflow_id=info.workflow_id or "",
        workflow_run_id=info.workflow_run_id or "",
        tenant=tenant,
    )
