"""Tests of agents: scripts that do not fit, guessed values, recordings, and forbidden model requests."""

import asyncio
import datetime
import enum
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from outlast_activities.policies.schema_checker import SchemaChecker
from outlast_activities.providers.registry import connected
from outlast_workers.settings import load_settings
from pydantic import BaseModel, Field

from bench.scripted_model.scripts import Step
from bench.scripted_model_server import ScriptedModelServer, Steps
from outlast import Agent, Retry, RunFailed, ToolContext, ask_human, dependency, tool
from outlast.errors import ModelError, ModelFailure, NotReady
from outlast.jsonschema.canonical import canonical_schema
from outlast.jsonschema.plausible_values import NoPlausibleValue, plausible_value
from outlast.jsonschema.type_schemas import schema_of
from outlast.model_requests import VARIABLE
from outlast.model_server import ModelServer, Prompt, ServerOptions
from outlast.testing import (
    AgentEnvironment,
    PlausibleModel,
    RecordedModel,
    ScriptedModel,
    ScriptExhausted,
    ScriptUnfinished,
    allow_model_requests,
    answer,
    call,
    calls,
    real_model,
)


@pytest.fixture(scope="module")
def environment() -> Iterator[AgentEnvironment]:
    with AgentEnvironment() as started:
        yield started


class Shop:
    """A dependency."""


@dependency
def shop() -> Shop:
    raise AssertionError("the tests open no shop")


@tool(effect="read")
def look(context: ToolContext[Shop], place: Literal["Rome", "Oslo"]) -> str:
    """Look."""
    return f"{place} {context.deps}"


@tool(effect="write", approval="leads")
async def pay(amount: Annotated[int, Field(ge=1)]) -> str:
    """Pay."""
    return f"paid {amount}"


class Report(BaseModel):
    """An answer."""

    text: str
    count: Annotated[int, Field(gt=0)]


DESK = Agent(
    name="desk",
    instructions="Help.",
    tools=[look, pay, ask_human(int, name="ask")],
    output=Report,
    deps=shop,
)
DONE: Any = answer({"text": "done", "count": 1})


def run(environment: AgentEnvironment, *steps: Any, **options: Any) -> Any:
    return environment.run(
        DESK, "go", model=ScriptedModel(steps), deps={shop: "the fake"}, **options
    )


def test_a_run_uses_the_fake_and_the_decisions(environment: AgentEnvironment) -> None:
    model = ScriptedModel(
        [calls(call("look", place="Rome"), call("pay", amount=5)), call("ask", question="?"), DONE]
    )
    asked: list[str] = []

    def decide(request: Any) -> Any:
        asked.append(request.tool)
        return 7 if request.kind == "question" else True

    result = environment.run(DESK, "go", model=model, deps={shop: "fake"}, decide=decide)
    assert result.output == Report(text="done", count=1)
    assert asked == ["pay", "ask"]
    shown = str(model.prompts[-1].messages)
    assert "Rome fake" in shown
    assert "paid 5" in shown
    assert "7" in shown


@pytest.mark.parametrize(
    ("steps", "error", "reason"),
    [
        ([call("look", place="Rome")], ScriptExhausted, "the script has 1 steps; prompt 2 came"),
        ([DONE, DONE], ScriptUnfinished, "1 of 2 steps were not used; the next one is {'answer'"),
        ([call("fly")], AssertionError, "is not possible in this turn"),
        ([call("look", place="Mars")], AssertionError, "is not possible in this turn: .*place"),
        ([answer({"text": "x", "count": 0})], AssertionError, "is not possible in this turn"),
        ([call("pay", amount=5)], AssertionError, "waits for a person .*pay.*: pass decide="),
        ([lambda prompt: pytest.fail("a check of the prompt")], BaseException, "a check of the"),
    ],
)
def test_a_script_that_does_not_fit_fails_the_test(
    environment: AgentEnvironment, steps: Any, error: Any, reason: str
) -> None:
    with pytest.raises(error, match=reason):
        run(environment, *steps)


def test_a_decision_that_is_none_fails_the_test(environment: AgentEnvironment) -> None:
    with pytest.raises(AssertionError, match="decide returned 'yes' .*; return True or False"):
        run(environment, call("pay", amount=5), decide=lambda request: "yes")


def test_a_raw_text_may_be_invalid(environment: AgentEnvironment) -> None:
    result = run(environment, "not JSON", '{"answer":3}', DONE)
    assert result.turns == 1


def test_a_failed_run_is_raised(environment: AgentEnvironment) -> None:
    @tool(effect="read")
    def fail() -> str:
        raise KeyError("broken")

    agent = Agent(name="failing", instructions="Fail.", tools=[fail])
    agent.check(lambda text: None)
    with pytest.raises(RunFailed, match="KeyError"):
        environment.run(agent, "go", model=ScriptedModel([call("fail")]))


def test_a_check_of_an_agent_runs(environment: AgentEnvironment) -> None:
    agent = Agent(name="checked", instructions="Answer.")

    @agent.check
    def is_short(text: str) -> None:
        if len(text) > 3:
            raise Retry("too long")

    model = ScriptedModel([answer("much too long"), answer("ok")])
    assert environment.run(agent, "go", model=model).output == "ok"


def test_a_fake_that_no_tool_needs_is_rejected(environment: AgentEnvironment) -> None:
    agent = Agent(name="plain", instructions="Answer.")
    with pytest.raises(AssertionError, match="nothing of agent 'plain' needs 'shop'"):
        environment.run(agent, "go", model=PlausibleModel(), deps={shop: 1})


def test_a_plausible_model_calls_each_tool_once(environment: AgentEnvironment) -> None:
    model = PlausibleModel()
    result = environment.run(
        DESK,
        "go",
        model=model,
        deps={shop: "fake"},
        decide=lambda request: 1 if request.kind == "question" else True,
    )
    assert result.output == Report(text="text", count=1)
    assert result.tool_calls == 3


class Color(enum.Enum):
    """An enumeration."""

    RED = "red"


class Node(BaseModel):
    """A type that refers to itself."""

    name: str
    children: list["Node"] = []
    parent: "Node | None" = None


@pytest.mark.parametrize(
    "annotation",
    [
        *(str, int, float, bool, None, Color, Node, Report, list[Node], dict[str, int]),
        *(int | str, Literal["a", "b"], tuple[int, str], datetime.date, datetime.datetime),
        Annotated[str, Field(min_length=10)],
        Annotated[str, Field(max_length=2)],
        Annotated[int, Field(gt=5, lt=7)],
        Annotated[int, Field(le=-5)],
        Annotated[float, Field(gt=0, lt=1)],
        Annotated[int, Field(ge=10, multiple_of=7)],
        Annotated[list[int], Field(min_length=3)],
        Report | Node,
    ],
)
def test_a_plausible_value_is_valid(annotation: Any) -> None:
    schema = canonical_schema(schema_of(annotation, what="a type"))
    value = plausible_value(schema)
    assert SchemaChecker().problem(value, schema, key=str(annotation)) is None


def test_a_value_that_cannot_be_guessed_is_an_error() -> None:
    schema = canonical_schema(schema_of(Annotated[str, Field(pattern="^A-[0-9]+$")], what="x"))
    with pytest.raises(NoPlausibleValue, match="no text can be guessed for the pattern"):
        plausible_value(schema)


def test_a_recording_is_replayed_and_notices_another_prompt(
    environment: AgentEnvironment, tmp_path: Path
) -> None:
    file = tmp_path / "answers.json"
    with pytest.raises(FileNotFoundError, match="there is no recording; pass server="):
        RecordedModel(file)
    agent = Agent(name="echo", instructions="Answer.")
    real = ScriptedModel([answer("hello")])
    assert environment.run(agent, "go", model=RecordedModel(file, real)).output == "hello"
    assert environment.run(agent, "go", model=RecordedModel(file)).output == "hello"
    with pytest.raises(ScriptExhausted, match="prompt 1 differs from .*: record it again"):
        environment.run(agent, "stop", model=RecordedModel(file))


async def test_a_real_model_is_evaluated_recorded_and_replayed(
    environment: AgentEnvironment, tmp_path: Path
) -> None:
    agent = Agent(name="echo", instructions="Answer.", output=int)
    file, wrong = tmp_path / "answers.json", Step("Of course!")

    def run(model: ModelServer) -> Any:
        return environment.run(agent, "go", model=model)

    async with ScriptedModelServer(Steps(wrong, Step('{"answer":7}'))) as server:
        options = ServerOptions(url=server.url)
        assert (await asyncio.to_thread(run, real_model(options))).output == 7
        server.script = Steps(wrong, Step('{"answer":7}'))
        recording = RecordedModel(file, real_model(options))
        assert (await asyncio.to_thread(run, recording)).output == 7
        assert len(server.requests) == 4
    assert [entry["answer"] for entry in json.loads(file.read_text())] == [
        "Of course!",
        {"answer": 7},
    ]
    assert (await asyncio.to_thread(run, RecordedModel(file))).output == 7


def test_a_run_that_is_late_says_what_it_waits_for(environment: AgentEnvironment) -> None:
    def is_down(prompt: Prompt) -> Any:
        raise ModelError("it is down", kind=ModelFailure.CONNECTION, retry_after=timedelta(hours=1))

    agent = Agent(name="echo", instructions="Answer.")
    model = ScriptedModel([is_down], repeat_last=True)
    late = (
        r"did not end within 2 s; waits for attempt \d+ of generate; .*ModelConnection: it is down"
    )
    with pytest.raises(AssertionError, match=late):
        environment.run(agent, "go", model=model, within=timedelta(seconds=2))


def test_requests_to_real_models_can_be_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "true")
    options = ServerOptions(url="http://127.0.0.1:1/v1")
    allow_model_requests(False)
    for connect in (real_model, lambda given: connected(given, None)):
        with pytest.raises(
            NotReady, match=r"to the model server 'http://127\.0\.0\.1:1/v1' are not"
        ):
            connect(options)
    assert load_settings(None)  # a worker accepts the variable
    allow_model_requests(True)
    assert VARIABLE not in os.environ
    connected(options, None)
