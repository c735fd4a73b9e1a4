"""Calls of companion tools: those that undo a call, and those that find out whether it happened."""

from pydantic import JsonValue

from outlast.agents.tool_options import DEFAULT_AUDIENCE
from outlast.contracts.agents import Route, ToolSpec
from outlast.contracts.effects import CompanionTool
from outlast.contracts.messages import ToolCall
from outlast.contracts.proofs import CallProof
from outlast.temporal.call_headers import UNDO_SUFFIX, VERIFY_SUFFIX
from outlast_workflows.calls.call_batch import CallBatch, PlannedCall
from outlast_workflows.state import UndoStep


def arguments_for(
    companion: CompanionTool, arguments: dict[str, JsonValue]
) -> dict[str, JsonValue]:
    """Return those arguments of a call that its companion takes."""
    return {name: arguments[name] for name in companion.takes if name in arguments}


def verify_call(
    call: PlannedCall, companion: CompanionTool, route: Route, *, key: str
) -> PlannedCall:
    """Return the call that finds out whether `call` happened; `key` is that of `call`."""
    given = arguments_for(companion, call.arguments)
    return PlannedCall(
        id=f"{call.id}{VERIFY_SUFFIX}",
        tool=_spec_of(companion, route),
        call=ToolCall(tool=companion.tool, arguments=given),
        batch=call.batch,
        proof=call.proof and CallProof(nonce=call.proof.nonce),
        key=key,
    )


def undo_call(step: UndoStep) -> PlannedCall:
    """Return the call that undoes an effect."""
    return PlannedCall(
        id=f"{step.call_id}{UNDO_SUFFIX}",
        tool=_spec_of(step.companion, step.route),
        call=ToolCall(tool=step.companion.tool, arguments=step.arguments),
        batch=CallBatch(),
        proof=CallProof(nonce=step.nonce) if step.nonce else None,
        key=step.key,
    )


def audience_of(tool: ToolSpec) -> str:
    """Return the audience for questions about a call of a tool."""
    return tool.approval.audience if tool.approval else DEFAULT_AUDIENCE


def _spec_of(companion: CompanionTool, route: Route) -> ToolSpec:
    return ToolSpec(
        name=companion.tool,
        parameters={},
        effect=companion.effect,
        timeout_s=companion.timeout_s,
        heartbeats=True,
        route=route,
    )
