"""The activities of HTTP calls, as tools that pipelines pin."""

from outlast.contracts.agents import ToolSpec
from outlast.contracts.effects import Effect
from outlast.contracts.http_calls import CALL_TIMEOUT_S, agent_activity, call_activity
from outlast.contracts.names import FIND_AGENT, FIND_OPERATION


def _spec(name: str, effect: Effect) -> ToolSpec:
    return ToolSpec(
        name=name, parameters={}, effect=effect, timeout_s=CALL_TIMEOUT_S, heartbeats=True
    )


_EFFECTS: tuple[Effect, ...] = ("read", "idempotent", "write")

HTTP_TOOLS: tuple[ToolSpec, ...] = (
    *(_spec(call_activity(effect), effect) for effect in _EFFECTS),
    _spec(FIND_OPERATION, "read"),
    *(_spec(agent_activity(effect), effect) for effect in _EFFECTS),
    _spec(FIND_AGENT, "read"),
)
"""The activities of HTTP calls, as tools that a pipeline pins. No agent can call them."""
