"""A worker's cache of transcripts. It is bounded and checked by digest, and losing it costs only a query.

A model call names its transcript by length and digest. The cache usually has it from earlier steps of
the run. A query of the workflow returns what is missing.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from outlast.contracts.agents import PinnedAgent
from outlast.contracts.generation import GenerateInput
from outlast.contracts.messages import Decision, Message, Opaque
from outlast.errors import ModelError, ModelFailure
from outlast.transcripts import (
    EMPTY_DIGEST,
    agent_digest,
    decision_message,
    digest_of,
    extended,
    opaque_bytes,
)
from outlast.weighed_cache import WeighedCache

ENTRY_OVERHEAD_BYTES = 500
"""A rough size of a cached message besides its content, so that many small messages are bounded too."""

MAX_AGENT_BYTES = 32_000_000
"""Pinned agents in the cache, as JSON. Their objects take a few times as much memory."""


class RunQueries(Protocol):
    """Queries a running workflow for what the cache does not have."""

    async def agent(self, workflow_id: str, run_id: str) -> PinnedAgent:
        """Return the agent that the run pinned."""
        ...

    async def messages(self, workflow_id: str, run_id: str, since: int) -> list[Message]:
        """Return the transcript from entry `since` to its end."""
        ...


@dataclass(frozen=True)
class CachedAgent:
    """A pinned agent with its digest, as this worker computed it."""

    agent: PinnedAgent
    digest: str


@dataclass
class CachedTranscript:
    """A transcript with its digest and its size in bytes."""

    messages: list[Message]
    digest: str
    size: int

    def append(self, message: Message) -> None:
        """Add the next entry."""
        self.messages.append(message)
        self.digest = extended(self.digest, message)
        self.size += _size(message)


class TranscriptCache:
    """Recent transcripts, tool results and agents. The least recently used are dropped first.

    Transcripts and results share one bound, `max_bytes`, so neither is a plain LRU cache.
    """

    def __init__(self, queries: RunQueries, *, max_bytes: int = 64_000_000) -> None:
        self._queries = queries
        self._max_bytes = max_bytes
        self._size = 0
        self._transcripts: OrderedDict[str, CachedTranscript] = OrderedDict()
        self._results: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        self._agents: WeighedCache[tuple[str, ...], CachedAgent] = WeighedCache(
            max_bytes=MAX_AGENT_BYTES
        )

    def keep_result(self, workflow_id: str, run_id: str, call_id: str, content: str) -> None:
        """Keep a tool result for the next model call of its run."""
        self._pop_result(workflow_id, run_id, call_id)
        self._results[workflow_id, run_id, call_id] = content
        self._size += len(content) + ENTRY_OVERHEAD_BYTES
        self._shrink()

    async def agent(self, workflow_id: str, run_id: str, digest: str) -> CachedAgent:
        """Return the agent of a run.

        Runs share an agent only if its digest is the one that they name. Otherwise a run could replace
        the agent of another one. A worker of another version computes other digests: then the agent is
        kept for its run alone.
        """
        own_key = (workflow_id, run_id, digest)
        cached = self._agents.get((digest,)) or self._agents.get(own_key)
        if cached is None:
            agent = await self._queries.agent(workflow_id, run_id)
            cached = CachedAgent(agent, agent_digest(agent))
            key = (digest,) if cached.digest == digest else own_key
            self._agents.put(key, cached, len(agent.model_dump_json()) + ENTRY_OVERHEAD_BYTES)
        return cached

    async def load(self, workflow_id: str, run_id: str, wanted: GenerateInput) -> list[Message]:
        """Return the transcript of a model call. Raises `ModelError` if the run has a different one.

        The list belongs to the cache: `add_decision` appends to it later.
        """
        cached = self._pop_transcript(workflow_id)
        self._complete(cached, workflow_id, run_id, wanted)
        # First query only what is missing. If the digest still differs, query everything.
        for start in (len(cached.messages), 0):
            if cached.digest == wanted.digest:
                break
            del cached.messages[start:]
            cached.messages += await self._queries.messages(workflow_id, run_id, start)
            del cached.messages[wanted.length :]
            cached.digest = digest_of(cached.messages)
            cached.size = sum(map(_size, cached.messages))
        if cached.digest != wanted.digest:
            raise ModelError(
                f"the transcript of {workflow_id!r} is not the one of this call",
                kind=ModelFailure.SERVER_ERROR,
                retryable=True,
            )
        self._pop_transcript(
            workflow_id
        )  # an overlapping attempt may have added one during a query
        self._transcripts[workflow_id] = cached
        self._size += cached.size
        self._shrink()
        return cached.messages

    def add_decision(
        self, workflow_id: str, decision: Decision, opaque: Opaque | None = None
    ) -> None:
        """Append a decision to a transcript that was loaded."""
        cached = self._transcripts.get(workflow_id)
        if cached is not None:
            cached.append(decision_message(decision, opaque))
            self._size += _size(cached.messages[-1])

    def forget(self, workflow_id: str) -> None:
        """Drop a transcript that is probably not needed again."""
        self._pop_transcript(workflow_id)

    def _pop_transcript(self, workflow_id: str) -> CachedTranscript:
        cached = self._transcripts.pop(workflow_id, None) or CachedTranscript([], EMPTY_DIGEST, 0)
        self._size -= cached.size
        return cached

    def _complete(
        self, cached: CachedTranscript, workflow_id: str, run_id: str, wanted: GenerateInput
    ) -> None:
        """Append the new messages of a call, if all of them are here and they follow the cached ones."""
        if len(cached.messages) + len(wanted.added) != wanted.length:
            return
        messages = [
            self._with_content(workflow_id, run_id, reference) for reference in wanted.added
        ]
        if None not in messages:
            for message in filter(None, messages):
                cached.append(message)

    def _with_content(self, workflow_id: str, run_id: str, message: Message) -> Message | None:
        content = self._pop_result(workflow_id, run_id, message.call_id or "")
        if message.content is not None:
            return message
        if content is None:
            return None
        return message.model_copy(update={"content": content})

    def _pop_result(self, workflow_id: str, run_id: str, call_id: str) -> str | None:
        content = self._results.pop((workflow_id, run_id, call_id), None)
        if content is not None:
            self._size -= len(content) + ENTRY_OVERHEAD_BYTES
        return content

    def _shrink(self) -> None:
        """Drop the oldest transcripts, and then results, which the next model calls need."""
        while self._size > self._max_bytes and self._transcripts:
            _, cached = self._transcripts.popitem(last=False)
            self._size -= cached.size
        while self._size > self._max_bytes and self._results:
            self._pop_result(*next(iter(self._results)))


def _size(message: Message) -> int:
    return len(message.content or "") + opaque_bytes(message) + ENTRY_OVERHEAD_BYTES
