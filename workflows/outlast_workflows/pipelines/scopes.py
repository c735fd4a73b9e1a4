"""What loops, forks and tries need of the interpreter."""

from datetime import timedelta
from typing import Protocol

from pydantic import JsonValue

from outlast.pipelines.tasks import TaskList
from outlast_workflows.pipelines.evaluation import Evaluator, Variables
from outlast_workflows.pipelines.gate import Gate
from outlast_workflows.pipelines.state import PipelineState


class Scopes(Protocol):
    """Runs lists of tasks in scopes of their own."""

    state: PipelineState
    gate: Gate
    evaluator: Evaluator

    async def tasks(
        self, tasks: TaskList, data: JsonValue, variables: Variables, address: str
    ) -> JsonValue:
        """Run a list of tasks, and return its output."""
        ...

    async def wait(self, duration: timedelta, summary: str, address: str) -> None:
        """Wait for a timer."""
        ...

    def forget(self, address: str) -> None:
        """Drop the cursors of an address, and of everything in it."""
        ...
