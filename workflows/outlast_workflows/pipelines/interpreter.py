"""The interpreter: runs lists of tasks, and the tasks that contain others.

Branches and items of a pipeline run at the same time. They share the context, the counters and the
cursors: each changes the cursors of its own addresses only, and the rest in one step without an await.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from pydantic import JsonValue
from temporalio import workflow

from outlast.pipelines.errors import TIMEOUT
from outlast.pipelines.jq.values import is_true
from outlast.pipelines.tasks import (
    A2aCall,
    DoBody,
    ForBody,
    ForkBody,
    ListenBody,
    Pipeline,
    SetBody,
    SwitchBody,
    Task,
    TaskList,
    TryBody,
    WaitBody,
)
from outlast_workflows.pipelines.evaluation import Evaluator, TaskData, Variables
from outlast_workflows.pipelines.forks import run_fork
from outlast_workflows.pipelines.gate import Gate
from outlast_workflows.pipelines.leaves import Leaves
from outlast_workflows.pipelines.loops import run_for
from outlast_workflows.pipelines.state import Cursor, PipelineState
from outlast_workflows.pipelines.task_errors import PipelineEnded, TaskError
from outlast_workflows.pipelines.tries import run_try
from outlast_workflows.run_waits import traced_task
from outlast_workflows.time_limits import time_limit

ROOT = "do"
"""The address of the tasks of the document."""

SPANS = {
    WaitBody: "wait",
    ListenBody: "listen",
    ForBody: "for",
    ForkBody: "fork",
    DoBody: "do",
    TryBody: "try",
    A2aCall: "call",
}
"""The tasks that can take time and are not one activity, with the first words of their spans."""


@contextmanager
def _placed(place: str) -> Iterator[None]:
    """Give an error of the document itself its place."""
    try:
        yield
    except TaskError as error:
        raise error.at(place) from None


class Interpreter:
    """Runs the tasks of one pipeline. `running` gets those that run, by their addresses."""

    def __init__(
        self,
        pipeline: Pipeline,
        state: PipelineState,
        gate: Gate,
        leaves: Leaves,
        evaluator: Evaluator,
        running: dict[str, Task],
    ) -> None:
        self.state = state
        self.gate = gate
        self.evaluator = evaluator
        self._running = running
        self._pipeline = pipeline
        self._leaves = leaves

    async def run(self) -> JsonValue:
        """Return the output of the pipeline. Raises `TaskError` for an error that no `try` catches."""
        pipeline, evaluate = self._pipeline, self.evaluator
        if ROOT not in self.state.cursors:
            with _placed("/input"):
                evaluate.check(self.state.raw_input, pipeline.input_schema, "input")
            self.state.input = self.state.raw_input
            if pipeline.input_from is not None:
                with _placed("/input/from"):
                    self.state.input = evaluate.workflow_value(
                        pipeline.input_from, self.state.raw_input
                    )
        try:
            output = await self.tasks(pipeline.tasks, self.state.input, {}, ROOT)
        except PipelineEnded as end:
            output = end.output
        if pipeline.output_as is not None:
            with _placed("/output/as"):
                output = evaluate.workflow_value(pipeline.output_as, output)
        with _placed("/output"):
            evaluate.check(output, pipeline.output_schema, "output")
        return output

    async def tasks(
        self, tasks: TaskList, data: JsonValue, variables: Variables, address: str
    ) -> JsonValue:
        """Run a list of tasks, from its cursor if it has one, and return the output of the last."""
        cursors = self.state.cursors
        cursor = cursors.setdefault(address, Cursor(data=data))
        try:
            while cursor.place < len(tasks.tasks):  # bounded by the gate, which counts the tasks
                await self.gate.enter(self.state.task_runs)
                task = tasks.tasks[cursor.place]
                output, then = await self._task(
                    task, cursor, variables, f"{address}.{cursor.place}"
                )
                if then == "end":
                    raise PipelineEnded(output)
                place = cursor.place + 1
                if then == "exit":
                    place = len(tasks.tasks)
                elif then != "continue":
                    place = tasks.index_of(then)
                cursor = cursors[address] = Cursor(place=place, data=output)
            return cursor.data
        finally:
            self.forget(address)

    def forget(self, address: str) -> None:
        """Drop the cursor of an address, and those of everything in it."""
        self.state.cursors.pop(address, None)
        for key in [key for key in self.state.cursors if key.startswith(f"{address}.")]:
            del self.state.cursors[key]

    async def _task(
        self, task: Task, cursor: Cursor, variables: Variables, address: str
    ) -> tuple[JsonValue, str]:
        """Run one task; return its output, and what comes next."""
        self._running[address] = task
        try:
            return await self._transformed(task, cursor, variables, address)
        except TaskError as error:
            raise error.at(task.place) from None
        finally:
            del self._running[address]

    async def _transformed(
        self, task: Task, cursor: Cursor, variables: Variables, address: str
    ) -> tuple[JsonValue, str]:
        evaluate, raw_input = self.evaluator, cursor.data
        if not cursor.entered:
            self.state.task_runs += 1
            if task.condition is not None and not is_true(
                evaluate.before(task, variables, task.condition, raw_input)
            ):
                return raw_input, "continue"
            evaluate.check(raw_input, task.input_schema, "input")
            if task.input_from is not None:
                cursor.input = evaluate.before(task, variables, task.input_from, raw_input)
            cursor.entered = True
        task_input = raw_input if task.input_from is None else cursor.input
        data = TaskData(task, variables, raw_input, task_input, workflow.now())
        with traced_task(SPANS.get(type(task.body)), task.name, task.place, data.started_at):
            raw_output, then = await self._within_timeout(data, address)
        output = raw_output
        if task.output_as is not None:
            output = evaluate.output(data, task.output_as, raw_output)
        evaluate.check(output, task.output_schema, "output")
        if task.export_as is not None:
            self.state.context = evaluate.exported(data, task.export_as, output)
        return output, then

    async def _within_timeout(self, data: TaskData, address: str) -> tuple[JsonValue, str]:
        timeout = data.task.timeout
        if timeout is None:
            return await self._body(data, address)
        limit = self.evaluator.duration(data, timeout)
        try:
            async with time_limit(limit.total_seconds(), f"timeout of {data.task.name}"):
                return await self._body(data, address)
        except TimeoutError:
            raise TaskError(
                f"{data.task.name} took longer than {limit.total_seconds():g} s",
                type=TIMEOUT,
                status=408,
            ) from None

    async def _body(self, data: TaskData, address: str) -> tuple[JsonValue, str]:
        """Run what a task does; return its raw output, and what comes next."""
        body = data.task.body
        if isinstance(body, SwitchBody):
            return data.input, self._case(data, body)
        output: JsonValue
        match body:
            case SetBody():
                output = self.evaluator.value(data, body.value)
            case DoBody():
                output = await self.tasks(body.tasks, data.input, data.variables, address)
            case ForBody():
                output = await run_for(self, data, body, address)
            case ForkBody():
                output = await run_fork(self, data, body, address)
            case TryBody():
                output = await run_try(self, data, body, address)
            case _:
                output = await self._leaves.run(data, address)
        return output, data.task.then

    def _case(self, data: TaskData, body: SwitchBody) -> str:
        default = next((case.then for case in body.cases if case.when is None), data.task.then)
        for case in body.cases:
            if case.when is not None and self.evaluator.is_true(data, case.when):
                return case.then
        return default

    async def wait(self, duration: timedelta, summary: str, address: str) -> None:
        """Wait for a timer; after a continue-as-new, only for what is left of it."""
        await self._leaves.wait(duration, summary, address)
