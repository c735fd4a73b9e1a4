"""The activity that makes one model call and returns the model's next decision."""

import asyncio
import functools
from collections.abc import Mapping

from temporalio import activity

from outlast.contracts.agents import PinnedAgent, Way
from outlast.contracts.generation import GenerateInput, Generation, Tokens
from outlast.contracts.heartbeats import GenerationProgress
from outlast.errors import ModelError, ModelFailure
from outlast.jsonschema.decision_schema import decision_schema
from outlast.jsonschema.schemas import Schema
from outlast.text.json_text import to_json
from outlast.text.texts import cut
from outlast.weighed_cache import WeighedCache
from outlast_activities.attempt_protocol import ActivityAttempt, waited_s, was_cancelled_by_run
from outlast_activities.generation.answer_check import Checker
from outlast_activities.generation.answer_streams import AnswerStreams, CallStreams
from outlast_activities.generation.attempt import GenerationAttempt
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.generation.prompt_media import PromptMedia
from outlast_activities.generation.prompt_memory import PromptMemory
from outlast_activities.generation.prompt_source import PromptSource
from outlast_activities.generation.transcript_cache import TranscriptCache
from outlast_activities.hook_calls import HookCalls
from outlast_activities.policies.allowance import Allowance
from outlast_activities.policies.attempts import GENERATE_ATTEMPTS, SPILL_ATTEMPTS
from outlast_activities.policies.recovery import retry_decision
from outlast_activities.telemetry.spans import ActivitySpans

DEFAULT_SERVER = ""
"""The name of the server for legs without a `server`."""

MAX_ERROR = 500
"""Bytes of the text of an error that is not a `ModelError`."""

FIRST_BEAT = 2
"""The first heartbeat that a model call sends. The server counts each one as a billable action."""

MAX_MEMORIES = 10_000
"""Runs, times models, whose `PromptMemory` a worker keeps."""

MAX_SCHEMA_BYTES = 8_000_000
"""Schemas of decisions that a worker keeps, as JSON. Their objects take a few times as much memory."""


class ModelActivities:
    """The model calls of a worker. `endpoints` are the model servers by name.

    `answers` takes the text of answers while models write them, if somebody may read it.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        checker: Checker,
        transcripts: TranscriptCache,
        *,
        max_concurrent: int,
        spans: ActivitySpans | None = None,
        media: PromptMedia | None = None,
        answers: AnswerStreams | None = None,
        hooks: HookCalls | None = None,
    ) -> None:
        self._spans = spans or ActivitySpans()
        self._endpoints = endpoints
        self._answers = answers
        self._checker = checker
        self._transcripts = transcripts
        self._media = media
        self._hooks = hooks or HookCalls()
        self._slots = asyncio.Semaphore(max_concurrent)
        self._memories = functools.lru_cache(maxsize=MAX_MEMORIES)(_new_memory)
        self._schemas: WeighedCache[str, Schema] = WeighedCache(max_bytes=MAX_SCHEMA_BYTES)

    @activity.defn
    async def generate(self, input: GenerateInput) -> Generation:  # noqa: A002 Temporal's word
        """Return a decision that is valid for the agent's schema, or `out_of` if the budget is spent.

        A wrong answer is followed by another prompt in the same attempt, as `policies.recovery`
        describes. If that fails, raises `ModelError`. Temporal may retry the call: the tokens of each
        attempt are counted.
        """
        self._spans.metrics.record_queue_wait()
        own_attempts = GENERATE_ATTEMPTS if input.is_last_leg else SPILL_ATTEMPTS
        attempt = ActivityAttempt(
            GenerationProgress, own_attempts=own_attempts, first_beat=FIRST_BEAT
        )
        try:
            async with attempt:
                generation = await self._run_attempt(input, attempt)
        except asyncio.CancelledError:
            if not was_cancelled_by_run():
                raise
            # A cancellation cannot carry the token usage, so the activity returns a result.
            progress = attempt.progress()
            return Generation(
                interrupted=True, completions=progress.completions, **progress.used.model_dump()
            )
        return generation.model_copy(update={"waited_s": round(waited_s(), 3)})

    async def _run_attempt(
        self, wanted: GenerateInput, attempt: ActivityAttempt[GenerationProgress]
    ) -> Generation:
        self._warn_without_price(wanted)
        spent = attempt.previous.used
        attempt.progress = lambda: GenerationProgress(spent=spent)
        generation_attempt: GenerationAttempt | None = None
        # Hooks may change a decision, so nobody may see it before.
        answers = None if self._hooks.changes_decisions else self._answers
        streams = CallStreams(answers, wanted) if answers else None
        try:
            if attempt.left < 0:
                raise ModelError(
                    "all attempts timed out or lost their workers", kind=ModelFailure.TIMEOUT
                )
            generation_attempt = await self._generation_attempt(wanted, spent, streams)
            attempt.progress = generation_attempt.progress
            async with self._slots:
                generation = await generation_attempt.generate()
        except Exception as error:  # noqa: BLE001 every failure carries the tokens that it used
            spent = generation_attempt.spent if generation_attempt else spent
            raise _final(error, spent, wanted, left=attempt.left) from None
        finally:
            if streams is not None:
                streams.end()
        self._remember(wanted, generation_attempt, generation)
        return generation

    @staticmethod
    def _warn_without_price(wanted: GenerateInput) -> None:
        """Warn, once in a run, that its limit in dollars has no effect."""
        is_first = wanted.turn <= 1 and activity.info().attempt == 1
        if is_first and wanted.cost_left_usd is not None and wanted.price is None:
            activity.logger.warning(
                "generation.no_price",
                extra={
                    "server": wanted.server,
                    "reason": "limits.max_cost_usd has no effect, because the model has no price",
                    "advice": "set the price of the model server or of the leg; 0 if it is free",
                },
            )

    async def _generation_attempt(
        self, wanted: GenerateInput, spent: Tokens, streams: CallStreams | None
    ) -> GenerationAttempt:
        info = activity.info()
        workflow_id, run_id = info.workflow_id or "", info.workflow_run_id or ""
        endpoint = self._endpoint(wanted.server)
        cached = await self._transcripts.agent(workflow_id, run_id, wanted.agent_digest)
        agent = cached.agent
        missing = self._hooks.missing(agent.hooks)
        if missing is not None:
            raise ModelError(missing, kind=ModelFailure.BAD_REQUEST)
        model = wanted.model or agent.model
        if endpoint.for_model is not None and model not in (None, endpoint.model):
            endpoint = await endpoint.for_model(model)
        way = _way(wanted, agent, endpoint)
        transcript = await self._transcripts.load(workflow_id, run_id, wanted)
        # Not the digest that the call names: all runs share the caches of schemas.
        schema_key = f"{cached.digest} {wanted.tools} {wanted.max_calls} {wanted.answer}"
        source = PromptSource(
            agent=agent,
            transcript=transcript,
            schema=self._schemas.get_or_make(schema_key, lambda: _schema_with_size(agent, wanted)),
            schema_key=schema_key,
            model=model,
            session=workflow_id,
            allowed=None if wanted.tools is None else frozenset(wanted.tools),
            max_calls=wanted.max_calls,
            may_answer=wanted.answer,
            way=way,
            effort=wanted.effort or agent.effort or endpoint.effort,
            answer_schema={} if way == "decision" else decision_schema(agent, ()),
            streams=streams,
            turn=wanted.turn,
            tenant=wanted.tenant,
        )
        return GenerationAttempt(
            source,
            endpoint,
            self._checker,
            Allowance(wanted.tokens_left, wanted.cost_left_usd, wanted.price),
            spent=spent,
            memory=self._memory(wanted),
            spans=self._spans,
            media=self._media,
            hooks=self._hooks,
        )

    def _endpoint(self, name: str | None) -> Endpoint:
        endpoint = self._endpoints.get(name or DEFAULT_SERVER)
        if endpoint is None:
            known = ", ".join(filter(None, self._endpoints)) or "none"
            raise ModelError(
                f"this worker has no model server {name!r}; it has {known}",
                kind=ModelFailure.UNKNOWN_MODEL,
            )
        return endpoint

    def _memory(self, wanted: GenerateInput) -> PromptMemory:
        """Return the memory of a run and a model. Each model counts tokens in its own way."""
        info = activity.info()
        server, model = wanted.server or DEFAULT_SERVER, wanted.model or ""
        return self._memories(info.workflow_id or "", info.workflow_run_id or "", server, model)

    def _remember(
        self, wanted: GenerateInput, attempt: GenerationAttempt, generation: Generation
    ) -> None:
        """Keep what the next call of the run needs, unless this was probably the last one."""
        self._memory(wanted).update(attempt.memory)
        workflow_id = activity.info().workflow_id or ""
        if generation.decision is not None and generation.decision.tool_calls:
            self._transcripts.add_decision(workflow_id, generation.decision, generation.opaque)
        else:
            self._transcripts.forget(workflow_id)


def _schema_with_size(agent: PinnedAgent, wanted: GenerateInput) -> tuple[Schema, int]:
    """Return the schema of the decision of a call, and its size as JSON in bytes."""
    schema = decision_schema(agent, wanted.tools, max_calls=wanted.max_calls, answer=wanted.answer)
    return schema, len(to_json(schema))


def _new_memory(_workflow_id: str, _run_id: str, _server: str, _model: str) -> PromptMemory:
    return PromptMemory()


def _way(wanted: GenerateInput, agent: PinnedAgent, endpoint: Endpoint) -> Way:
    """Return how the model decides: as the leg says, else the agent, else the server.

    Raises `ModelError` if the server cannot be used in this way.
    """
    way = wanted.way or agent.way or endpoint.ways[0]
    if way not in endpoint.ways:
        chosen_by = "leg" if wanted.way else f"agent {agent.name!r}"
        server = f"server {wanted.server!r}" if wanted.server else "default model server"
        raise ModelError(
            f"the {chosen_by} has way {way!r}, which the {server} cannot take: it can take "
            f"{', '.join(map(repr, endpoint.ways))}",
            kind=ModelFailure.BAD_REQUEST,
        )
    return way


def _final(error: Exception, spent: Tokens, wanted: GenerateInput, *, left: int) -> ModelError:
    """Return a failure with all that Temporal and the run need: retry or not, when, and the tokens used."""
    if not isinstance(error, ModelError):
        # A fault of the worker: the query for the transcript failed, or there is a bug.
        return ModelError(
            f"{type(error).__name__}: {cut(str(error), MAX_ERROR)}",
            kind=ModelFailure.SERVER_ERROR,
            retryable=left > 0,
            tokens=spent.model_dump(),
        )
    decision = retry_decision(
        error.kind,
        retry_after=error.retry_after,
        is_last_leg=wanted.is_last_leg,
        attempt=activity.info().attempt,
    )
    # A prompt that one API cannot take may suit another one: the server says which leg it was.
    is_of_leg = error.kind is ModelFailure.BAD_REQUEST and wanted.server is not None
    return ModelError(
        f"server {wanted.server!r}: {error.message}" if is_of_leg else str(error.message),
        kind=error.kind,
        retryable=decision.retryable and left > 0,
        retry_after=decision.wait,
        tokens=spent.model_dump(),
    )
