"""Conversations: begun by a message, answered one after another, and ended by silence."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client

import outlast
from outlast import Agent, BadRequest, RunFailed, ask_human, tool
from outlast.contracts.human import HumanDecision
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer, call
from tests.stage import Flag, Stage, on_stage, pending

desk = Agent(name="desk", instructions="Chat.")


def echo(prompt: Prompt) -> dict[str, Any]:
    """Answer with how many entries there were and the last of them."""
    return answer(f"{len(prompt.messages) - 1}: {prompt.messages[-1]['content']}")


def echoing() -> ScriptedModel:
    return ScriptedModel([echo], repeat_last=True)


def chat_id() -> str:
    return f"chat-{uuid.uuid4().hex[:8]}"


async def chat(stage: Stage, run_id: str, text: str, **options: Any) -> Any:
    options = {"agent": desk, "within": timedelta(seconds=20), **options}
    return await stage.client.chat(run_id, text, task_queue=stage.task_queue, **options)


async def test_a_stateless_caller_chats_by_the_id_of_the_conversation_alone(
    temporal: Client, cached: int
) -> None:
    async with on_stage(temporal, echoing(), [desk], cached=cached) as stage:
        run_id = chat_id()
        assert await chat(stage, run_id, "hello") == "1: hello"
        assert await chat(stage, run_id, "again") == "3: again"
        stage.started(run_id)
        run = stage.client.get(run_id)
        await run.finish()
        result = await run.result()
    assert (result.status, result.output, result.turns) == ("completed", "3: again", 2)


async def test_a_message_that_is_sent_twice_is_heard_once(temporal: Client) -> None:
    async with on_stage(temporal, echoing(), [desk]) as stage:
        run_id = chat_id()
        first = await chat(stage, run_id, "hello", update_id="m1")
        assert await chat(stage, run_id, "hello", update_id="m1") == first
        await stage.client.get(run_id).finish()


async def test_a_conversation_that_has_ended_begins_again(temporal: Client) -> None:
    async with on_stage(temporal, echoing(), [desk]) as stage:
        run_id = chat_id()
        await chat(stage, run_id, "hello", limits={"idle_s": 0.5})
        result = await stage.client.get(run_id).result()
        assert (result.status, result.output) == ("completed", "1: hello")
        assert await chat(stage, run_id, "anybody?") == "1: anybody?"
        await stage.client.get(run_id).finish()


async def test_messages_of_several_people_at_once_are_all_answered(temporal: Client) -> None:
    async with on_stage(temporal, echoing(), [desk]) as stage:
        run_id = chat_id()
        chats = [chat(stage, run_id, f"message {n}", by=f"p{n}") for n in range(5)]
        answers = await asyncio.gather(*chats)
        assert all(str(one).split(": ")[1].startswith("message") for one in answers)
        user_texts = [
            m.content for m in await stage.client.get(run_id).transcript() if m.role == "user"
        ]
        assert sorted(filter(None, user_texts)) == [f"message {n}" for n in range(5)]
        await stage.client.get(run_id).finish()


async def test_reply_raises_when_the_conversation_ends_without_an_answer(
    temporal: Client,
) -> None:
    async def hang(prompt: Prompt) -> Any:
        await asyncio.sleep(60)

    async with on_stage(temporal, ScriptedModel([hang]), [desk]) as stage:
        run = await stage.start("desk", None, mode="conversation")
        await run.say("hello")
        waiting = asyncio.create_task(run.reply())
        await asyncio.sleep(0.5)
        await run.cancel()
        with pytest.raises(BadRequest, match=r"the run has ended \(cancelled\)"):
            await waiting
        assert (await run.result()).stop_reason == "cancelled"
        with pytest.raises(BadRequest, match="has ended without an answer: cancelled"):
            await run.reply()
        with pytest.raises(BadRequest, match="there is no run 'nobody'"):
            await stage.client.get("nobody").reply()


async def test_an_answer_that_takes_too_long_is_a_timeout_and_can_be_waited_for_again(
    temporal: Client,
) -> None:
    async def think(prompt: Prompt) -> Any:
        await asyncio.sleep(2)
        return answer("well")

    async with on_stage(temporal, ScriptedModel([think]), [desk]) as stage:
        run = await stage.start("desk", None, mode="conversation")
        await run.say("hello")
        with pytest.raises(TimeoutError):
            await run.reply(within=timedelta(seconds=0.5))
        assert await run.reply() == "well"
        assert await run.reply() == "well", "an answer can be read again"
        await run.finish()


async def test_a_conversation_without_a_first_message_ends_by_silence(temporal: Client) -> None:
    model = ScriptedModel([])
    async with on_stage(temporal, model, [desk]) as stage:
        silent = await stage.run("desk", None, mode="conversation", limits={"idle_s": 0.3})
        run = await stage.start("desk", None, mode="conversation")
        await run.finish()
        finished = await run.result()
    assert (silent.status, silent.stop_reason) == ("stopped", "deadline")
    assert (finished.status, finished.stop_reason) == ("stopped", "cancelled")


async def test_a_task_needs_an_input(temporal: Client) -> None:
    async with on_stage(temporal, ScriptedModel([]), [desk]) as stage:
        handle = await temporal.start_workflow(
            "AgentWorkflow", {"agent": "desk"}, id=chat_id(), task_queue=stage.task_queue
        )
        with pytest.raises(RunFailed, match="input: is required, except in a conversation"):
            await stage.client.get(handle.id).result()


async def test_an_unknown_agent_is_told_to_whoever_chats(temporal: Client) -> None:
    async with on_stage(temporal, ScriptedModel([]), [desk]) as stage:
        with pytest.raises(BadRequest, match="'dekk' is not registered .* did you mean 'desk'"):
            await chat(stage, chat_id(), "hello", agent="dekk")


async def test_a_message_that_is_refused_begins_no_conversation(temporal: Client) -> None:
    async with on_stage(temporal, ScriptedModel([]), [desk]) as stage:
        run_id = chat_id()
        with pytest.raises(BadRequest, match="text: '': string should have at least 1 character"):
            await chat(stage, run_id, "")
        with pytest.raises(BadRequest, match="does not exist"):
            await stage.client.get(run_id).finish()


async def test_a_message_sent_again_after_the_end_returns_its_answer(
    temporal: Client,
) -> None:
    async with on_stage(temporal, echoing(), [desk]) as stage:
        run_id = chat_id()
        options: dict[str, Any] = {"update_id": "k1", "limits": {"idle_s": 0.3}}
        assert await chat(stage, run_id, "hello", **options) == "1: hello"
        await stage.client.get(run_id).result()
        assert await chat(stage, run_id, "hello", **options) == "1: hello"


async def test_an_answer_comes_after_a_continue_as_new(
    impatient: Client,
    cached: int,
) -> None:
    @tool(effect="read")
    def look(n: int) -> str:
        """Look."""
        return "x" * 100

    looker = Agent(name="looker", instructions="Look.", tools=[look])
    script = [call("look", n=n) for n in range(25)]
    model = ScriptedModel([*script, answer("seen it all")])
    limits = {"max_turns": 60}
    async with on_stage(
        impatient, model, [looker], cached=cached, has_search_attributes=False
    ) as stage:
        run_id = chat_id()
        reply = await chat(stage, run_id, "look", agent=looker, limits=limits, update_id="m1")
        assert reply == "seen it all"
        run = stage.started(run_id)
        assert len(await stage.chain(run)) >= 2
        # The server does not know the id in the new run. A lost answer makes the client send it again.
        again = await chat(stage, run_id, "look", agent=looker, limits=limits, update_id="m1")
        assert again == "seen it all"
        messages = [entry.content for entry in await run.transcript() if entry.role == "user"]
        assert messages == ["look"]
        await stage.client.get(run_id).finish()


async def test_an_answer_sent_again_after_a_continue_as_new_counts_once(
    impatient: Client, cached: int
) -> None:
    @tool(effect="read")
    def look(n: int) -> str:
        """Look."""
        return "x" * 100

    ask = ask_human(str, audience="ops")
    asker = Agent(name="asker", instructions="Ask, look, ask.", tools=[look, ask])
    looks = [call("look", n=n) for n in range(25)]
    first, second = (call("ask_human", question=question) for question in ("a?", "b?"))
    model = ScriptedModel([first, *looks, second, answer("done")])
    async with on_stage(
        impatient, model, [asker], cached=cached, has_search_attributes=False
    ) as stage:
        run = await stage.start("asker", "go", limits={"max_turns": 60})
        yes = HumanDecision(
            request_id=(await pending(run)).request_id, decision="answer", answer="yes", by="ann"
        )
        await run.decide(yes, update_id="m1")
        async with asyncio.timeout(60):
            while (request := await pending(run)).question != "b?":
                await asyncio.sleep(0.1)
        assert len(await stage.chain(run)) >= 2
        # The server does not know the id in the new run. A client may take the text for a message, or for
        # the answer to the next question.
        assert await run.say("yes", by="ann", update_id="m1") == "was received before"
        again = yes.model_copy(update={"request_id": request.request_id})
        assert await run.decide(again, update_id="m1") == "was received before"
        await run.answer(request, "no", by="ann")
        result = await run.result()
        answers = [entry.content for entry in await run.transcript() if entry.tool == "ask_human"]
        messages = [entry.content for entry in await run.transcript() if entry.role == "user"]
    assert (result.output, messages) == ("done", ["go"])
    assert answers == ['{"answer":"yes"}', '{"answer":"no"}']


async def test_callers_who_wait_leave_room_for_who_decides(temporal: Client) -> None:
    @tool(effect="irreversible", approval="leads")
    def pay() -> str:
        """Pay."""
        return "paid"

    payer = Agent(name="payer", instructions="Pay.", tools=[pay])
    model = ScriptedModel([call("pay"), answer("done")])
    async with on_stage(temporal, model, [payer]) as stage:
        run = await stage.start("payer", None, mode="conversation")
        await run.say("pay")
        waiting = [asyncio.create_task(run.reply()) for _ in range(12)]
        request = await pending(run)
        await asyncio.sleep(1)
        async with asyncio.timeout(40):
            await run.approve(request, by="ann")
        assert await asyncio.gather(*waiting) == ["done"] * 12
        await run.finish()


async def test_a_chat_that_no_worker_serves_is_a_timeout(temporal: Client) -> None:
    client = outlast.Client(temporal)
    with pytest.raises(TimeoutError):
        await client.chat(
            chat_id(),
            "hello",
            agent=desk,
            task_queue="nobody-at-all",
            within=timedelta(seconds=1),
        )


async def test_what_is_said_while_a_run_ends_is_refused(temporal: Client) -> None:
    undoing = Flag()

    @tool(effect="write")
    async def unbook() -> str:
        """Undo."""
        undoing.set()
        await asyncio.sleep(1)
        return "undone"

    @tool(effect="write", compensate=unbook)
    def book() -> str:
        """Book."""
        return "booked"

    async def hang(prompt: Prompt) -> Any:
        await asyncio.sleep(60)

    booker = Agent(name="booker", instructions="Book.", tools=[book])
    model = ScriptedModel([call("book"), hang])
    async with on_stage(temporal, model, [booker], tools=[unbook]) as stage:
        run = await stage.start("booker", None, mode="conversation")
        await run.say("book")
        waiting = asyncio.create_task(run.reply())
        async with asyncio.timeout(40):
            while len(model.prompts) < 2:
                await asyncio.sleep(0.1)
        await run.cancel()
        with pytest.raises(BadRequest, match=r"the run has ended \(cancelled\)"):
            await waiting
        await undoing.wait()
        with pytest.raises(BadRequest, match="the run is ending: it takes no more messages"):
            await run.say("wait!")
        for steer in (run.pause, run.resume, run.finish):
            with pytest.raises(BadRequest, match="the run is ending: it takes no more turns"):
                await steer()
        assert (await run.result()).stop_reason == "cancelled"
