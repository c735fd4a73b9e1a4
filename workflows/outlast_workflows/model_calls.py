"""Model calls: each turn asks the model for one decision, and a message of a person may interrupt it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from outlast_activities.policies.decision_check import decision_problem
from temporalio import workflow
from temporalio.common import Priority, RawValue
from temporalio.exceptions import ActivityError, is_cancelled_exception
from temporalio.workflow import ActivityConfig

from outlast.contracts.agents import Leg
from outlast.contracts.generation import GenerateInput, Generation, Tokens
from outlast.contracts.messages import Message
from outlast.contracts.usage import Usage
from outlast.errors import ModelError, ModelFailure
from outlast_workflows.activity_options import (
    WAIT_CANCELLATION_COMPLETED,
    Step,
    generate_options,
    was_not_served,
)
from outlast_workflows.budget import TakeTurn, left_of, usage_of
from outlast_workflows.legs import Legs
from outlast_workflows.payloads import result_of
from outlast_workflows.run_metrics import SPEC, record_cost
from outlast_workflows.state import RunState
from outlast_workflows.step_failures import cause_of, model_failure_of, tokens_of

GENERATE = "generate"
"""The activity type of a model call. Its result arrives raw, and is checked here."""

INLINE = {"user": 4_000, "assistant": 0, "tool": 250}
"""Characters up to which a new entry is sent to a model worker, by role. A longer entry is in the history
already: the worker has it in its cache, or queries the run for it."""


class ModelCalls:
    """The model calls of one run, one at a time."""

    def __init__(self, state: RunState, legs: Legs, priority: Priority) -> None:
        self._state = state
        self._legs = legs
        self._priority = priority
        self._in_flight: asyncio.Task[Generation] | None = None
        self._is_interrupted = False

    def interrupt(self) -> bool:
        """Cancel the model call in flight; return whether there was one."""
        if self._in_flight is None:
            return False
        self._is_interrupted = True
        return self._in_flight.cancel()

    async def generate(self, plan: TakeTurn) -> Generation | None:
        """Return what the model generates in this turn, or None if a person interrupted it.

        Cancellation: the call runs in a task of its own, so that `interrupt` can cancel the call alone. A
        cancellation of the run, or its deadline, may arrive together with an interruption, and wins. If
        the run has a limit of tokens or dollars, a cancelled call is waited for: it returns what it used,
        or a decision that came first and that nobody needs any more. So both are tested after the await.
        """
        run = _current_task()
        self._is_interrupted = False
        self._in_flight = asyncio.create_task(self._generate(plan, run))
        try:
            # The handler of `say` runs meanwhile: it adds to the inbox, and may call `interrupt`. The
            # transcript is changed by this task alone.
            generation = await self._in_flight
        except (asyncio.CancelledError, ActivityError) as error:
            if run.cancelling():
                raise asyncio.CancelledError from error
            if self._is_interrupted:
                return None
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            raise ModelError(
                f"turn {self._state.spending.turns}: {cause_of(error)}",
                kind=model_failure_of(error),
            ) from None
        finally:
            self._in_flight = None
        if run.cancelling():
            raise asyncio.CancelledError
        return None if self._is_interrupted else generation

    async def _generate(self, plan: TakeTurn, run: asyncio.Task[Any]) -> Generation:
        """Make the call on the legs of the route, and count what each of them used."""
        spending, route = self._state.spending, self._state.agent.route
        spending.last_usage = Usage()
        generation = await self._legs.serve(
            route,
            step=f"turn {spending.turns}",
            start=self._starter(plan),
            waited_s=lambda generation: generation.waited_s,
            moves_on=lambda error: (
                not (self._is_interrupted or run.cancelling()) and was_not_served(error)
            ),
        )
        spending.last_prompt_tokens = generation.last_prompt_tokens
        return generation

    def _starter(self, plan: TakeTurn) -> Callable[[Leg], Awaitable[Generation]]:
        async def start(leg: Leg) -> Generation:
            wanted = self._input(plan, leg)
            try:
                # The handler of `say` may cancel this task meanwhile (see `generate`).
                result: RawValue = await workflow.execute_activity(
                    GENERATE, wanted, result_type=RawValue, **self._options(leg)
                )
            except ActivityError as error:
                self._add_usage(tokens_of(error), leg)
                raise
            generation = self._check(result, wanted)
            self._add_usage(generation, leg)
            return generation

        return start

    def _add_usage(self, tokens: Tokens, leg: Leg) -> None:
        usage = usage_of(tokens, leg)
        self._state.spending.add_model_call(usage)
        record_cost(SPEC if self._state.is_spec else self._state.agent.name, usage)

    def _check(self, result: RawValue | None, wanted: GenerateInput) -> Generation:
        """Return what a worker generated, or raise `ModelError` if no right worker returns that.

        A worker with the role `generate` decides what a model may call and answer. The run trusts it with
        the schemas, but not with more calls, other tools or an answer that this turn does not allow.
        """
        where = f"turn {self._state.spending.turns}: a worker returned an invalid result"
        try:
            generation = result_of(Generation, result)
        except ValueError as error:
            raise ModelError(f"{where}: {error}", kind=ModelFailure.SERVER_ERROR) from None
        decision = generation.decision
        problem = decision and decision_problem(decision, self._state.agent, wanted)
        if problem is not None:
            raise ModelError(f"{where}: {problem}", kind=ModelFailure.SCHEMA_INVALID)
        return generation

    def _input(self, plan: TakeTurn, leg: Leg) -> GenerateInput:
        """Return the input of the call: the transcript by reference, and what the run still allows."""
        state, transcript = self._state, self._state.transcript
        tokens_left, cost_left_usd = left_of(state.limits, state.spending.usage)
        return GenerateInput(
            turn=state.spending.turns,
            agent_digest=state.agent_digest,
            length=len(transcript.messages),
            digest=transcript.digest,
            added=tuple(map(_reference, transcript.messages[transcript.sent :])),
            tools=plan.tools,
            answer=plan.answer,
            max_calls=plan.max_calls,
            tokens_left=tokens_left,
            cost_left_usd=cost_left_usd,
            price=None if cost_left_usd is None else leg.price,
            server=leg.server,
            model=leg.model,
            way=leg.way,
            effort=leg.effort,
            is_last_leg=leg is state.agent.route.legs[-1],
            tenant=state.tenant,
        )

    def _options(self, leg: Leg) -> ActivityConfig:
        limits, turn = self._state.limits, self._state.spending.turns
        step = Step(str(turn), f"turn {turn} · decide", self._priority)
        options = generate_options(step, leg, self._state.agent.route)
        if limits.max_tokens is not None or limits.max_cost_usd is not None:
            # The limits hold for a cancelled call too, and what it used is known once it has ended.
            options["cancellation_type"] = WAIT_CANCELLATION_COMPLETED
        return options


def _reference(message: Message) -> Message:
    """Return an entry without its content if that is long, and without what its model needs back."""
    if message.opaque is not None:
        # Only decisions have it, and the worker that made one has it in its cache.
        return message.model_copy(update={"content": None, "opaque": None})
    if len(message.content or "") <= INLINE[message.role]:
        return message
    return message.model_copy(update={"content": None})


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a model call needs a task")
    return task
