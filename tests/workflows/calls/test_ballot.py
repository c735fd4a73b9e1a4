"""Ballots: which answers are equal, and when no further answer can change the outcome."""

import json
from typing import Any

import pytest
from outlast_workflows.calls.ballot import Ballot, Outcome, canonical

from outlast.contracts.agent_patterns import AgentPattern


@pytest.mark.parametrize(
    ("first", "second", "are_equal"),
    [
        ({"a": 1, "b": [2.0]}, {"b": [2], "a": 1.0}, True),
        (1, True, False),
        (0, False, False),
        (-0.0, 0, True),
        (1e16, 10_000_000_000_000_000, True),
        ("1", 1, False),
        (None, "", False),
        ([1, 2], [2, 1], False),
        (0.1, 0.1, True),
    ],
)
def test_answers_are_equal_if_their_json_is(first: Any, second: Any, are_equal: bool) -> None:
    assert (canonical(first) == canonical(second)) == are_equal


def ballot(*answers: Any, votes: int, agents: int) -> Ballot:
    counted = Ballot(AgentPattern(kind="quorum", agents=("a",) * agents, votes=votes), "vote")
    for answer in answers:
        problem = "broken" if answer is None else ""
        counted.count(Outcome("a", answer, problem, len(json.dumps(answer))))
    return counted


@pytest.mark.parametrize(
    ("answers", "votes", "agents", "is_decided"),
    [
        ([1], 2, 3, False),
        ([1, 1], 2, 3, True),
        ([1, 2], 2, 3, False),
        ([1, 2], 3, 3, True),  # two different answers of three: three equal ones are impossible
        ([None, None], 2, 3, True),
        ([None], 1, 2, False),
        ([None, None], 1, 2, True),
    ],
)
def test_a_ballot_is_decided_as_soon_as_no_answer_can_change_it(
    answers: list[Any], votes: int, agents: int, is_decided: bool
) -> None:
    assert ballot(*answers, votes=votes, agents=agents).is_decided == is_decided


def test_answers_that_do_not_fit_are_left_out_of_a_missing_quorum() -> None:
    text = ballot("x" * 200_000, "y" * 200_000, "z", None, votes=3, agents=4).text()
    result = json.loads(text)
    assert result["left_out"] == 1
    assert [each["answer"][:1] for each in result["answers"]] == ["x", "z"]
    assert result["errors"] == [{"agent": "a", "error": "broken"}]
    assert len(text) < 256_000
