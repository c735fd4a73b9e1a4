"""Handoffs: another agent goes on in the same run, with its own instructions, tools and model.

The run has pinned every agent that can take over when it was resolved, so a handoff needs no lookup and
replays. A call only requests the handoff: the run changes its agent after all calls of the decision.
"""

from outlast.contracts.agents import PinnedAgent
from outlast.text.json_text import to_json
from outlast_workflows.calls.call_batch import PlannedCall
from outlast_workflows.state import RunState

MAX_HANDOFFS = 10
"""Handoffs of one run. Two agents that each call the other would otherwise use all of its turns."""


class Handoffs:
    """The handoffs that the calls of one decision request; the first one counts."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._requested: PinnedAgent | None = None

    def request(self, call: PlannedCall) -> str:
        """Request a handoff, and return what the models read about it, as JSON text."""
        name = call.tool.handoff_target or ""
        target = self._state.handoff_targets.get(name)
        if target is None:
            return to_json({"error": f"{name} cannot take over this run"})
        if self._requested is not None:
            return to_json({"error": f"{self._requested.name} takes over; one agent can"})
        if len(self._state.handoffs) >= MAX_HANDOFFS:
            return to_json(
                {"error": f"a run may have {MAX_HANDOFFS} handoffs; answer without another one"}
            )
        self._requested = target
        return to_json({"handoff": name})

    def take(self) -> PinnedAgent | None:
        """Return the agent that takes over now, or None."""
        target, self._requested = self._requested, None
        return target
