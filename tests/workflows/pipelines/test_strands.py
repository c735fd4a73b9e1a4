"""Places of calls in a pipeline, without a server."""

from datetime import UTC, datetime

import pytest
from outlast_workflows.pipelines.state import PipelineState
from outlast_workflows.pipelines.strands import begin_strands, in_strand, next_place
from outlast_workflows.state import RunState

from outlast.contracts.agents import Leg, PinnedAgent, Route
from outlast.contracts.limits import RunLimits

ROUTE = Route(legs=(Leg(task_queue="q"),))


def state_of(calls: int = 0, *, has_strands: bool = True) -> PipelineState:
    run = RunState(
        agent=PinnedAgent(name="p", instructions="", output_schema={}, route=ROUTE),
        agent_digest="",
        limits=RunLimits(),
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return PipelineState(
        run=run, document={}, language="1", call_count=calls, has_strands=has_strands
    )


def branch(state: PipelineState, fork: str, number: int, calls: int) -> list[str]:
    """Make calls in a branch, and return their places."""
    with in_strand(state, f"do.0.{number}", fork and f"{fork}{number}"):
        return [next_place(state)[1] for _ in range(calls)]


def test_calls_in_a_branch_do_not_change_the_numbers_of_others() -> None:
    state = state_of()
    assert next_place(state) == ("1.1", "1.1")
    fork = begin_strands(state)
    assert branch(state, fork, 1, 3) == ["f1.1/1.1", "f1.1/2.1", "f1.1/3.1"]
    assert branch(state, fork, 0, 1) == ["f1.0/1.1"]
    assert next_place(state) == ("6.1", "2.1")
    assert branch(state, begin_strands(state), 0, 1) == ["f2.0/1.1"]
    assert list(state.strands) == [""]


def test_a_branch_goes_on_after_a_continue_as_new() -> None:
    state = state_of()
    fork = begin_strands(state)
    with in_strand(state, "do.0.1", f"{fork}1"):
        next_place(state)
        carried = PipelineState.model_validate_json(state.model_dump_json())
    assert branch(carried, fork, 1, 1) == ["f1.1/2.1"]


@pytest.mark.parametrize("calls", [0, 7])
def test_calls_of_a_run_that_an_older_build_began_have_their_ids_as_places(calls: int) -> None:
    state = state_of(calls, has_strands=False)
    fork = begin_strands(state)
    assert branch(state, fork, 1, 2) == [f"{calls + 1}.1", f"{calls + 2}.1"]
    assert next_place(state) == (f"{calls + 3}.1", f"{calls + 3}.1")
