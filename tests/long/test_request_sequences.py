"""Requests to people under random sequences of decisions, restarts and time."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from outlast_workers.settings import Settings
from pydantic import JsonValue
from temporalio.api.testservice.v1 import SleepRequest
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.service import RPCError

from outlast import (
    Agent,
    AgentResult,
    ask_human,
    tool,
)
from outlast.client.runs import Run
from outlast.contracts.human import hash_of
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer, call, calls
from tests.long.refunds import ASKED, EDITED, REFUND, WIRE, made, make
from tests.stage import on_stage, pending, staged_settings

MALFORMED: dict[str, JsonValue] = {"order_id": "42", "usd": "much"}


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    made.clear()


@tool(effect="irreversible", approval=REFUND)
def refund(order_id: str, usd: float) -> str:
    """Refund an order."""
    return make(order_id, usd)


@tool(effect="irreversible", approval=WIRE)
def wire(order_id: str, usd: float) -> str:
    """Wire money."""
    return make(order_id, usd)


clerk = Agent(
    name="clerk",
    instructions="Refund, ask, wire.",
    tools=[refund, wire, ask_human(str, expires=timedelta(hours=1))],
)


POLICY = {"1.1": REFUND, "1.2": REFUND, "2.1": WIRE}


def by_turn(prompt: Prompt) -> dict[str, JsonValue]:
    """Refund and ask side by side, then wire, then answer."""
    turn = sum(message["role"] == "assistant" for message in prompt.messages)
    both = calls(call("refund", **ASKED), call("ask_human", question="Which?"))
    return [both, call("wire", **ASKED), answer("done")][min(turn, 2)]


def model_by_turn() -> ScriptedModel:
    return ScriptedModel([by_turn], repeat_last=True)


RUNS = 3


SAY = st.fixed_dictionaries(
    {
        "run": st.integers(0, RUNS - 1),
        "what": st.sampled_from(["say", "pause", "resume"]),
        "payload": st.fixed_dictionaries({"by": st.just("zoe")}),
    }
)


DECIDE = st.fixed_dictionaries(
    {
        "run": st.integers(0, RUNS - 1),
        "what": st.just("decide"),
        "request_id": st.sampled_from(["1.1", "1.1", "1.1", "1.2", "2.1", "2.1", "2.1", "9.9"]),
        "decision": st.sampled_from(
            ["approve", "approve", "approve", "edit", "edit", "answer", "deny"]
        ),
        "by": st.sampled_from(["", "ann", "bo", "cy"]),
        "hash": st.sampled_from([None, None, None, hash_of(ASKED), hash_of(EDITED), "0"]),
        "arguments": st.sampled_from([EDITED, EDITED, ASKED, MALFORMED]),
        "answer": st.sampled_from(["red", "blue", 5]),
        "signal": st.booleans(),
    }
)


RESTART = st.just({"what": "restart"})


STOP = st.just({"what": "stop"})


JUMP = st.fixed_dictionaries(
    {"what": st.just("jump"), "seconds": st.sampled_from([1, 900, 1_800, 3_600])}
)


CANCEL = st.fixed_dictionaries({"what": st.just("cancel"), "run": st.just(0)})


STEPS = st.lists(
    st.one_of(DECIDE, DECIDE, DECIDE, DECIDE, DECIDE, SAY, RESTART, STOP, JUMP, CANCEL),
    min_size=5,
    max_size=25,
)


def decision(request_id: str, what: str, by: str, **fields: Any) -> dict[str, Any]:
    return {
        "run": 0,
        "what": "decide",
        "request_id": request_id,
        "decision": what,
        "by": by,
        "hash": None,
        "arguments": EDITED,
        "answer": "red",
        "signal": False,
        **fields,
    }


TO_THE_SECOND_TURN = [decision("1.1", "approve", "ann"), decision("1.2", "answer", "cy")]


WHILE_NOBODY_SERVES = [
    {"what": "stop"},
    *(decision("1.1", "edit", by) for by in ("ann", "bo")),
    decision("1.1", "deny", "cy"),
]


class Play:
    """Plays one sequence: a worker that comes and goes, and runs that it serves meanwhile."""

    def __init__(self, client: Client, own: Settings) -> None:
        self._client = client
        self._own = own.model_copy(update={"roles": ("workflows",)})
        self._workers = AsyncExitStack()
        self._serves = False
        self.runs: list[Run] = []
        self.voices: Counter[tuple[str, str, str]] = Counter()
        self.cancelled: set[str] = set()

    async def serve(self) -> None:
        if not self._serves:
            await self._workers.enter_async_context(
                on_stage(
                    self._client,
                    model_by_turn(),
                    [clerk],
                    settings=self._own,
                    has_search_attributes=False,
                )
            )
        self._serves = True

    async def stop(self) -> None:
        await self._workers.aclose()
        self._workers, self._serves = AsyncExitStack(), False

    async def take(self, step: dict[str, Any]) -> None:
        match step["what"]:
            case "restart":
                await self.stop()
                await self.serve()
            case "stop":
                await self.stop()
            case "jump":
                # The test server's time stands while a workflow task waits for a worker.
                await self.serve()
                await jump(self._client, step["seconds"])
            case "cancel":
                self.cancelled.add(self.runs[step["run"]].id)
                await self.runs[step["run"]].cancel()
            case "decide":
                await self._decide(self.runs[step["run"]], step)
            case what:
                payload = {"text": "hm", **step["payload"]} if what == "say" else step["payload"]
                await self._tell(self.runs[step["run"]], what, payload, signal=True)
        await asyncio.sleep(0.05 if self._serves else 0)

    async def _decide(self, run: Run, step: dict[str, Any]) -> None:
        payload = {
            "request_id": step["request_id"],
            "decision": step["decision"],
            "by": step["by"],
            "arguments_hash": step["hash"],
            **({"arguments": step["arguments"]} if step["decision"] == "edit" else {}),
            **({"answer": step["answer"]} if step["decision"] == "answer" else {}),
        }
        self.voices[run.id, step["request_id"], step["by"]] += 1
        await self._tell(run, "decide", payload, signal=step["signal"])

    async def _tell(self, run: Run, what: str, payload: Any, *, signal: bool) -> None:
        handle = self._client.get_workflow_handle(run.id)
        # The test server answers no update while no worker is about.
        try:
            if signal or not self._serves:
                await handle.signal(what, payload)
            else:
                await asyncio.wait_for(handle.execute_update(what, payload), 10)
        except (WorkflowUpdateFailedError, RPCError):
            return  # refused, or the run has ended: that is for the trail

    async def results(self) -> list[AgentResult]:
        await self.serve()
        # One after another: the test server takes one caller that lets its time pass.
        async with asyncio.timeout(60):
            return [await run.result() for run in self.runs]


async def jump(client: Client, seconds: float) -> None:
    """Let the test server's time pass."""
    request = SleepRequest(duration=Duration(seconds=int(seconds)))
    await client.test_service.unlock_time_skipping_with_sleep(
        request, timeout=timedelta(seconds=20)
    )


def check(play: Play, run: Run, result: AgentResult, steps: Sequence[Any]) -> None:
    """Check what a run did against the trail of its result."""
    trail = {one.request_id: one for one in result.decisions}
    mine = [(call_id, values) for workflow_id, call_id, values in made if workflow_id == run.id]
    assert len(trail) == len(result.decisions), steps
    assert max(Counter(call_id for call_id, _ in mine).values(), default=1) == 1, steps
    for call_id, values in mine:
        settled, policy = trail[call_id], POLICY[call_id]
        assert settled.arguments_hash == hash_of(values), (call_id, settled, steps)
        if settled.outcome == "expired":
            assert policy.on_expiry == "approve", (call_id, steps)
            continue
        assert settled.outcome == "approved", (call_id, settled, steps)
        assert policy.quorum == 1 or len(set(settled.approved_by)) >= policy.quorum
        for by in [settled.by, *settled.approved_by]:
            assert play.voices[run.id, call_id, by], (call_id, by, steps)
    if run.id in play.cancelled:
        return
    if result.stop_reason is None:
        assert (result.output, set(trail)) == ("done", {"1.1", "1.2", "2.1"}), (trail, steps)
    else:
        assert result.stop_reason == "deadline", (result, steps)  # nobody resumed it
    executed = {call_id for call_id, _ in mine}
    for call_id, settled in trail.items():
        allowed = settled.outcome == "approved" or (
            settled.outcome == "expired"
            and POLICY[call_id].on_expiry == "approve"
            and settled.edited_by is None
        )
        assert (call_id in executed) == (allowed and call_id != "1.2"), (call_id, settled, steps)


@settings(
    max_examples=2,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@example([*TO_THE_SECOND_TURN, decision("2.1", "edit", "ann"), {"what": "jump", "seconds": 3_600}])
@example([*TO_THE_SECOND_TURN, decision("2.1", "approve", "ann"), decision("2.1", "edit", "bo")])
@example([*TO_THE_SECOND_TURN, decision("2.1", "edit", "ann"), decision("2.1", "approve", "bo")])
@example(WHILE_NOBODY_SERVES)
@given(steps=STEPS)
@pytest.mark.timeout(240)
async def test_whatever_happens_only_what_was_approved_is_done_and_once(
    skips: Client, steps: list[dict[str, Any]]
) -> None:
    made.clear()
    own = staged_settings(cached=0)
    others = own.model_copy(update={"roles": ("generate", "tools")})
    async with on_stage(
        skips, model_by_turn(), [clerk], settings=others, has_search_attributes=False
    ) as stage:
        play = Play(skips, own)
        try:
            await play.serve()
            play.runs = [await stage.start("clerk") for _ in range(RUNS)]
            if steps[0]["what"] != "decide" or not steps[0]["signal"]:
                await asyncio.gather(*map(pending, play.runs))
            for step in steps:
                await play.take(step)
            results = await play.results()
        finally:
            await play.stop()
    for run, result in zip(play.runs, results, strict=True):
        check(play, run, result, steps)
