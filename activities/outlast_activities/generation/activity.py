"""The activity that asks a model for the next decision of a run."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeAlias

from temporalio import activity

from outlast.contracts.generation import GenerateInput, Generation, GenerationProgress, Tokens
from outlast.errors import ModelError, ModelFailure
from outlast.jsonschema.decision_schema import decision_schema
from outlast.texts import cut
from outlast_activities.generation.attempt import Asking, Checker, Endpoint, Question, Size
from outlast_activities.generation.transcript_cache import Transcripts
from outlast_activities.heartbeats import heartbeats
from outlast_activities.policies.allowance import Allowance
from outlast_activities.policies.attempts import (
    GENERATE_ATTEMPTS,
    SPILL_ATTEMPTS,
    handed_back,
    is_handed_back,
    own_attempt,
    waited_s,
)
from outlast_activities.policies.recovery import verdict_on

DEFAULT_SERVER = ""
"""The server of legs that name none."""

MAX_SAID = 500
"""Bytes of an error that is no model's."""

MAX_RUNS = 10_000
"""Runs of which the size of the last prompt is remembered, or how much was left out of it."""


class ModelActivities:
    """Asks a model for the next decision of a run. `endpoints` are model servers by name."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        checker: Checker,
        transcripts: Transcripts,
        *,
        max_concurrent: int,
    ) -> None:
        self._endpoints = endpoints
        self._checker = checker
        self._transcripts = transcripts
        self._slots = asyncio.Semaphore(max_concurrent)
        self._trimmed: OrderedDict[_Counted, int] = OrderedDict()
        self._sizes: OrderedDict[_Counted, Size] = OrderedDict()

    @activity.defn
    async def generate(self, input: GenerateInput) -> Generation:  # noqa: A002 Temporal's word
        """Return a decision that the agent's schema admits, or none where the run's means are spent.

        What an answer lacks is mended by asking again, as `policies.recovery` says, and then
        `ModelError`. Retries repeat the call: it is paid again, is counted, and changes nothing else.
        """
        workflow_id = activity.info().workflow_id or ""
        last = progress_before()
        before = last.used
        attempts = GENERATE_ATTEMPTS if input.is_last_leg else SPILL_ATTEMPTS
        left = attempts - own_attempt(last.handed_back)
        asking: Asking | None = None

        def progress(more: int = 0) -> tuple[GenerationProgress]:
            (now,) = asking.progress() if asking else (GenerationProgress(spent=before),)
            return (now.model_copy(update={"handed_back": last.handed_back + more}),)

        async with heartbeats(progress):
            try:
                _refuse_further(left, before)
                asking = await self._asking(input, before)
                async with self._slots:
                    generation = await asking.decided()
            except BaseException as error:
                if is_handed_back(error):
                    activity.heartbeat(*progress(1))
                    raise handed_back() from None
                # The next attempt begins with what this one used, whatever ended it.
                activity.heartbeat(*progress())
                if isinstance(error, asyncio.CancelledError) and was_asked_to_stop():
                    return interrupted(*progress())
                if not isinstance(error, Exception):
                    raise
                spent = asking.spent if asking else before
                raise _final(error, spent, left=left, is_last_leg=input.is_last_leg) from None
        self._remember(input, asking)
        if generation.decision is not None and generation.decision.tool_calls:
            self._transcripts.add_decision(workflow_id, generation.decision)
        else:
            self._transcripts.forget(workflow_id)
        return generation.model_copy(update={"waited_s": round(waited_s(), 3)})

    async def _asking(self, wanted: GenerateInput, before: Tokens) -> Asking:
        info = activity.info()
        workflow_id, run_id = info.workflow_id or "", info.workflow_run_id or ""
        endpoint = self._endpoint(wanted.server)
        agent = await self._transcripts.agent(workflow_id, run_id, wanted.agent_digest)
        transcript = await self._transcripts.load(workflow_id, run_id, wanted)
        narrowed = f"{wanted.tools} {wanted.max_calls} {wanted.answer}"
        question = Question(
            agent=agent,
            transcript=transcript,
            schema=decision_schema(
                agent, wanted.tools, max_calls=wanted.max_calls, answer=wanted.answer
            ),
            schema_key=f"{wanted.agent_digest} {narrowed}",
            model=wanted.model or agent.model,
            session=workflow_id,
        )
        return Asking(
            question,
            endpoint,
            self._checker,
            Allowance(wanted.tokens_left, wanted.cost_left_usd, wanted.price),
            spent=before,
            trimmed=self._trimmed.get(_counted_as(workflow_id, run_id, wanted), 0),
            known_size=self._sizes.get(_counted_as(workflow_id, run_id, wanted)),
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

    def _remember(self, wanted: GenerateInput, asking: Asking) -> None:
        info = activity.info()
        key = _counted_as(info.workflow_id or "", info.workflow_run_id or "", wanted)
        if asking.trimmed:
            self._trimmed[key] = asking.trimmed
            self._trimmed.move_to_end(key)
        is_bounded = wanted.tokens_left is not None or wanted.cost_left_usd is not None
        if asking.size is not None and is_bounded:
            self._sizes[key] = asking.size
            self._sizes.move_to_end(key)
        for kept in (self._trimmed, self._sizes):
            if len(kept) > MAX_RUNS:
                kept.popitem(last=False)


_Counted: TypeAlias = tuple[str, str, str, str]


def _counted_as(workflow_id: str, run_id: str, wanted: GenerateInput) -> _Counted:
    """Return what prompts of one size, and one context, have in common: each model has its own."""
    return workflow_id, run_id, wanted.server or DEFAULT_SERVER, wanted.model or ""


def progress_before() -> GenerationProgress:
    """Return what the last heartbeat of the attempts before this one says."""
    details = activity.info().heartbeat_details
    return GenerationProgress.model_validate(details[0]) if details else GenerationProgress()


def _refuse_further(left: int, spent: Tokens) -> None:
    """Raise `ModelError` where attempts that ended without a word have used up a call's own."""
    if left < 0:
        raise ModelError(
            "its attempts took too long, or lost their workers",
            kind=ModelFailure.TIMEOUT,
            tokens=spent.model_dump(),
        )


def was_asked_to_stop() -> bool:
    """Tell whether the run cancelled this call: a worker that drains cancels calls too."""
    details = activity.cancellation_details()
    return details is not None and details.cancel_requested


def interrupted(last: GenerationProgress) -> Generation:
    """Return what a call used that its run cancelled: an answer, for a cancellation cannot carry it."""
    return Generation(interrupted=True, asks=last.ask, **last.used.model_dump())


def _final(error: Exception, spent: Tokens, *, left: int, is_last_leg: bool) -> ModelError:
    """Return a failure as Temporal and the run need it: whether and when to retry, and what it cost."""
    if not isinstance(error, ModelError):
        # Of the worker: the transcript could not be asked for, or there is a bug.
        said = f"{type(error).__name__}: {cut(str(error), MAX_SAID)}"
        return ModelError(
            said, kind=ModelFailure.SERVER_ERROR, retryable=left > 0, tokens=spent.model_dump()
        )
    verdict = verdict_on(error.kind, told_wait=error.retry_after, is_last_leg=is_last_leg)
    return ModelError(
        str(error.message),
        kind=error.kind,
        retryable=verdict.retryable and left > 0,
        retry_after=verdict.wait,
        tokens=spent.model_dump(),
    )
