"""Definitions of patterns over agents: what the model sees, and what is rejected."""

from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from outlast import Agent, DefinitionError, hedge, map_over, quorum, race
from outlast.agents.catalog import Catalog


class Verdict(BaseModel):
    """What the agents answer."""

    risk: Literal["low", "high"]


class Other(BaseModel):
    """Another answer."""

    risk: Literal["low", "high"]


def agent_of(name: str, output: Any = Verdict) -> Agent[Any, Any]:
    return Agent(name, f"I am {name}.", output=output)


a, b, c = (agent_of(name) for name in "abc")
text = agent_of("text", str)
second = timedelta(seconds=1)


def test_a_pattern_is_one_tool_with_the_input_of_an_agent() -> None:
    lead = Agent("lead", "Lead.", [race(a, b), quorum(a, a, b), map_over(c, max_items=3)])
    first, vote, each = lead.tool_specs
    assert (first.name, vote.name, each.name) == ("race_a_b", "quorum_a_b", "map_c")
    assert first.description == "Run a, b on the same input; the first answer counts."
    assert list(first.parameters["properties"]) == ["input"]  # type: ignore[arg-type]
    assert vote.pattern is not None
    assert (vote.pattern.agents, vote.pattern.votes) == (("a", "a", "b"), 2)
    assert each.parameters["properties"]["inputs"]["maxItems"] == 3  # type: ignore[index,call-overload]


def test_a_worker_registers_the_agents_of_patterns() -> None:
    module = ModuleType("staged")
    vars(module)["lead"] = Agent("lead", "Lead.", [hedge(a, b, delay=second), map_over(c)])
    assert sorted(Catalog.of([module]).agents) == ["a", "b", "c", "lead"]


@pytest.mark.parametrize(
    ("define", "reason"),
    [
        (race, "race: has 0 agents; give from 2 to 16, such as race(fast, good)"),
        (lambda: race(a), "race: has 1 agents; give from 2"),
        (lambda: race(*[a] * 17), "race: has 17 agents; give from 2 to 16"),
        (lambda: hedge(a, delay=second), "hedge: has 1 agents"),
        (lambda: race(a, "b"), "race: 'b' is not an Agent"),  # type: ignore[arg-type]
        (lambda: race([a, b]), "is not an Agent"),  # type: ignore[arg-type]
        (lambda: race(a, race(a, b)), "race: 'race_a_b' is a pattern, not an agent"),  # type: ignore[arg-type]
        (lambda: map_over(race(a, b)), "'race_a_b' is a pattern, not an agent"),  # type: ignore[arg-type]
        (
            lambda: race(a, agent_of("b", Other), name="both"),
            "race 'both': 'a' and 'b' have different output types",
        ),
        (lambda: quorum(a, text), "quorum: 'a' and 'text' have different output types"),
        (lambda: quorum(text, text), "quorum: its agents answer with free text"),
        (lambda: quorum(a, b, votes=3), "quorum: votes 3 must be a whole number from 2 to 2"),
        (lambda: quorum(a, b, votes=1), "quorum: votes 1 must be"),
        (lambda: quorum(a, b, votes=2.0), "quorum: votes 2.0 must be"),  # type: ignore[arg-type]
        (lambda: hedge(a, b, delay=5), "hedge: delay: 5 is not a timedelta"),  # type: ignore[arg-type]
        (lambda: hedge(a, b, delay=-second), "hedge: delay: "),
        (
            lambda: map_over(c, concurrency=0),
            "map_over: concurrency 0 must be a whole number from 1",
        ),
        (lambda: map_over(c, concurrency=True), "map_over: concurrency True must be"),
        (
            lambda: map_over(c, max_items=201),
            "map_over: max_items 201 must be a whole number from 1",
        ),
        (lambda: race(a, b, name="no name"), "tool 'no name': a name is a letter"),
        (lambda: race(a, b, name="generate"), "tool 'generate' has the name of an activity"),
        (lambda: race(a, b, name="a"), "race 'a': it has the name of one of its agents"),
        (
            lambda: race(agent_of("x" * 40), agent_of("y" * 40)),
            "race: the names of its agents are too long; pass name=",
        ),
        (lambda: Agent("lead", "x", [race(a, b), race(b, a, name="race_a_b")]), "two of its tools"),
    ],
)
def test_a_wrong_pattern_is_rejected_when_it_is_defined(
    define: Callable[[], Any], reason: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        define()
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
