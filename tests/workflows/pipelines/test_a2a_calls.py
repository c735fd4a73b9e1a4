"""`call: a2a` with a real agent of the SDK of A2A: outputs, errors, questions, waiting and cancelling."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from outlast_workers.settings_sections.http import HttpSecret, HttpSettings
from temporalio.client import Client

from outlast import OutlastError
from outlast.testing import ScriptedModel
from tests.stage import Stage, on_stage, pending, staged_settings
from tests.workflows.pipelines.a2a_agent import TOKEN, Agent
from tests.workflows.pipelines.staging import document, output_of, result_of, start
from tests.workflows.resets import ACTIVITY, reset

ERRORS = "https://serverlessworkflow.io/spec/1.0.0/errors/"
WITHIN_S = 60


@pytest_asyncio.fixture(scope="module")
async def opened_agent() -> AsyncIterator[Agent]:
    async with Agent().open() as agent:
        yield agent


@pytest_asyncio.fixture(scope="module")
async def staged(temporal: Client, opened_agent: Agent) -> AsyncIterator[Stage]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENT_TOKEN", TOKEN)
        secret = HttpSecret(value="env:AGENT_TOKEN", hosts=(opened_agent.url,))
        http = HttpSettings(hosts=(opened_agent.url,), secrets={"agent": secret})
        # Not 0: then Temporal's SDK loses a task for 10 s if several runs work at the same time.
        settings = staged_settings(cached=1).model_copy(update={"http": http})
        async with on_stage(temporal, ScriptedModel([]), settings=settings) as opened:
            yield opened


@pytest.fixture
def stage(staged: Stage, opened_agent: Agent) -> Stage:
    opened_agent.reset()
    return staged


@pytest.fixture
def agent(opened_agent: Agent) -> Agent:
    return opened_agent


def send(agent: Agent, text: str, **more: Any) -> dict[str, Any]:
    message = {"parts": [{"kind": "text", "text": text}]}
    given = {"agentCard": {"endpoint": agent.card_url}, "parameters": {"message": message}}
    return {"call": "a2a", "with": {"method": "message/send", **given}, **more}


def to_server(server: Any, method: str, parameters: Any) -> dict[str, Any]:
    return {"call": "a2a", "with": {"method": method, "server": server, "parameters": parameters}}


def caught(task: dict[str, Any]) -> dict[str, Any]:
    """Return a document whose output is the error of a task."""
    handler = [{"seen": {"set": "${ $error | {type, status, detail} }"}}]
    return document({"safe": {"try": [{"call": task}], "catch": {"do": handler}}})


async def errors_of(stage: Stage, *tasks: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the errors of tasks that run at the same time."""
    branches = [{f"b{number}": caught(task)["do"][0]["safe"]} for number, task in enumerate(tasks)]
    found: list[dict[str, Any]] = await output_of(
        stage, document({"all": {"fork": {"branches": branches}}})
    )
    return found


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0.02)


async def test_the_output_is_the_task_when_it_has_ended(stage: Stage, agent: Agent) -> None:
    pipeline = document({"ask": send(agent, "${ .text }")})
    task = (await output_of(stage, pipeline, {"text": "say hello"}))["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    assert task["artifacts"][0]["parts"][0]["text"] == "say hello"
    assert [request["method"] for request in agent.requests[:2]] == [None, "SendMessage"]
    assert agent.requests[1]["headers"]["a2a-version"] == "1.0"
    assert len(agent.messages) == 1
    assert len(agent.messages[0].message_id) == 32


async def test_a_reply_without_a_task_is_the_output(stage: Stage, agent: Agent) -> None:
    output = await output_of(stage, document({"ask": send(agent, "reply at once")}))
    assert output["message"]["parts"] == [{"text": "at once"}]


async def test_a_task_is_read_and_cancelled_by_its_id(stage: Stage, agent: Agent) -> None:
    server = f"{agent.url}/rpc"
    parameters = {
        "message": {"messageId": "mine", "parts": [{"text": "work long"}]},
        "configuration": {"returnImmediately": True},
    }
    begin = to_server(server, "SendMessage", parameters)
    pipeline = document(
        {"begin": {**begin, "export": {"as": ".task.id"}}},
        {"get": to_server({"uri": server}, "tasks/get", {"id": "${ $context }"})},
        {"cancel": to_server(server, "tasks/cancel", {"id": "${ $context }"})},
    )
    task = await output_of(stage, pipeline)
    assert task["status"]["state"] == "TASK_STATE_CANCELED"
    assert agent.cancelled == [task["id"]]
    assert agent.messages[0].message_id == "mine"


async def test_a_task_that_does_not_complete_is_an_error(stage: Stage, agent: Agent) -> None:
    texts = ("fail out of paper", "reject not my work", "login first", "ask which order?")
    found = await errors_of(stage, *(send(agent, text) for text in texts))
    assert found == [
        {"type": f"{ERRORS}runtime", "status": 500, "detail": "out of paper"},
        {"type": f"{ERRORS}runtime", "status": 500, "detail": "not my work"},
        {"type": f"{ERRORS}authentication", "status": 401, "detail": "first"},
        {"type": "urn:outlast:error:input-required", "status": 409, "detail": "which order?"},
    ]
    assert len(agent.cancelled) == 2  # the two that would wait


async def test_errors_of_a_server_are_those_of_the_dsl(stage: Stage, agent: Agent) -> None:
    expected = (
        ("/odd/text", "communication", 502, "did not answer in JSON-RPC"),
        ("/odd/id", "communication", 502, "another request"),
        ("/odd/empty", "communication", 502, "without a task"),
        ("/odd/state", "communication", 502, "TASK_STATE_DANCING"),
        ("/odd/forbidden", "authorization", 403, "answered 403"),
        ("/guarded", "authentication", 401, "answered 401"),
        ("/nothing", "communication", 404, "answered 404"),
    )
    parameters = {"message": {"parts": [{"text": "say hello"}]}}
    found = await errors_of(
        stage,
        *(to_server(agent.url + place, "message/send", parameters) for place, *_ in expected),
    )
    for error, (place, kind, status, words) in zip(found, expected, strict=True):
        assert (error["type"], error["status"]) == (ERRORS + kind, status), place
        assert words in error["detail"]


async def test_errors_of_the_protocol_of_parameters_and_of_cards(
    stage: Stage, agent: Agent
) -> None:
    rpc = f"{agent.url}/rpc"
    old, none, private = (send(agent, "say hello") for _ in range(3))
    old["with"]["agentCard"] = {"endpoint": f"{agent.url}/odd/card"}
    none["with"]["agentCard"] = {"endpoint": f"{agent.url}/odd/none"}
    private["with"]["agentCard"] = {"endpoint": f"http://localhost:{agent.port}/card"}
    expected = (
        ("runtime", 404, "-32001"),
        ("validation", 400, "/parameters/id: is required"),
        ("configuration", 400, "no interface 'JSONRPC' of version '1.0'"),
        ("configuration", 400, "is not an agent card"),
        ("authorization", 403, "add it to http.hosts"),
    )
    found = await errors_of(
        stage,
        to_server(rpc, "tasks/get", {"id": "unknown"}),
        to_server(rpc, "tasks/get", "${ {} }"),
        old,
        none,
        private,
    )
    for error, (kind, status, words) in zip(found, expected, strict=True):
        assert (error["type"], error["status"]) == (ERRORS + kind, status)
        assert words in error["detail"]
    assert len(agent.requests) == 3


async def test_secrets_go_to_their_hosts_and_stay_on_the_worker(stage: Stage, agent: Agent) -> None:
    server = {"uri": f"{agent.url}/guarded", "authentication": {"bearer": {"use": "agent"}}}
    task = to_server(server, "message/send", {"message": {"parts": [{"text": "say hello"}]}})
    output = await output_of(stage, document({"ask": task}, use={"secrets": ["agent"]}))
    assert output["message"]["parts"][0]["text"].startswith("you sent ")
    assert TOKEN not in str(output)
    assert TOKEN not in (await stage.last()).to_json()


async def test_people_answer_what_an_agent_asks(stage: Stage, agent: Agent) -> None:
    task = send(agent, "ask which order?", metadata={"outlast": {"audience": "support"}})
    run = await start(stage, document({"refund": task}))
    request = await pending(run)
    assert request.audience == "support"
    assert request.question == "the agent of refund asks: which order?"
    await run.answer(request.request_id, "order 7", by="ann")
    result = await result_of(stage, run)
    assert result["output"]["task"]["artifacts"][0]["parts"][0]["text"] == "order 7"
    assert [each["outcome"] for each in result["decisions"]] == ["answered"]
    first, second = agent.messages
    assert second.task_id == result["output"]["task"]["id"]
    assert second.message_id.endswith("-1")
    assert not second.message_id.startswith(first.message_id)  # it is another one after a reset


async def test_a_message_has_the_same_id_after_a_reset(stage: Stage, agent: Agent) -> None:
    agent.goes_on.set()
    run = await start(stage, document({"ask": send(agent, "work long")}))
    await result_of(stage, run)
    await reset(stage.client.temporal, run.id, before=ACTIVITY)
    await result_of(stage, run)
    assert len(agent.messages) == 2
    assert len({message.message_id for message in agent.messages}) == 1


async def test_each_call_sends_a_message_of_its_own(stage: Stage, agent: Agent) -> None:
    calls = [{"ask": send(agent, "say hello")}, {"again": send(agent, "say hello")}]
    await output_of(stage, document(*calls))
    assert len({message.message_id for message in agent.messages}) == 2


async def test_a_question_is_withdrawn_when_others_answer_it(stage: Stage, agent: Agent) -> None:
    task = send(agent, "ask colleagues", metadata={"outlast": {"audience": "support"}})
    run = await start(stage, document({"refund": task}))
    await pending(run)
    agent.goes_on.set()
    result = await result_of(stage, run)
    assert result["output"]["task"]["artifacts"][0]["parts"][0]["text"] == "a colleague answered"
    assert result["decisions"] == []


async def test_a_question_that_the_agent_still_shows_is_asked_once(
    stage: Stage, agent: Agent
) -> None:
    parameters = {"message": {"parts": [{"text": "refund"}]}}
    task = to_server(f"{agent.url}/late", "message/send", parameters)
    task["metadata"] = {"outlast": {"audience": "support"}}
    run = await start(stage, document({"refund": task}))
    await run.answer((await pending(run)).request_id, "order 7", by="ann")
    await until(lambda: len(agent.late_texts) == 2 and agent.late_polls >= 2)
    assert await run.pending_requests() == []
    agent.goes_on.set()
    result = await result_of(stage, run)
    assert agent.late_texts == ["refund", "order 7"]
    assert [each["outcome"] for each in result["decisions"]] == ["answered"]


async def test_the_same_words_from_the_agent_later_are_another_question(
    stage: Stage, agent: Agent
) -> None:
    task = send(agent, "ask which order?", metadata={"outlast": {"audience": "support"}})
    run = await start(stage, document({"refund": task}))
    for answer in ("ask which order?", "order 7"):
        await run.answer((await pending(run)).request_id, answer, by="ann")
        await until(partial(agent.has, answer))
    result = await result_of(stage, run)
    assert [each["outcome"] for each in result["decisions"]] == ["answered", "answered"]


async def test_an_answer_is_not_sent_to_another_question(stage: Stage, agent: Agent) -> None:
    task = send(agent, "ask twice", metadata={"outlast": {"audience": "support"}})
    run = await start(stage, document({"refund": task}))
    first = await pending(run)
    agent.is_away = True  # so that the pipeline does not see the next question too early
    agent.goes_on.set()
    await until(lambda: agent.questions == 2)
    answering = asyncio.create_task(run.answer(first.request_id, "order 7", by="ann"))
    agent.is_away = False
    with suppress(OutlastError):  # it saw the next question
        await answering
    async with asyncio.timeout(WITHIN_S):
        while (second := await pending(run)).request_id == first.request_id:
            await asyncio.sleep(0.05)
    assert second.question == "the agent of refund asks: which colour?"
    await run.answer(second.request_id, "say red", by="ann")
    result = await result_of(stage, run)
    assert result["output"]["task"]["artifacts"][0]["parts"][0]["text"] == "say red"
    assert not agent.has("order 7")


async def test_a_wait_outlasts_an_agent_that_is_away(stage: Stage, agent: Agent) -> None:
    run = await start(stage, document({"ask": send(agent, "work long")}))
    await until(lambda: "GetTask" in [request["method"] for request in agent.requests])
    agent.is_away = True
    seen = len(agent.requests)
    await until(lambda: len(agent.requests) > seen)
    agent.is_away = False
    agent.goes_on.set()
    result = await result_of(stage, run)
    assert result["output"]["task"]["artifacts"][0]["parts"][0]["text"] == "work long"
    assert len(agent.messages) == 1


async def test_an_answer_and_a_cancellation_outlast_an_agent_that_is_away(
    stage: Stage, agent: Agent
) -> None:
    task = send(agent, "ask which order?", metadata={"outlast": {"audience": "support"}})
    runs = [await start(stage, document({"refund": task})) for _ in range(2)]
    requests = [await pending(run) for run in runs]
    agent.is_away = agent.is_readable = True
    seen = len(agent.requests)

    def lost(method: str) -> int:
        return sum(request["method"] == method for request in agent.requests[seen:])

    await runs[0].answer(requests[0].request_id, "order 7", by="ann")
    await runs[1].cancel()
    # One activity has four attempts.
    await until(lambda: lost("SendMessage") > 4 and lost("CancelTask") > 4)
    agent.is_away = False
    result = await result_of(stage, runs[0])
    assert result["output"]["task"]["artifacts"][0]["parts"][0]["text"] == "order 7"
    assert (await result_of(stage, runs[1]))["status"] == "stopped"
    assert len(agent.cancelled) == 1


async def test_a_call_that_ends_early_cancels_the_task_of_the_agent(
    stage: Stage, agent: Agent
) -> None:
    stop = {"listen": {"to": {"one": {"with": {"type": "stop"}}}}}
    branches = [{"slow": send(agent, "work two")}, {"fast": stop}]
    late = await start(stage, caught(send(agent, "work late", timeout={"after": "PT2S"})))
    plain = await start(stage, document({"ask": send(agent, "work one")}))
    await until(lambda: agent.has("work one"))
    await plain.cancel()
    assert (await result_of(stage, plain))["status"] == "stopped"
    fork = {"fork": {"compete": True, "branches": branches}}
    race = await start(stage, document({"race": fork}))
    await until(lambda: agent.has("work two"))
    handle = stage.client.temporal.get_workflow_handle(race.id)
    await handle.signal("event", {"type": "stop"})
    assert (await result_of(stage, race))["status"] == "completed"
    assert (await result_of(stage, late))["output"]["type"] == f"{ERRORS}timeout"
    assert len(agent.cancelled) == len(agent.messages)
