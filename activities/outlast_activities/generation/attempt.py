"""One attempt of a model call: it sends prompts until an answer is a decision or nothing is left to try."""

from dataclasses import replace
from typing import Literal

from temporalio import activity

from outlast.contracts.generation import Generation, Tokens
from outlast.contracts.heartbeats import GenerationProgress
from outlast.contracts.messages import Decision, Opaque
from outlast.errors import ModelError, ModelFailure, Retry
from outlast.model_server import DEFAULT_DECODING, Completion, Prompt
from outlast.text.json_text import to_json
from outlast.transcripts import decision_json
from outlast.turns import RejectedText
from outlast_activities.generation.answer_check import (
    Checker,
    RejectedAnswer,
    bounded_opaque,
    parsed,
)
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.generation.prompt_media import PromptMedia, media_problem
from outlast_activities.generation.prompt_memory import PromptMemory, PromptSize
from outlast_activities.generation.prompt_source import PromptSource
from outlast_activities.hook_calls import HookCalls
from outlast_activities.policies.allowance import Allowance
from outlast_activities.policies.recovery import AttemptState, Remedy, remedy_for
from outlast_activities.telemetry.metrics import count_repeated_prompt
from outlast_activities.telemetry.spans import ActivitySpans, ChatCall

MAX_TOKENS_FACTOR = 4
"""After a truncated answer `max_tokens` is doubled, up to this many times the configured value."""

LOOP_TOKENS_FACTOR = 4
"""After a repetition loop this many times more repetition is allowed, because some valid answers repeat."""

MAX_QUOTED_CHARACTERS = 2_000
"""Characters of a wrong answer that the next prompt quotes."""


class GenerationAttempt:
    """One attempt of a model call. `progress` may be read while `generate` runs.

    `spent` starts with the tokens that earlier attempts of the same call used. `memory` is copied: the
    caller keeps the attempt's own `memory` if the attempt succeeds.
    """

    def __init__(  # noqa: PLR0913 parts of one call, each by name
        self,
        source: PromptSource,
        endpoint: Endpoint,
        checker: Checker,
        allowance: Allowance,
        *,
        spent: Tokens,
        memory: PromptMemory | None = None,
        spans: ActivitySpans | None = None,
        media: PromptMedia | None = None,
        hooks: HookCalls | None = None,
    ) -> None:
        self._source = source
        self._endpoint = endpoint
        self._checker = checker
        self._allowance = allowance
        self._media = media
        self._hooks = hooks or HookCalls()
        self._max_tokens = endpoint.max_tokens
        self._decoding = DEFAULT_DECODING
        self._reask: RejectedAnswer | None = None
        self._completions = 0
        self._answer_tokens = 0
        self._prompt_tokens = 0
        self._spans = spans or ActivitySpans()
        self.spent = spent
        self.memory = replace(memory or PromptMemory())

    def progress(self) -> GenerationProgress:
        """Return the heartbeat. It counts the prompt of an unfinished answer as spent."""
        tokens = self._answer_tokens
        prompt = Tokens(prompt_tokens=self._prompt_tokens if tokens else 0)
        return GenerationProgress(
            completions=max(1, self._completions), tokens=tokens, spent=self.spent.plus(prompt)
        )

    async def generate(self) -> Generation:
        """Return a decision, or `out_of` if the allowance does not suffice for another completion.

        Raises `ModelError` with the class of the last failure if nothing is left to try.
        """
        while True:  # bounded: `remedy_for` runs out of remedies
            prompt = await self._with_media(await self._hooks.before_model(self._prompt()))
            max_tokens = await self._affordable_tokens(prompt)
            if isinstance(max_tokens, str):
                return Generation(
                    out_of=max_tokens,
                    completions=max(1, self._completions),
                    **self.spent.model_dump(),
                )
            if max_tokens != prompt.max_tokens:
                prompt = replace(prompt, max_tokens=max_tokens)
            outcome = await self._after_hooks(prompt, await self._complete(prompt))
            if isinstance(outcome, Generation):
                return outcome
            remedy = remedy_for(outcome.failure, self._state(max_tokens))
            if remedy is None:
                raise self._final_error(outcome)
            self._apply(remedy, outcome)

    async def _complete(self, prompt: Prompt) -> Generation | RejectedAnswer:
        self._completions += 1
        if self._source.streams is not None:
            prompt = replace(prompt, on_text=self._source.streams.begin(self._completions))
        try:
            completion = await self._complete_in_span(prompt)
        except ModelError as error:
            self._spend(Tokens.model_validate(error.tokens))
            # An answer that failed after a complete decision, such as one that looped, is still valid.
            decision = self._parsed(error.text)
            if isinstance(decision, Decision):
                return self._generation(decision, finish_reason=error.kind)
            return RejectedAnswer(error.kind, str(error.message), error.text, error)
        self._spend(completion.tokens)
        if self._reask is None and not self.memory.trimmed:
            self.memory.size = PromptSize(prompt.text_bytes, completion.prompt_tokens)
        return self._judge(completion, prompt)

    async def _complete_in_span(self, prompt: Prompt) -> Completion:
        source, endpoint = self._source, self._endpoint
        call = ChatCall(
            endpoint.target,
            agent=source.agent.name,
            model=prompt.model or endpoint.model,
            prompt=prompt,
            number=self._completions,
            turn=source.turn,
        )
        with self._spans.chat(call) as span:
            completion = await endpoint.server.complete(prompt, on_tokens=self._on_tokens)
            # Hooks may remove what a trace must not show.
            hides = self._hooks.changes_decisions
            span.complete(replace(completion, text="") if hides else completion)
        return completion

    async def _after_hooks(
        self, prompt: Prompt, outcome: Generation | RejectedAnswer
    ) -> Generation | RejectedAnswer:
        """Return an outcome after the hooks. They may change a decision, and reject it with `Retry`."""
        if not isinstance(outcome, Generation) or outcome.decision is None:
            return outcome
        if not self._hooks.changes_decisions:
            return outcome
        # As text, because a hook can change the values in a decision in place.
        text = to_json(decision_json(outcome.decision))
        try:
            decision = await self._hooks.after_model(prompt, outcome.decision)
        except Retry as retry:
            return RejectedAnswer(ModelFailure.SCHEMA_INVALID, str(retry.message), text)
        changed = to_json(decision_json(decision))
        if changed == text:
            return outcome
        checked = self._parsed(changed)
        if isinstance(checked, RejectedAnswer):
            raise ModelError(
                f"the hooks of the model returned a decision that is not valid: {checked.problem}",
                kind=ModelFailure.REFUSAL,
            )
        # What the model needs back has the decision as it was.
        return outcome.model_copy(update={"decision": checked, "opaque": None})

    def _judge(self, completion: Completion, prompt: Prompt) -> Generation | RejectedAnswer:
        decision = self._parsed(completion.text)
        if isinstance(decision, Decision):
            return self._generation(
                decision,
                model=completion.model,
                finish_reason=completion.finish_reason,
                last_prompt_tokens=completion.prompt_tokens,
                opaque=bounded_opaque(completion.opaque),
            )
        if completion.finish_reason == "length":
            problem = f"it was cut off at {prompt.max_tokens} tokens; be shorter"
            return RejectedAnswer(ModelFailure.TRUNCATED, problem, completion.text)
        return decision

    def _parsed(self, text: str) -> Decision | RejectedAnswer:
        return parsed(text, self._source, self._checker)

    def _generation(
        self,
        decision: Decision,
        *,
        model: str = "",
        finish_reason: str,
        last_prompt_tokens: int = 0,
        opaque: Opaque | None = None,
    ) -> Generation:
        return Generation(
            decision=decision,
            model=model,
            finish_reason=finish_reason,
            completions=self._completions,
            last_prompt_tokens=last_prompt_tokens,
            opaque=opaque,
            trimmed=self.memory.trimmed,
            **self.spent.model_dump(),
        )

    def _prompt(self) -> Prompt:
        return self._source.prompt(
            trimmed=self.memory.trimmed,
            max_tokens=self._max_tokens,
            shows_schema=not self._endpoint.constrained,
            decoding=self._decoding,
            rejected=self._rejected(),
        )

    async def _with_media(self, prompt: Prompt) -> Prompt:
        """Return a prompt with its images and files. Raises `ModelError` if the model cannot take them."""
        media = (
            {} if self._media is None else await self._media.of(prompt.turns, self._source.tenant)
        )
        if not media:
            return prompt
        endpoint = self._endpoint
        problem = media_problem(media, images=endpoint.images, files=endpoint.files)
        if problem is not None:
            model = prompt.model or endpoint.model
            raise ModelError(f"model {model!r} {problem}", kind=ModelFailure.BAD_REQUEST)
        return replace(prompt, media=media)

    def _rejected(self) -> RejectedText | None:
        if self._reask is None:
            return None
        return RejectedText(self._reask.text[:MAX_QUOTED_CHARACTERS], self._reask.problem)

    async def _affordable_tokens(self, prompt: Prompt) -> int | Literal["tokens", "cost"]:
        """Return the maximum tokens of the next answer, or the limit that leaves too little."""
        if not self._allowance.is_bounded:
            return self._max_tokens
        prompt_tokens = await self._endpoint.server.count_prompt_tokens(prompt)
        if self.memory.size is not None and not self.memory.trimmed:
            prompt_tokens = min(prompt_tokens, self.memory.size.max_tokens(prompt))
        self._prompt_tokens = prompt_tokens
        return self._allowance.completion_tokens(prompt_tokens, self.spent, most=self._max_tokens)

    def _state(self, max_tokens: int) -> AttemptState:
        # An answer that the allowance limited cannot get more tokens.
        was_unlimited = max_tokens == self._max_tokens
        return AttemptState(
            completions=self._completions,
            forbids_whitespace=self._decoding.compact_json,
            can_raise_max_tokens=was_unlimited
            and self._max_tokens < MAX_TOKENS_FACTOR * self._endpoint.max_tokens,
            can_trim_results=self._next_trim() > self.memory.trimmed,
        )

    def _apply(self, remedy: Remedy, rejected: RejectedAnswer) -> None:
        """Change the next prompt of the attempt."""
        activity.logger.info(
            "generation.prompt_repeated",
            extra={
                "failure": rejected.failure,
                "problem": rejected.problem,
                "remedy": remedy,
                "completions": self._completions,
            },
        )
        count_repeated_prompt(failure=rejected.failure, remedy=remedy)
        decoding = self._decoding
        match remedy:
            case "more_tokens":
                limit = MAX_TOKENS_FACTOR * self._endpoint.max_tokens
                self._max_tokens = min(2 * self._max_tokens, limit)
            case "forbid_whitespace":
                self._decoding = replace(decoding, compact_json=True)
            case "raise_temperature":
                loop_tokens = LOOP_TOKENS_FACTOR * DEFAULT_DECODING.loop_tokens
                self._decoding = replace(decoding, temperature="higher", loop_tokens=loop_tokens)
            case "trim_results":
                self.memory.trimmed = self._next_trim()
                self._max_tokens = self._endpoint.max_tokens
            case "reask":
                self._decoding = replace(decoding, temperature="lower")
                self._reask = rejected

    def _next_trim(self) -> int:
        """Return the entries to trim next: half of the rest, so that the next prompts stay alike."""
        trimmed = self.memory.trimmed
        return trimmed + (len(self._source.transcript) - trimmed + 1) // 2

    def _spend(self, tokens: Tokens) -> None:
        self.spent = self.spent.plus(tokens)
        self._answer_tokens = 0

    def _on_tokens(self, tokens: int) -> None:
        self._answer_tokens = tokens

    def _final_error(self, rejected: RejectedAnswer) -> ModelError:
        message = rejected.problem
        if rejected.error is None or rejected.error.tokens:
            message = f"no valid decision in {self._completions} answers; the last one: {message}"
        return ModelError(
            message,
            kind=rejected.failure,
            retry_after=rejected.error.retry_after if rejected.error else None,
        )
