"""The activity that validates an answer with the output type of its agent.

A `generate` worker knows no types. Validators of a type are code of other people, so they run like a tool.
"""

import asyncio

from pydantic import JsonValue
from temporalio import activity
from temporalio.exceptions import ApplicationError

from outlast.agents import Catalog
from outlast.contracts.agents import CheckedOutput, OutputToCheck
from outlast.output_types import output_problem
from outlast.text.json_text import from_json, to_json
from outlast.tools import tool
from outlast_activities.tool_runner import ToolRunner

OUTPUT_CHECK_S = 20.0
"""How long the validators of one answer may take. It is less than the timeout of the activity."""


class OutputActivities:
    """Validates answers with the types of this worker's agents."""

    def __init__(self, catalog: Catalog, runner: ToolRunner) -> None:
        self._catalog = catalog
        self._runner = runner

    @activity.defn(name="check_output")
    async def check_output(self, input: OutputToCheck) -> CheckedOutput:  # noqa: A002 Temporal's word
        """Return why an answer is not a value of its agent's type, if it is not."""
        agent = self._catalog.agents.get(input.agent)
        if agent is None:
            # Another worker may know it.
            raise ApplicationError(f"agent {input.agent!r} is not registered with this worker")
        if not agent.checks_output:
            return CheckedOutput()
        adapter = agent.output_type

        def check(answer: JsonValue) -> str | None:
            return output_problem(adapter, to_json(answer).encode())

        checking = tool(effect="read", name="validate")(check)
        data = to_json({"answer": input.answer}).encode()
        try:
            async with asyncio.timeout(OUTPUT_CHECK_S):
                problem = from_json(await self._runner.run(checking, data))
        except TimeoutError:
            problem = f"its validators took longer than {OUTPUT_CHECK_S:g} s"
        except ApplicationError as error:
            problem = f"its validators failed: {error.type}: {error.message}"
        return CheckedOutput(problem=None if problem is None else str(problem))
