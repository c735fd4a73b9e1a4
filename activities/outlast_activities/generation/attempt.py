"""Asking: one attempt at a decision, question after question, until there is one or a reason why not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from pydantic import JsonValue
from temporalio import activity

from outlast.contracts.agents import PinnedAgent
from outlast.contracts.generation import Generation, GenerationProgress, Tokens
from outlast.contracts.messages import Decision, Message
from outlast.errors import ModelError, ModelFailure
from outlast.json_text import to_json
from outlast.model_server import USUAL, Completion, Model, Prompt
from outlast_activities.generation.prompts import (
    chat_messages,
    reask_messages,
    trimmed,
    without_fences,
)
from outlast_activities.policies.allowance import Allowance
from outlast_activities.policies.recovery import Remedy, Tried, remedy_for

MOST_TIMES = 4
"""An answer that was cut off gets twice the tokens, and then this many times the usual number."""

MORE_PATIENCE = 4
"""A repetition is let run so many times longer when it comes again: some answers do repeat."""

SEAM_TOKENS = 64
"""What a chat template puts around the messages that a turn adds, and where texts meet."""

MAX_SHOWN = 2_000
"""Characters of a wrong answer that a model is shown again."""


class Checker(Protocol):
    """Checks a value against a JSON Schema: what an engine promised is looked at all the same."""

    def problem(self, value: JsonValue, schema: dict[str, Any], *, key: str) -> str | None:
        """Return what is wrong with `value`, in one line, or None."""
        ...


@dataclass(frozen=True)
class Endpoint:
    """A model server as the activity uses it.

    `max_tokens` is what an answer may have at first. `constrained` is False of a server that ignores
    constraints: the model is then told the schema, and answers are dug out of what it wraps them in.
    """

    model: Model
    max_tokens: int
    constrained: bool = True


@dataclass(frozen=True)
class Size:
    """A prompt's size. One that begins with it has no more tokens than this and a byte of text each."""

    text_bytes: int
    tokens: int

    def most_tokens(self, prompt: Prompt) -> int:
        """Return the most tokens of a prompt that begins with this one."""
        return self.tokens + max(0, prompt.text_bytes - self.text_bytes) + SEAM_TOKENS


@dataclass(frozen=True)
class Question:
    """What is asked of whom, before anything went wrong."""

    agent: PinnedAgent
    transcript: Sequence[Message]
    schema: dict[str, Any]
    schema_key: str
    model: str | None
    session: str


@dataclass(frozen=True)
class _Wrong:
    """An answer that was not taken, and the error that it came with, if it came with one."""

    failure: ModelFailure
    problem: str
    text: str = ""
    error: ModelError | None = None


class Asking:
    """One attempt. `spent` begins with what earlier attempts of the same call used.

    `trimmed` is the number of entries whose tool results are left out of the prompt, `known_size` the
    bytes and tokens of an earlier prompt of the run, which this one begins with.
    """

    def __init__(
        self,
        question: Question,
        endpoint: Endpoint,
        checker: Checker,
        allowance: Allowance,
        *,
        spent: Tokens,
        trimmed: int = 0,
        known_size: Size | None = None,
    ) -> None:
        self._question = question
        self._endpoint = endpoint
        self._checker = checker
        self._allowance = allowance
        self._limit = endpoint.max_tokens
        self._decoding = USUAL
        self._reask: _Wrong | None = None
        self._asks = 0
        self._tokens_so_far = 0
        self._prompt_tokens = 0
        self.spent = spent
        self.trimmed = trimmed
        self.size = known_size

    def progress(self) -> tuple[GenerationProgress]:
        """Return what a heartbeat says: a prompt that is being answered is paid for."""
        tokens = self._tokens_so_far
        prompt = Tokens(prompt_tokens=self._prompt_tokens if tokens else 0)
        ask = max(1, self._asks)
        return (GenerationProgress(ask=ask, tokens=tokens, spent=self.spent.plus(prompt)),)

    async def decided(self) -> Generation:
        """Ask until the answer is a decision, or what the run has left is not enough to ask.

        Raises `ModelError` with the class of the last failure, once nothing is left to try.
        """
        while True:  # bounded: no class of failure has remedies without end
            prompt = self._prompt()
            most = await self._most_tokens(prompt)
            if isinstance(most, str):
                return Generation(out_of=most, asks=max(1, self._asks), **self.spent.model_dump())
            outcome = await self._ask(replace(prompt, max_tokens=most))
            if isinstance(outcome, Generation):
                return outcome
            remedy = remedy_for(outcome.failure, self._tried(most))
            if remedy is None:
                raise self._given_up(outcome)
            self._put_otherwise(remedy, outcome)

    async def _ask(self, prompt: Prompt) -> Generation | _Wrong:
        self._asks += 1
        try:
            completion = await self._endpoint.model.complete(prompt, on_tokens=self._came)
        except ModelError as error:
            self._paid(Tokens.model_validate(error.tokens))
            # What is whole before it goes astray is as good as any.
            decision = self._decision(error.text)
            if isinstance(decision, Decision):
                return self._generation(decision, finish_reason=error.kind)
            return _Wrong(error.kind, str(error.message), error.text, error)
        self._paid(completion.tokens)
        if self._reask is None and not self.trimmed:
            self.size = Size(prompt.text_bytes, completion.prompt_tokens)
        return self._judged(completion, prompt)

    def _judged(self, completion: Completion, prompt: Prompt) -> Generation | _Wrong:
        decision = self._decision(completion.text)
        if isinstance(decision, Decision):
            return self._generation(
                decision,
                model=completion.model,
                finish_reason=completion.finish_reason,
                last_prompt_tokens=completion.prompt_tokens,
            )
        if completion.finish_reason == "length":
            problem = f"it was cut off at {prompt.max_tokens} tokens; be shorter"
            return _Wrong(ModelFailure.TRUNCATED, problem, completion.text)
        return decision

    def _decision(self, text: str) -> Decision | _Wrong:
        """Return the decision that a text holds, or what is wrong with it."""
        if not text.strip():
            return _Wrong(ModelFailure.EMPTY, "it is empty", text)
        try:
            value = json.loads(text if self._endpoint.constrained else without_fences(text))
            to_json(value).encode()
        except (ValueError, RecursionError) as error:
            return _Wrong(ModelFailure.UNCONSTRAINED, f"it is not JSON ({error})", text)
        question = self._question
        problem = self._checker.problem(value, question.schema, key=question.schema_key)
        if problem is not None:
            return _Wrong(ModelFailure.SCHEMA_INVALID, problem, text)
        return Decision.model_validate(value)

    def _generation(
        self,
        decision: Decision,
        *,
        model: str = "",
        finish_reason: str,
        last_prompt_tokens: int = 0,
    ) -> Generation:
        return Generation(
            decision=decision,
            model=model,
            finish_reason=finish_reason,
            asks=self._asks,
            last_prompt_tokens=last_prompt_tokens,
            **self.spent.model_dump(),
        )

    def _prompt(self) -> Prompt:
        question = self._question
        messages = chat_messages(
            question.agent,
            trimmed(question.transcript, self.trimmed),
            shows_schema=not self._endpoint.constrained,
        )
        if self._reask is not None:
            shown = self._reask.text[:MAX_SHOWN]
            messages = reask_messages(messages, text=shown, problem=self._reask.problem)
        return Prompt(
            messages=messages,
            schema=question.schema,
            schema_key=question.schema_key,
            max_tokens=self._limit,
            model=question.model,
            session=question.session,
            decoding=self._decoding,
        )

    async def _most_tokens(self, prompt: Prompt) -> int | Literal["tokens", "cost"]:
        if not self._allowance.is_bounded:
            return self._limit
        prompt_tokens = await self._endpoint.model.most_prompt_tokens(prompt)
        if self.size is not None and not self.trimmed:
            prompt_tokens = min(prompt_tokens, self.size.most_tokens(prompt))
        self._prompt_tokens = prompt_tokens
        return self._allowance.completion_tokens(prompt_tokens, self.spent, most=self._limit)

    def _tried(self, most: int) -> Tried:
        return Tried(
            asks=self._asks,
            compact=self._decoding.compact,
            more_tokens_left=most == self._limit < MOST_TIMES * self._endpoint.max_tokens,
            trim_left=self._next_trim() > self.trimmed,
        )

    def _put_otherwise(self, remedy: Remedy, wrong: _Wrong) -> None:
        activity.logger.info(
            "generation.asked_again",
            extra={"failure": wrong.failure, "remedy": remedy, "ask": self._asks},
        )
        decoding = self._decoding
        match remedy:
            case "more_tokens":
                self._limit = min(2 * self._limit, MOST_TIMES * self._endpoint.max_tokens)
            case "compact":
                self._decoding = replace(decoding, compact=True)
            case "warmer":
                patience = MORE_PATIENCE * USUAL.loop_tokens
                self._decoding = replace(decoding, temperature="higher", loop_tokens=patience)
            case "trim":
                self.trimmed = self._next_trim()
                self._limit = self._endpoint.max_tokens
            case "reask":
                self._decoding = replace(decoding, temperature="lower")
                self._reask = wrong

    def _next_trim(self) -> int:
        """Return half of what is left, so that the same beginning serves many more turns."""
        entries = len(self._question.transcript)
        return self.trimmed + (entries - self.trimmed + 1) // 2

    def _paid(self, tokens: Tokens) -> None:
        self.spent = self.spent.plus(tokens)
        self._tokens_so_far = 0

    def _came(self, tokens: int) -> None:
        self._tokens_so_far = tokens

    def _given_up(self, wrong: _Wrong) -> ModelError:
        said = wrong.problem
        if wrong.error is None or wrong.error.tokens:
            said = f"no valid decision in {self._asks} answers; the last one: {said}"
        return ModelError(
            said,
            kind=wrong.failure,
            retry_after=wrong.error.retry_after if wrong.error else None,
        )
