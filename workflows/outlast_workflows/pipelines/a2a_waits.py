"""Waiting for the task of an A2A agent by timers, and asking people what the agent asks.

The wait survives workers and restarts of the agent. Between two polls, the run may continue as new.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio import workflow

from outlast.contracts.a2a_calls import AgentTask
from outlast.contracts.a2a_states import AUTH_REQUIRED, ENDED
from outlast.contracts.a2a_states import INPUT_REQUIRED as WAITS_FOR_INPUT
from outlast.pipelines.calls import DEFAULT_EXPIRY_S
from outlast.pipelines.errors import (
    AUTHENTICATION,
    INPUT_REQUIRED,
    RUNTIME,
    TIMEOUT,
)
from outlast.pipelines.tasks import A2aCall, AskCall
from outlast.pipelines.templates import Template
from outlast_workflows.pipelines.a2a_requests import A2aRequests, may_pass
from outlast_workflows.pipelines.calls import Calls
from outlast_workflows.pipelines.evaluation import TaskData
from outlast_workflows.pipelines.gate import Gate
from outlast_workflows.pipelines.loops import end_all
from outlast_workflows.pipelines.state import RemoteTask
from outlast_workflows.pipelines.task_errors import TaskError
from outlast_workflows.time_limits import SHORTEST_TIMER_S

AGENT_TASK_WITHIN = timedelta(days=7)
"""How long a pipeline waits for the task of an agent, by the clock of the run."""

FIRST_POLL_S = 1.0
"""The shortest pause before a pipeline asks for the state of a task again."""

POLL_SHARE = 4
"""A pause is the age of the task, divided by this: the longer it takes, the rarer the polls."""

MAX_POLL_S = 60.0
"""The longest pause while an agent works."""

MAX_PEOPLE_POLL_S = 3_600.0
"""The longest pause while a person has a question of the agent: others may answer it meanwhile."""

MAX_LOST_POLLS = 30
"""Polls in a row that may fail before the call fails: half an hour without the agent."""

MAX_QUESTIONS = 10
"""Questions that an agent may ask about one message."""

SAME_QUESTION_FOR = timedelta(minutes=10)
"""How long an agent may show a question as open after its answer. Then people get it again."""


class A2aWait:
    """One task of the pipeline that waits for the task of an agent."""

    def __init__(
        self,
        data: TaskData,
        body: A2aCall,
        remote: RemoteTask,
        *,
        gate: Gate,
        calls: Calls,
        requests: A2aRequests,
    ) -> None:
        self._name = data.task.name
        self._body = body
        self._remote = remote
        self._gate = gate
        self._calls = calls
        self._requests = requests

    async def end(self, task: AgentTask | None, enter: Callable[[], Awaitable[None]]) -> AgentTask:
        """Return a task when it has ended, or a reply without a task. `enter` holds it at the gate."""
        lost, rejection = 0, ""
        while True:  # bounded by AGENT_TASK_WITHIN
            if task is not None:
                if not task.id or task.state in ENDED:
                    return task
                if task.state == AUTH_REQUIRED:
                    raise TaskError(
                        "the agent needs an authorization that the pipeline does not have",
                        type=AUTHENTICATION,
                        status=401,
                        detail=task.text,
                    )
                if task.state == WAITS_FOR_INPUT and not self._has_answer(task):
                    rejection = await self._answer(task, rejection)
            await self._pause(MAX_POLL_S)
            await enter()
            try:
                task, lost = await self._requests.current(self._remote), 0
            except TaskError as error:
                task, lost = None, lost + 1
                if lost >= MAX_LOST_POLLS or not may_pass(error):
                    raise

    async def _pause(self, most_s: float) -> None:
        """Wait before the next poll. Raises `TaskError` when the task takes too long."""
        age = workflow.now() - self._remote.began_at
        left = AGENT_TASK_WITHIN - age
        if left <= timedelta(0):
            raise TaskError(
                f"the task of the agent took longer than {AGENT_TASK_WITHIN.days} days",
                type=TIMEOUT,
                status=408,
            )
        age = workflow.now() - (self._remote.answered_at or self._remote.began_at)
        pause_s = max(FIRST_POLL_S, min(most_s, age.total_seconds() / POLL_SHARE))
        pause_s = max(SHORTEST_TIMER_S, min(pause_s, left.total_seconds()))
        # Everything else runs meanwhile. It does not change the task.
        await workflow.sleep(pause_s, summary=f"{self._name} waits for the agent")

    def _has_answer(self, task: AgentTask) -> bool:
        """Return whether the status of a task is still that of the question that was answered last.

        Agents may take an answer, and go on later. One that asks anew has another message or time.
        """
        remote = self._remote
        if remote.answered_at is None or not task.status_id:
            return False
        is_same = task.status_id == remote.answered_status
        return is_same and workflow.now() - remote.answered_at < SAME_QUESTION_FOR

    async def _answer(self, task: AgentTask, rejection: str) -> str:
        """Ask people what an agent asks, and send their answer. Return why the agent rejects it, or ""."""
        question = f"{rejection}{task.text}"
        if not self._body.audience:
            raise TaskError(
                "the agent asks a question, and metadata.outlast.audience names nobody who answers",
                type=INPUT_REQUIRED,
                status=409,
                detail=question,
            )
        self._remote.answers += 1
        if self._remote.answers > MAX_QUESTIONS:
            raise TaskError(f"the agent asks more than {MAX_QUESTIONS} questions", detail=question)
        with self._gate.under_way(waits=True):
            answer = await self._answer_of_people(task, question)
        # The results of older workers have no `status_id`, and the history then has no request here.
        if answer is None or (task.status_id and not await self._asks(task)):
            return ""
        try:
            # The answer is not in the state: the run continues as new when it has been sent.
            with self._gate.under_way(waits=True):
                await self._requests.answer(self._remote, answer, self._body.effect)
        except TaskError as error:
            if error.type != RUNTIME:
                raise
            return f"the agent rejected the last answer ({error.detail}), and asks: "
        self._remote.answered_status = task.status_id
        self._remote.answered_at = workflow.now()
        return ""

    async def _answer_of_people(self, task: AgentTask, question: str) -> str | None:
        """Return the answer of a person, or None if the question is no longer open."""
        text = f"the agent of {self._name} asks: {question}"
        asking = asyncio.ensure_future(self._calls.answer_of(text, _ask(self._body.audience)))
        looking = asyncio.ensure_future(self._goes_on(task))
        try:
            # The handler of `decide` settles the request meanwhile; `HumanRequests` protects it.
            await workflow.wait([asking, looking], return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return str(asking.result())
            looking.result()
            return None
        finally:
            await end_all([asking, looking])

    async def _goes_on(self, task: AgentTask) -> None:
        """Return when the question of a task is no longer open, because others have answered it."""
        while True:  # bounded by AGENT_TASK_WITHIN
            await self._pause(MAX_PEOPLE_POLL_S)
            if not await self._asks(task):
                return

    async def _asks(self, task: AgentTask) -> bool:
        """Return whether the question in this state of a task is still open."""
        try:
            now = await self._requests.current(self._remote)
        except TaskError as error:
            if not may_pass(error):
                raise
            return True
        # Not by the id of the status: some agents give each reply of theirs a new one.
        is_same = now.text == task.text or not task.status_id
        return is_same and now.state == WAITS_FOR_INPUT


def _ask(audience: str) -> AskCall:
    return AskCall(
        question=Template(None, {}),
        audience=audience,
        answer_schema={"type": "string"},
        expires_s=DEFAULT_EXPIRY_S,
        remind_s=None,
        escalate=(),
    )
