"""The activity that asks a model for the next decision of a run."""

import asyncio
import json
from dataclasses import replace
from typing import Any, Protocol

from pydantic import JsonValue
from temporalio import activity

from activities.heartbeats import heartbeats
from activities.prompting import chat_messages, reask_messages
from activities.transcripts import Transcripts
from outlast.contracts import Decision, GenerateInput, Generation
from outlast.errors import ModelError
from outlast.models import Completion, Model, Prompt
from outlast.schemas import decision_schema
from outlast.transcripts import to_json

MAX_ASKS = 3
"""Questions of one model call: the first, and two with the reason why the last answer was not taken."""

MAX_SHOWN = 2_000
"""Characters of a wrong answer that a model is shown again."""

MIN_REASK_TOKENS = 16
"""What must be left of a run's tokens for another question: less holds no decision."""


class Checker(Protocol):
    """Checks a value against a JSON Schema: what an engine promised is looked at all the same."""

    def problem(self, value: JsonValue, schema: dict[str, Any], *, key: str) -> str | None:
        """Return what is wrong with `value`, in one line, or None."""
        ...


class ModelActivities:
    """Asks a model for the next decision of a run."""

    def __init__(
        self,
        model: Model,
        checker: Checker,
        transcripts: Transcripts,
        *,
        max_tokens: int,
        max_concurrent: int,
    ) -> None:
        self._model = model
        self._checker = checker
        self._transcripts = transcripts
        self._max_tokens = max_tokens
        self._slots = asyncio.Semaphore(max_concurrent)

    @activity.defn
    async def generate(self, input: GenerateInput) -> Generation:  # noqa: A002 Temporal's word
        """Return a decision that the agent's schema admits.

        An answer that is cut short or not valid is asked for again, at most `MAX_ASKS` times in all, and
        then `ModelError`. Retries repeat the call: it is paid again, and changes nothing else.
        """
        info = activity.info()
        workflow_id, run_id = info.workflow_id or "", info.workflow_run_id or ""
        async with heartbeats():
            agent = await self._transcripts.agent(workflow_id, run_id, input.agent_digest)
            transcript = await self._transcripts.load(workflow_id, run_id, input)
            prompt = Prompt(
                messages=chat_messages(agent, transcript),
                schema=decision_schema(
                    agent, input.tools, max_calls=input.max_calls, answer=input.answer
                ),
                schema_key=f"{input.agent_digest} {input.tools} {input.max_calls} {input.answer}",
                max_tokens=min(self._max_tokens, input.max_tokens or self._max_tokens),
                model=agent.model,
            )
            generation = await self._ask(prompt, left=input.max_tokens)
        if generation.decision is not None and generation.decision.tool_calls:
            self._transcripts.add_decision(workflow_id, generation.decision)
        else:
            self._transcripts.forget(workflow_id)
        return generation

    async def _ask(self, prompt: Prompt, *, left: int | None) -> Generation:
        """Ask until the answer is a decision; without one when the run's tokens, `left`, are spent."""
        asked = prompt
        prompt_tokens = completion_tokens = 0
        problem = ""
        for ask in range(1, MAX_ASKS + 1):
            async with self._slots:
                completion = await self._model.complete(asked)
            prompt_tokens += completion.prompt_tokens
            completion_tokens += completion.completion_tokens
            decision, problem = self._judge(completion, prompt)
            out_of_tokens = left is not None and completion_tokens + MIN_REASK_TOKENS > left
            if decision is not None or out_of_tokens:
                return Generation(
                    decision=decision,
                    prompt_tokens=prompt_tokens,
                    completion_tokens=completion_tokens,
                    model=completion.model,
                    finish_reason=completion.finish_reason,
                    asks=ask,
                )
            shown = completion.text[:MAX_SHOWN]
            asked = replace(
                prompt, messages=reask_messages(prompt.messages, text=shown, problem=problem)
            )
        raise ModelError(f"no valid decision in {MAX_ASKS} answers; the last one: {problem}")

    def _judge(self, completion: Completion, prompt: Prompt) -> tuple[Decision | None, str]:
        """Return the decision, or None and what is wrong with the answer."""
        if completion.finish_reason == "length":
            return None, f"it was cut off at {prompt.max_tokens} tokens; be shorter"
        try:
            value = json.loads(completion.text)
            to_json(value).encode()
        except (ValueError, RecursionError) as error:
            return None, f"it is not JSON ({error})"
        problem = self._checker.problem(value, prompt.schema, key=prompt.schema_key)
        if problem is not None:
            return None, problem
        return Decision.model_validate(value), ""
