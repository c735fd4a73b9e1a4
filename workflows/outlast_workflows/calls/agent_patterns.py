"""Patterns of agents: one call runs several agents as children, until their answers decide.

Each agent runs in a task of its own, because a task can be cancelled alone. Cancelling the task asks the
child to end, and waits: a cancelled child completes with what it has used, which then counts. A call that
ends, also because its run was cancelled, ends all of its tasks.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue
from temporalio import workflow

from outlast.agents.tools import MAX_RESULT_BYTES
from outlast.contracts.agent_patterns import AgentPattern
from outlast.contracts.agents import ToolSpec
from outlast.contracts.limits import MAX_RUN_TOKENS, RunLimits
from outlast.contracts.messages import ToolCall
from outlast.errors import ToolFailed
from outlast.text.json_text import to_json
from outlast_workflows.calls.ballot import Ballot, Outcome
from outlast_workflows.calls.call_batch import PlannedCall
from outlast_workflows.calls.child_agents import ChildAgents, ChildRun, child_id
from outlast_workflows.display_text import call_summary

END_WAIT_S = 60
"""How long a call waits for the agents that it has cancelled. A model call notices it within 6 s, but a
tool that changes something, or its compensation, may take longer. Their usage counts when they end, if the
run is still open."""

END_SUMMARY = "waits until the cancelled agents have ended"
"""What the UI shows beside the timer of that wait."""


@dataclass(frozen=True)
class PatternRun:
    """What the children of one call have in common: their budget is fixed when the call begins."""

    call: PlannedCall
    pattern: AgentPattern
    limits: RunLimits


def agent_runs(tool: ToolSpec, arguments: dict[str, JsonValue]) -> int:
    """Return how many agents a call of a tool runs: they share what is left of the budget."""
    if tool.kind != "agent" or tool.handoff_target is not None:
        return 0
    if tool.pattern is None:
        return 1
    if tool.pattern.kind == "map":
        inputs = arguments.get("inputs")
        return len(inputs) if isinstance(inputs, list) else 1
    return len(tool.pattern.agents)


class AgentPatterns:
    """Carries out the calls of one run whose tools are patterns of agents."""

    def __init__(self, children: ChildAgents) -> None:
        self._children = children

    async def run(self, call: PlannedCall, pattern: AgentPattern) -> str:
        """Return what the model reads about a call, as JSON text. An agent that fails is no failed run."""
        if pattern.kind == "map":
            inputs = call.arguments.get("inputs")
            if not isinstance(inputs, list) or not 0 < len(inputs) <= pattern.max_items:
                problem = f"inputs must be a list with 1 to {pattern.max_items} entries"
                return to_json({"error": f"{call.tool.name}: {problem}"})
            return await _Map(self, self._run_of(call, pattern), inputs).run()
        return await _Contest(self, self._run_of(call, pattern)).run()

    def _run_of(self, call: PlannedCall, pattern: AgentPattern) -> PatternRun:
        limits = self._children.share(call)
        if pattern.kind != "map" and limits.max_tokens is None:
            # A run with a limit knows what a cancelled model call used (see `ModelCalls`), and agents that
            # lose are cancelled.
            limits = limits.model_copy(update={"max_tokens": MAX_RUN_TOKENS})
        return PatternRun(call, pattern, limits)

    async def outcome(self, run: PatternRun, number: int, agent: str, value: JsonValue) -> Outcome:
        """Run one agent, and return its answer or why it has none."""
        call_id = f"{run.call.id}.{number}"
        child = ChildRun(
            agent,
            value,
            # The deadline is that of the run, and this child may start late.
            run.limits.model_copy(update={"deadline_s": self._children.share(run.call).deadline_s}),
            f"agent {agent} (call {call_id})",
            call_summary(ToolCall(tool=agent, arguments={"input": value})),
            self._children.keys.of_child(call_id, agent),
        )
        suffix = f"/{call_id}-{agent}-{workflow.uuid4().hex[:12]}"
        try:
            result = await self._children.result_of(
                child, lambda: child_id(workflow.info().workflow_id, suffix)
            )
        except ToolFailed as error:
            return Outcome(agent, problem=str(error.message))
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            return Outcome(agent, problem="it was cancelled")
        if _is_cancelled():
            # A cancelled child completes with a result, but its cancelled task must stop.
            raise asyncio.CancelledError
        if result.status != "completed":
            return Outcome(agent, problem=f"it stopped: {result.stop_reason}")
        size = len(to_json(result.output_json).encode(errors="replace"))
        if size > MAX_RESULT_BYTES:
            return Outcome(
                agent,
                problem=f"its answer has {size:,} bytes; at most {MAX_RESULT_BYTES:,} are read",
            )
        return Outcome(agent, result.output_json, size=size)


class _Contest:
    """The agents of one `race`, `quorum` or `hedge`, which run until enough equal answers decide."""

    def __init__(self, patterns: AgentPatterns, run: PatternRun) -> None:
        self._patterns = patterns
        self._run = run
        self._tasks: list[asyncio.Task[Outcome]] = []
        self._ballot = Ballot(run.pattern, run.call.tool.name)

    async def run(self) -> str:
        """Return what the model reads. The agents that still run then are cancelled."""
        try:
            await self._decide()
        finally:
            await end_all(self._tasks)
        return self._ballot.text()

    async def _decide(self) -> None:
        counted: set[int] = set()
        self._start()
        while not self._ballot.is_decided:
            running = [task for number, task in enumerate(self._tasks) if number not in counted]
            if not running:
                self._start()  # of a hedge, all have failed: the next one starts at once
                continue
            # All tasks and handlers run meanwhile. The ballot is changed by this task alone.
            if not await self._next_outcome(running):
                self._start()
            for number, task in enumerate(self._tasks):
                if task.done() and number not in counted and not self._ballot.is_decided:
                    counted.add(number)
                    self._ballot.count(task.result())

    def _start(self) -> None:
        """Start the next agent of a hedge, or all agents."""
        pattern, first = self._run.pattern, len(self._tasks)
        last = len(pattern.agents) if pattern.delay_s is None else first + 1
        for number, agent in enumerate(pattern.agents[first:last], start=first + 1):
            value = self._run.call.arguments.get("input")
            outcome = self._patterns.outcome(self._run, number, agent, value)
            self._tasks.append(asyncio.ensure_future(outcome))

    async def _next_outcome(self, running: "list[asyncio.Task[Outcome]]") -> bool:
        """Wait for an outcome; return False if the delay of a hedge passes first."""
        pattern = self._run.pattern
        if pattern.delay_s is None or len(self._tasks) == len(pattern.agents):
            await workflow.wait(running, return_when=asyncio.FIRST_COMPLETED)
            return True
        summary = f"hedge: starts {pattern.agents[len(self._tasks)]} if there is no answer"
        async with _timer(pattern.delay_s, summary) as timer:
            await workflow.wait([*running, timer], return_when=asyncio.FIRST_COMPLETED)
            return any(task.done() for task in running)


class _Map:
    """The runs of one agent, one for each input, so many at the same time."""

    def __init__(
        self, patterns: AgentPatterns, run: PatternRun, inputs: Sequence[JsonValue]
    ) -> None:
        self._patterns = patterns
        self._run = run
        self._inputs = inputs
        self._outcomes: dict[int, Outcome] = {}
        self._next = 0
        self._bytes_left = MAX_RESULT_BYTES

    async def run(self) -> str:
        """Return the outputs of all inputs in their order, and the errors of those that have none."""
        count = min(self._run.pattern.concurrency, len(self._inputs))
        workers = [asyncio.ensure_future(self._work()) for _ in range(count)]
        try:
            await asyncio.gather(*workers)
        finally:
            await end_all(workers)
        return to_json(self._result())

    async def _work(self) -> None:
        """Run one input after the other, until none is left or the result is full."""
        while self._next < len(self._inputs) and self._bytes_left > 0:
            index = self._next
            self._next += 1
            (agent,) = self._run.pattern.agents
            outcome = await self._patterns.outcome(self._run, index + 1, agent, self._inputs[index])
            # In one step, without an await: the workers share the room that is left.
            self._outcomes[index] = self._fitted(outcome)

    def _fitted(self, outcome: Outcome) -> Outcome:
        size = outcome.size or len(outcome.problem.encode())
        if size <= self._bytes_left:
            self._bytes_left -= size
            return outcome
        self._bytes_left = 0
        return Outcome(
            outcome.agent, problem=f"all answers together have over {MAX_RESULT_BYTES:,} bytes"
        )

    def _result(self) -> JsonValue:
        indexes = range(len(self._inputs))
        failed = [index for index in sorted(self._outcomes) if self._outcomes[index].problem]
        return {
            "outputs": [self._outcomes[n].answer if n in self._outcomes else None for n in indexes],
            "errors": [{"index": n, "error": self._outcomes[n].problem} for n in failed],
            "completed": len(self._outcomes) - len(failed),
            "failed": len(failed),
            "skipped": len(self._inputs) - len(self._outcomes),
        }


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def end_all(tasks: "Sequence[asyncio.Task[Any]]") -> None:
    """Cancel the agents that run, and wait until they have ended, for at most `END_WAIT_S`."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        ended = asyncio.ensure_future(workflow.wait(running))
        async with _timer(END_WAIT_S, END_SUMMARY) as timer:
            ends: list[asyncio.Task[Any]] = [ended, timer]
            await workflow.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done() and not workflow.unsafe.is_replaying():
            workflow.logger.warning(
                "agent_pattern.agents_not_ended", extra={"within_s": END_WAIT_S}
            )
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # mark it as seen


@contextlib.asynccontextmanager
async def _timer(after_s: float, summary: str) -> AsyncIterator["asyncio.Task[None]"]:
    """Run a timer until the block ends; the UI shows `summary` beside it."""
    timer = asyncio.ensure_future(workflow.sleep(after_s, summary=summary))
    try:
        yield timer
    finally:
        timer.cancel()
