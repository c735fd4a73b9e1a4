"""The worker's memory: right or empty, never wrong, and bounded."""

import pytest
from outlast_activities.generation.transcript_cache import ENTRY_OVERHEAD_BYTES, TranscriptCache

from outlast.contracts.agents import Leg, PinnedAgent, Route
from outlast.contracts.generation import GenerateInput
from outlast.contracts.messages import Decision, Message, ToolCall
from outlast.errors import ModelError
from outlast.transcripts import agent_digest, decision_message, digest_of, tool_message

AGENT = PinnedAgent(
    name="a",
    instructions="Do.",
    output_schema={"type": "string"},
    route=Route(legs=(Leg(task_queue="q"),)),
)
CALL = Decision(tool_calls=(ToolCall(tool="look"),))
TRANSCRIPT = [
    Message(role="user", content="go"),
    decision_message(CALL),
    tool_message("look", "1.1", '"seen"'),
]


class FakeRun:
    """A run that answers from a transcript, and counts what it was asked."""

    def __init__(self, messages: list[Message]) -> None:
        self.transcript = messages
        self.asked: list[int] = []

    async def agent(self, workflow_id: str, run_id: str) -> PinnedAgent:
        self.asked.append(-1)
        return AGENT

    async def messages(self, workflow_id: str, run_id: str, since: int) -> list[Message]:
        self.asked.append(since)
        return list(self.transcript[since:])


def meaning(messages: list[Message], added: list[Message]) -> GenerateInput:
    return GenerateInput(
        turn=1,
        agent_digest=agent_digest(AGENT),
        length=len(messages),
        digest=digest_of(messages),
        added=tuple(added),
    )


FIRST = meaning(TRANSCRIPT[:1], TRANSCRIPT[:1])
SECOND = meaning(TRANSCRIPT, [TRANSCRIPT[2].model_copy(update={"content": None})])


async def test_what_this_worker_did_needs_no_query() -> None:
    run = FakeRun(TRANSCRIPT)
    memory = TranscriptCache(run)
    assert await memory.load("w", "r", FIRST) == TRANSCRIPT[:1]
    memory.add_decision("w", CALL)
    memory.keep_result("w", "1.1", '"seen"')
    assert await memory.load("w", "r", SECOND) == TRANSCRIPT
    assert await memory.load("w", "r", SECOND) == TRANSCRIPT  # another attempt
    assert run.asked == []


async def test_a_result_from_elsewhere_is_asked_for_alone() -> None:
    run = FakeRun(TRANSCRIPT)
    memory = TranscriptCache(run)
    await memory.load("w", "r", FIRST)
    memory.add_decision("w", CALL)
    assert await memory.load("w", "r", SECOND) == TRANSCRIPT
    assert run.asked == [2]


async def test_a_cold_worker_asks_for_everything() -> None:
    run = FakeRun(TRANSCRIPT)
    assert await TranscriptCache(run).load("w", "r", SECOND) == TRANSCRIPT
    assert run.asked == [0]


async def test_a_memory_of_another_run_with_that_id_is_not_used() -> None:
    run = FakeRun(TRANSCRIPT)
    memory = TranscriptCache(run)
    other = [Message(role="user", content="something else")]
    await memory.load("w", "old", meaning(other, other))
    memory.add_decision("w", CALL)
    memory.keep_result("w", "1.1", '"seen"')
    assert await memory.load("w", "r", SECOND) == TRANSCRIPT
    assert run.asked == [3, 0]


async def test_a_result_of_an_attempt_that_did_not_count_is_not_used() -> None:
    run = FakeRun(TRANSCRIPT)
    memory = TranscriptCache(run)
    await memory.load("w", "r", FIRST)
    memory.add_decision("w", CALL)
    memory.keep_result("w", "1.1", '"seen by an attempt that was too late"')
    assert await memory.load("w", "r", SECOND) == TRANSCRIPT


async def test_a_longer_transcript_than_meant_is_cut() -> None:
    longer = [*TRANSCRIPT, Message(role="user", content="said meanwhile")]
    assert await TranscriptCache(FakeRun(longer)).load("w", "r", SECOND) == TRANSCRIPT


async def test_a_run_that_has_another_transcript_is_an_error() -> None:
    memory = TranscriptCache(FakeRun(TRANSCRIPT[:1]))
    with pytest.raises(ModelError, match="is not the one of this call"):
        await memory.load("w", "r", SECOND)


async def test_the_least_recently_used_goes_first() -> None:
    run = FakeRun(TRANSCRIPT[:1])
    memory = TranscriptCache(run, max_bytes=3 * ENTRY_OVERHEAD_BYTES)
    for workflow_id in ("a", "b", "c", "a", "d"):
        await memory.load(workflow_id, "r", FIRST)
    run.asked.clear()
    known = meaning(TRANSCRIPT[:1], [])
    await memory.load("a", "r", known)
    await memory.load("d", "r", known)
    assert run.asked == []
    await memory.load("b", "r", known)
    assert run.asked == [0]


async def test_an_agent_is_asked_for_once() -> None:
    run = FakeRun(TRANSCRIPT)
    memory = TranscriptCache(run)
    for _ in range(3):
        assert await memory.agent("w", "r", agent_digest(AGENT)) == AGENT
    assert run.asked == [-1]
