"""The comparison of ways: on a model that knows the answers, and on the fake of an API."""

import re
from typing import Any, cast

import pytest
from outlast_activities.generation.endpoint import Endpoint

from bench.engines.ways import main, measure, report, tasks
from outlast.contracts.agents import Way
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer, call
from outlast.turns import ResultsTurn, UserTurn
from tests.fakes.fake_openai_chat import FakeOpenAIChat
from tests.fakes.service import serving

LISTED = tasks(20)


def decide(prompt: Prompt) -> dict[str, Any]:
    """Do what is asked for, but for bolts."""
    question = cast("UserTurn", prompt.turns[0]).text
    task = next(each for each in LISTED if each.question == question)
    if len(prompt.turns) > 1:
        (result,) = cast("ResultsTurn", prompt.turns[2]).results
        return answer({"item": task.item, "number": int(result.content)})
    tool = task.tool if task.item != "bolts" else "price_of"
    return call(tool, item=task.item, city=task.city.upper())


@pytest.mark.parametrize("way", ["native", "tools", "decision"])
async def test_right_calls_and_answers_are_counted(way: Way) -> None:
    model = ScriptedModel([decide], repeat_last=True)
    outcomes = await measure(Endpoint(model, 256), way, LISTED)
    wrong = sum(task.item == "bolts" and task.tool != "price_of" for task in LISTED)
    assert wrong > 0
    row = dict(report({way: outcomes}).records()[0])
    assert (row["tasks"], row["right call"], row["failed"]) == (20, 20 - wrong, 0)
    assert (row["right answer"], row["answers a turn"]) == (20, 1.0)
    assert cast("int", row["prompt tokens"]) > 0
    assert {prompt.way for prompt in model.prompts} == {way}
    assert all(bool(prompt.answer_schema) == (way != "decision") for prompt in model.prompts)


def test_the_tasks_are_the_same_in_each_run() -> None:
    assert tasks(200)[:20] == LISTED
    assert len({task.question for task in tasks(200)}) > 50


def test_a_server_without_a_way_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(FakeOpenAIChat()) as fake:
        status = main([re.sub("/v1$", "/nothing", fake.url), "--api", "openai-chat"])
    assert status == 1
    assert capsys.readouterr().err.startswith("outlast: ")
