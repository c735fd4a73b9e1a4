import json
from typing import Any

import pytest
from outlast_workflows.state import RunState

from outlast import BadRequest, Limits
from outlast.contracts.agents import PinnedAgent, Resolved
from outlast.contracts.limits import RunLimits
from outlast.start_requests import parse_request

FROM_A_NEWER_BUILD = {"max_turns": 3, "max_moons": 7}
ROUTE = {"legs": [{"task_queue": "generate"}]}


def test_a_payload_with_an_unknown_limit_is_accepted_on_the_wire() -> None:
    resolved = Resolved.model_validate({"route": ROUTE, "limits": FROM_A_NEWER_BUILD})
    agent = {"name": "a", "instructions": "Do.", "output_schema": {}, "route": ROUTE}
    state = RunState.model_validate(
        {
            "agent": PinnedAgent.model_validate(agent),
            "agent_digest": "",
            "limits": FROM_A_NEWER_BUILD,
            "started_at": "2026-01-01T00:00:00Z",
        }
    )
    assert resolved.limits == state.limits == RunLimits(max_turns=3)


@pytest.mark.parametrize("place", ["limits", "spec.limits"])
def test_an_unknown_limit_that_a_person_types_is_rejected_with_the_nearest_name(place: str) -> None:
    spec: dict[str, Any] = {"instructions": "Do."}
    request: dict[str, Any] = {"input": 1, "spec": spec}
    (request if place == "limits" else spec)["limits"] = {"max_turn": 3}
    with pytest.raises(
        BadRequest, match=rf"{place}.max_turn: unknown field; did you mean 'max_turns'"
    ):
        parse_request(json.dumps(request).encode())


def test_an_unknown_limit_in_code_is_rejected_with_the_nearest_name() -> None:
    with pytest.raises(
        ValueError, match="Limits: unknown field 'max_turn'; did you mean 'max_turns'"
    ):
        Limits(max_turn=3)  # type: ignore[call-arg]


def test_limits_without_a_value_are_not_written() -> None:
    assert Limits(max_turns=3).model_dump(mode="json") == {"max_turns": 3}
