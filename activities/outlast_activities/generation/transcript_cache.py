"""The worker's memory of transcripts: bounded, checked by digest, and never needed.

A model call names the transcript that it means by length and digest. What this worker kept from the
run's earlier steps usually makes it up; what is missing is asked of the workflow with a query.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from outlast.contracts.agents import PinnedAgent
from outlast.contracts.generation import GenerateInput
from outlast.contracts.messages import Decision, Message
from outlast.errors import ModelError, ModelFailure
from outlast.transcripts import (
    EMPTY_DIGEST,
    decision_message,
    digest_of,
    extended,
)

ENTRY_OVERHEAD_BYTES = 500
"""What a kept message weighs besides its content, roughly: so that many small ones are bounded too."""

MAX_AGENTS = 1_000
"""Pinned agents kept; each is as large as its instructions and schemas."""


class RunSource(Protocol):
    """Asks a running workflow for what this worker does not have."""

    async def agent(self, workflow_id: str, run_id: str) -> PinnedAgent:
        """Return the agent that the run pinned."""
        ...

    async def messages(self, workflow_id: str, run_id: str, since: int) -> list[Message]:
        """Return the transcript from entry `since` to its end."""
        ...


@dataclass
class _Kept:
    messages: list[Message]
    digest: str
    weight: int


class Transcripts:
    """Recent transcripts, tool results and agents, the least recently used going first."""

    def __init__(self, source: RunSource, *, max_bytes: int = 64_000_000) -> None:
        self._source = source
        self._max_bytes = max_bytes
        self._weight = 0
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._results: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._agents: OrderedDict[str, PinnedAgent] = OrderedDict()

    def keep_result(self, workflow_id: str, call_id: str, content: str) -> None:
        """Keep a tool's result for the model call that will mean it."""
        self._take_result(workflow_id, call_id)
        self._results[workflow_id, call_id] = content
        self._weight += len(content) + ENTRY_OVERHEAD_BYTES
        self._shrink()

    async def agent(self, workflow_id: str, run_id: str, digest: str) -> PinnedAgent:
        """Return the run's agent."""
        if digest not in self._agents:
            self._agents[digest] = await self._source.agent(workflow_id, run_id)
            if len(self._agents) > MAX_AGENTS:
                self._agents.popitem(last=False)
        self._agents.move_to_end(digest)
        return self._agents[digest]

    async def load(self, workflow_id: str, run_id: str, wanted: GenerateInput) -> list[Message]:
        """Return the transcript that a model call means; raises `ModelError` if the run has another."""
        kept = self._taken(workflow_id)
        self._complete(kept, workflow_id, wanted)
        # First what is new; where that does not add up, everything.
        for start in (len(kept.messages), 0):
            if kept.digest == wanted.digest:
                break
            del kept.messages[start:]
            kept.messages += await self._source.messages(workflow_id, run_id, start)
            del kept.messages[wanted.length :]
            kept.digest = digest_of(kept.messages)
            kept.weight = sum(map(_weight, kept.messages))
        if kept.digest != wanted.digest:
            raise ModelError(
                f"the transcript of {workflow_id!r} is not the one that this call means",
                kind=ModelFailure.SERVER_ERROR,
                retryable=True,
            )
        self._taken(workflow_id)  # an overlapping attempt may have put one there meanwhile
        self._kept[workflow_id] = kept
        self._weight += kept.weight
        self._shrink()
        return kept.messages

    def add_decision(self, workflow_id: str, decision: Decision) -> None:
        """Keep a decision as the next entry of a transcript that was loaded."""
        kept = self._kept.get(workflow_id)
        if kept is not None:
            _append(kept, decision_message(decision))
            self._weight += _weight(kept.messages[-1])

    def forget(self, workflow_id: str) -> None:
        """Let go of a transcript whose last model call was probably made; it can be asked for again."""
        self._taken(workflow_id)

    def _taken(self, workflow_id: str) -> _Kept:
        kept = self._kept.pop(workflow_id, None) or _Kept([], EMPTY_DIGEST, 0)
        self._weight -= kept.weight
        return kept

    def _complete(self, kept: _Kept, workflow_id: str, wanted: GenerateInput) -> None:
        """Append what the call adds, if all of it is here and it follows on what was kept."""
        if len(kept.messages) + len(wanted.added) != wanted.length:
            return
        filled = [self._filled(workflow_id, reference) for reference in wanted.added]
        if None not in filled:
            for message in filter(None, filled):
                _append(kept, message)

    def _filled(self, workflow_id: str, message: Message) -> Message | None:
        content = self._take_result(workflow_id, message.call_id or "")
        if message.content is not None:
            return message
        if content is None:
            return None
        return message.model_copy(update={"content": content})

    def _take_result(self, workflow_id: str, call_id: str) -> str | None:
        content = self._results.pop((workflow_id, call_id), None)
        if content is not None:
            self._weight -= len(content) + ENTRY_OVERHEAD_BYTES
        return content

    def _shrink(self) -> None:
        """Let go of the transcripts used longest ago, and then of results: those are about to be used."""
        while self._weight > self._max_bytes and self._kept:
            _, kept = self._kept.popitem(last=False)
            self._weight -= kept.weight
        while self._weight > self._max_bytes and self._results:
            self._take_result(*next(iter(self._results)))


def _append(kept: _Kept, message: Message) -> None:
    kept.messages.append(message)
    kept.digest = extended(kept.digest, message)
    kept.weight += _weight(message)


def _weight(message: Message) -> int:
    return len(message.content or "") + ENTRY_OVERHEAD_BYTES
