"""Patterns of agents as tools: `race`, `quorum`, `hedge` and `map_over`, on a real server."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client

from outlast import (
    BadRequest,
    Limits,
    RunFailed,
    hedge,
    map_over,
    quorum,
    race,
)
from outlast.model_server import Prompt
from outlast.start_requests import request_json
from outlast.testing import answer, call
from tests.stage import on_stage, staged_settings
from tests.workflows.calls.teams import (
    PRICE,
    MeteredModel,
    TeamModel,
    agent_of,
    children_usage,
    lead_of,
    never,
    priced,
    told,
    until,
)


async def test_a_race_costs_what_it_says(temporal: Client) -> None:
    """The slow agents have each made a call, and are in the middle of another when they lose."""

    async def fast(_: Prompt) -> Any:
        await until(lambda: model.stuck == 2)
        return answer("fast")

    model = MeteredModel(
        {
            "lead": [call("race_fast_slow", input="go"), answer("done")],
            "fast": fast,
            "slow": call("look", input="x"),
            "look": answer("seen"),
        }
    )
    slow = agent_of("slow", [agent_of("look")])
    lead = lead_of(race(agent_of("fast"), slow, slow))
    async with on_stage(temporal, model, [lead], settings=priced()) as stage:
        run = await stage.start("lead")
        result = await run.result()
        _, reasons = await children_usage(stage, run)
    assert told(model).endswith(
        '{"tool":"race_fast_slow","result":{"answer":"fast","agents":["fast"]}}'
    )
    assert reasons == [None, "cancelled", "cancelled"]
    served = model.served
    assert result.usage.prompt_tokens == served.prompt_tokens
    assert result.usage.completion_tokens == served.completion_tokens
    usd = served.prompt_tokens * PRICE.prompt_usd + served.completion_tokens * PRICE.completion_usd
    assert result.usage.cost_usd == usd / 1_000_000


async def test_a_race_that_nobody_wins_is_one_error_that_names_each_agent(temporal: Client) -> None:
    model = MeteredModel(
        {
            "lead": [call("race_a_b", input="go"), answer("none")],
            "a": "nonsense",
            "b": call("b"),
        }
    )
    limited = agent_of("b", [agent_of("c")], limits=Limits(max_turns=1))
    async with on_stage(temporal, model, [lead_of(race(agent_of("a"), limited))]) as stage:
        result = await stage.run("lead")
    assert result.output == "none"
    # Each of the two has three answers, which count although its run fails.
    assert sorted(model.asked) == [*"aaabbb", "lead", "lead"]
    assert result.usage.prompt_tokens == model.served.prompt_tokens
    assert result.usage.completion_tokens == model.served.completion_tokens
    error = json.loads(told(model))["result"]["error"]
    assert error.startswith("no agent of race_a_b answered: ")
    assert "a: agent a (call 1.1.1): turn 1: no valid decision" in error
    assert "b: agent b (call 1.1.2): turn 1" in error


async def test_equal_answers_decide_a_quorum_and_the_others_are_cancelled(temporal: Client) -> None:
    model = TeamModel(
        {
            "lead": [call("quorum_a_b_c", input="go"), answer("done")],
            "a": answer({"risk": "low", "score": 1}),
            "b": answer({"score": 1.0, "risk": "low"}),
            "c": never,
        }
    )
    output: Any = {
        "type": "object",
        "properties": {"risk": {"type": "string"}, "score": {"type": "number"}},
        "required": ["risk", "score"],
    }
    members = [agent_of(name, output=output) for name in "abc"]
    async with on_stage(temporal, model, [lead_of(quorum(*members))]) as stage:
        run = await stage.start("lead")
        await run.result()
        assert (await children_usage(stage, run))[1] == [None, None, "cancelled"]
    result = json.loads(told(model))["result"]
    assert sorted(result["agents"]) == ["a", "b"]
    assert result["answer"]["risk"] == "low"


async def test_a_quorum_that_is_not_reached_is_an_outcome_with_all_answers(
    temporal: Client,
) -> None:
    numbers = iter([1, 2, 3])
    model = TeamModel(
        {
            "lead": [call("vote", input="go"), answer("done")],
            "a": lambda _: answer(next(numbers)),
        }
    )
    solver = agent_of("a", output=int)
    lead = lead_of(quorum(solver, solver, solver, name="vote"))
    async with on_stage(temporal, model, [lead]) as stage:
        await stage.run("lead")
    result = json.loads(told(model))["result"]
    assert sorted(each["answer"] for each in result.pop("answers")) == [1, 2, 3]
    assert result == {"outcome": "no_quorum", "votes_needed": 2, "left_out": 0, "errors": []}


async def test_a_hedge_starts_the_next_agent_only_when_the_first_is_late(temporal: Client) -> None:
    model = TeamModel(
        {
            "lead": [
                *(call("patient", input="go"), call("eager", input="go"), answer("done")),
            ],
            "fast": answer("fast"),
            "b": answer("b"),
            "stuck": never,
        }
    )
    fast, stuck, other = agent_of("fast"), agent_of("stuck"), agent_of("b")
    lead = lead_of(
        hedge(fast, other, delay=timedelta(hours=1), name="patient"),
        hedge(stuck, other, delay=timedelta(milliseconds=200), name="eager"),
    )
    async with on_stage(temporal, model, [lead]) as stage:
        run = await stage.start("lead")
        await run.result()
        assert (await children_usage(stage, run))[1] == [None, "cancelled", None]
        assert "hedge: starts b if there is no answer" in await stage.timers()
    assert model.asked[:3] == ["lead", "fast", "lead"]  # the second agent did not start
    assert '"answer":"b"' in told(model)


async def test_a_hedge_starts_the_next_agent_at_once_when_the_first_fails(skips: Client) -> None:
    model = TeamModel(
        {
            "lead": [call("hedge_a_b", input="go"), answer("done")],
            "a": "nonsense",
            "b": answer("b"),
        }
    )
    lead = lead_of(hedge(agent_of("a"), agent_of("b"), delay=timedelta(days=300)))
    async with on_stage(skips, model, [lead], has_search_attributes=False) as stage:
        result = await stage.run("lead", limits=Limits(deadline_s=86_400))
    assert result.status == "completed"
    assert '"agents":["b"]' in told(model)


async def test_a_map_returns_partial_results_and_never_exceeds_its_concurrency(
    temporal: Client,
) -> None:
    running, most = 0, 0

    async def review(prompt: Prompt) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(0.1)
            item = str(prompt.messages[1]["content"])
            return "nonsense" if "bad" in item else answer(item.upper())
        finally:
            running -= 1

    inputs: list[Any] = [f"p{number}" for number in range(7)] + ["bad"]
    model = TeamModel(
        {"lead": [call("map_reviewer", inputs=inputs), answer("done")], "reviewer": review}
    )
    lead = lead_of(map_over(agent_of("reviewer"), concurrency=3))
    async with on_stage(temporal, model, [lead]) as stage:
        run = await stage.start("lead")
        result = await run.result()
        (history,) = await stage.chain(run)
    assert most <= 3
    assert most_children(history.events) == 3
    mapped = json.loads(told(model))["result"]
    assert [str(output) for output in mapped["outputs"][:7]] == [
        each.upper() for each in inputs[:7]
    ]
    assert mapped["outputs"][7] is None
    (error,) = mapped["errors"]
    assert error["index"] == 7
    assert "no valid decision" in error["error"]
    assert (mapped["completed"], mapped["failed"], mapped["skipped"]) == (7, 1, 0)
    assert result.tool_calls == 1


def most_children(events: Any) -> int:
    """Return how many children of a history were open at the same time."""
    open_children, most = 0, 0
    for event in events:
        open_children += event.HasField("start_child_workflow_execution_initiated_event_attributes")
        open_children -= event.HasField("child_workflow_execution_completed_event_attributes")
        open_children -= event.HasField("child_workflow_execution_failed_event_attributes")
        most = max(most, open_children)
    return most


async def test_a_map_stops_when_its_answers_are_too_large_to_read(temporal: Client) -> None:
    model = TeamModel(
        {
            "lead": [call("map_writer", inputs=[*"xxxxxx"]), answer("done")],
            "writer": answer("y" * 100_000),
        }
    )
    lead = lead_of(map_over(agent_of("writer"), concurrency=1))
    settings = staged_settings(cached=1000)
    settings = settings.model_copy(
        update={"model": settings.model.model_copy(update={"max_tokens": 30_000})}
    )
    async with on_stage(temporal, model, [lead], settings=settings) as stage:
        await stage.run("lead")
    mapped = json.loads(told(model))["result"]
    assert (mapped["completed"], mapped["failed"], mapped["skipped"]) == (2, 1, 3)
    assert mapped["errors"] == [
        {"index": 2, "error": "all answers together have over 256,000 bytes"}
    ]


async def test_a_spec_has_patterns_over_registered_agents(temporal: Client) -> None:
    model = TeamModel(
        {"lead": [call("both", input="go"), answer("done")], "a": answer("a"), "b": never}
    )
    spec: dict[str, Any] = {
        "instructions": "I am lead.",
        "begin_with": ["both"],
        "patterns": [
            {"kind": "hedge", "agents": ["a", "b"], "delay_s": 600, "name": "both"},
            {"kind": "map", "agents": ["a"], "concurrency": 2},
        ],
    }
    async with on_stage(temporal, model, [agent_of("a"), agent_of("b")]) as stage:
        assert (await stage.run(spec=spec)).output == "done"
        for pattern, reason in (
            ({"kind": "race", "agents": ["a", "c"]}, "agent: 'c' is not registered"),
            ({"kind": "race", "agents": ["a"]}, "spec.patterns: race: has 1 agents"),
            ({"kind": "quorum", "agents": ["a", "b"]}, "quorum: its agents answer with free text"),
        ):
            with pytest.raises(RunFailed, match=reason):
                await stage.run(spec={"instructions": "x", "patterns": [pattern]})
    assert [each.name for each in model.prompts[0].tools] == ["both", "map_a"]
    assert model.asked == ["lead", "a", "lead"]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ({"kind": "rase", "agents": ["a"]}, "spec.patterns.0.kind"),
        ({"kind": "race", "agents": ["a", "b"], "votes": 2}, "a race has no 'votes'"),
        ({"kind": "hedge", "agents": ["a", "b"]}, "a hedge needs 'delay_s'"),
        ({"kind": "map", "agents": ["a", "b"]}, "a map has one agent, and not 2"),
        ({"kind": "race", "agents": ["a"] * 17}, "spec.patterns.0.agents"),
        ({"kind": "race", "agents": ["a", "b"], "delay": 2}, "spec.patterns.0.delay"),
        ({"kind": "map", "agents": ["a"], "name": "look"}, "'look' is the name of another tool"),
    ],
)
def test_a_wrong_pattern_of_a_spec_is_rejected_before_the_run_starts(
    pattern: dict[str, Any], reason: str
) -> None:
    spec = {"instructions": "x", "tools": ["look"], "patterns": [pattern]}
    with pytest.raises(BadRequest, match=reason):
        request_json(agent=None, input="go", spec=spec)
