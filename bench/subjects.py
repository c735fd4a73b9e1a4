"""What is measured: each subject's worker, how a run of it begins, and what it must have done."""

import sys
from dataclasses import dataclass
from typing import Any, Protocol

from temporalio.client import Client, WorkflowHandle

from bench.workload import FLOOR_QUEUE, NAIVE_QUEUE, QUESTION

AGENTS_QUEUE = "agents"

Handle = WorkflowHandle[Any, Any]


@dataclass(frozen=True)
class Load:
    """One run: its turns, the size of each tool result, and whether it waits when it is done.

    `model_s` is how long the model takes for the first token of an answer.
    """

    turns: int
    result_size: int = 500
    stay_open: bool = False
    model_s: float = 0


class Served(Protocol):
    """Something that a worker process serves."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def worker(self, model_url: str) -> list[str]:
        """Return the command of the worker process; variables (`NAME=value`) may come before it."""
        ...


class Subject(Served, Protocol):
    """Something that runs turns on Temporal."""

    async def start(self, client: Client, workflow_id: str, load: Load) -> Handle:
        """Start a run."""
        ...

    def turns_of(self, result: Any) -> int:
        """Return the turns that a result speaks of; raise `ValueError` for a run that failed."""
        ...


class Floor:
    """Two activities a turn that do nothing."""

    name = "floor"

    def worker(self, model_url: str) -> list[str]:  # noqa: ARG002 it calls no model
        """Return the command of the worker process."""
        return [sys.executable, "-m", "bench.worker", "floor"]

    async def start(self, client: Client, workflow_id: str, load: Load) -> Handle:
        """Start a run."""
        given = {"turns": load.turns, "stay_open": load.stay_open}
        return await client.start_workflow(
            "FloorWorkflow", given, id=workflow_id, task_queue=FLOOR_QUEUE
        )

    def turns_of(self, result: Any) -> int:
        """Return what the run returned."""
        return int(result)


class Naive:
    """The loop that hands the whole transcript to every model call."""

    name = "naive"

    def worker(self, model_url: str) -> list[str]:
        """Return the command of the worker process."""
        return [sys.executable, "-m", "bench.worker", "naive", "--model-url", model_url]

    async def start(self, client: Client, workflow_id: str, load: Load) -> Handle:
        """Start a run."""
        given = {
            "result_size": load.result_size,
            "max_turns": load.turns + 1,
            "stay_open": load.stay_open,
        }
        return await client.start_workflow(
            "NaiveLoop", given, id=workflow_id, task_queue=NAIVE_QUEUE
        )

    def turns_of(self, result: Any) -> int:
        """Return what the run returned."""
        return int(result)


class Outlast:
    """`AgentWorkflow` as a stranger starts it: a name, an input, and the worker's own command.

    Each tool call is an ordinary activity.
    """

    name = "outlast"
    queue = AGENTS_QUEUE
    is_local = "false"

    def worker(self, model_url: str) -> list[str]:
        """Return the command of the worker process."""
        variables = [
            f"OUTLAST_TOOLS__LOCAL={self.is_local}",
            f"OUTLAST_QUEUES__WORKFLOWS={self.queue}",
        ]
        worker = [sys.executable, "-m", "outlast.terminal.cli", "worker", "run"]
        return [*variables, *worker, "--agents", "bench.agents", "--model-url", model_url]

    async def start(self, client: Client, workflow_id: str, load: Load) -> Handle:
        """Start a run."""
        request = {
            "agent": f"bench-{load.result_size}",
            "input": QUESTION,
            "limits": {"max_turns": load.turns + 1},
            "mode": "conversation" if load.stay_open else "task",
        }
        return await client.start_workflow(
            "AgentWorkflow", request, id=workflow_id, task_queue=self.queue
        )

    def turns_of(self, result: Any) -> int:
        """Return the turns of a run that completed."""
        if result["status"] != "completed":
            raise ValueError(f"the run ended with {result}")
        return int(result["turns"])


class OutlastLocal(Outlast):
    """The same agents with local tools, which is the default of a worker."""

    name = "outlast-local"
    queue = "agents-local"
    is_local = "true"


FLOOR, NAIVE, OUTLAST, OUTLAST_LOCAL = Floor(), Naive(), Outlast(), OutlastLocal()
SUBJECTS: tuple[Subject, ...] = (FLOOR, NAIVE, OUTLAST, OUTLAST_LOCAL)
