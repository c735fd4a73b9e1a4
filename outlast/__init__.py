"""Durable agents on Temporal: define agents and tools, start runs and steer them.

A Temporal workflow holds the state, retries, timers and human decisions of each run. Workers without state
call models and tools.

The public API is this module, `outlast.errors`, `outlast.testing`, `outlast.signing`,
`outlast.model_server` and `outlast.turns`. All other modules of the package are private and can change in
every release. See docs/public-api.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outlast.agents.agent import Agent
    from outlast.agents.dependencies import dependency
    from outlast.agents.hooks import Hooks, ToolRequest
    from outlast.agents.human_tools import ask_human
    from outlast.agents.mcp_servers import McpServer
    from outlast.agents.openapi.openapi_tools import tools_from_openapi
    from outlast.agents.patterns import handoff, hedge, map_over, quorum, race
    from outlast.agents.tool_context import RunContext, ToolContext
    from outlast.agents.tool_decorator import tool
    from outlast.client.child_runs import run_agent
    from outlast.client.client import Client
    from outlast.client.runs import Run
    from outlast.client.text_deltas import TextDelta
    from outlast.client.waiting import Waiting
    from outlast.contracts.agents import Leg, Route, ToolSpec
    from outlast.contracts.conditions import arguments
    from outlast.contracts.human import Approval, Escalation
    from outlast.contracts.limits import Limits
    from outlast.contracts.messages import Decision, ToolCall
    from outlast.contracts.requests import AgentRequest
    from outlast.contracts.results import AgentResult, Progress
    from outlast.contracts.usage import Usage
    from outlast.errors import (
        BadRequest,
        DefinitionError,
        OutlastError,
        Retry,
        RunFailed,
        ToolError,
    )
    from outlast.media.media import File, Image
    from outlast.temporal.plugin import OutlastPlugin
    from outlast.version import __version__

__all__ = [
    "Agent",
    "AgentRequest",
    "AgentResult",
    "Approval",
    "BadRequest",
    "Client",
    "Decision",
    "DefinitionError",
    "Escalation",
    "File",
    "Hooks",
    "Image",
    "Leg",
    "Limits",
    "McpServer",
    "OutlastError",
    "OutlastPlugin",
    "Progress",
    "Retry",
    "Route",
    "Run",
    "RunContext",
    "RunFailed",
    "TextDelta",
    "ToolCall",
    "ToolContext",
    "ToolError",
    "ToolRequest",
    "ToolSpec",
    "Usage",
    "Waiting",
    "__version__",
    "arguments",
    "ask_human",
    "dependency",
    "handoff",
    "hedge",
    "map_over",
    "quorum",
    "race",
    "run_agent",
    "tool",
    "tools_from_openapi",
]

_MODULES = {
    "McpServer": "outlast.agents.mcp_servers",
    "AgentRequest": "outlast.contracts.requests",
    "Retry": "outlast.errors",
    "handoff": "outlast.agents.patterns",
    "hedge": "outlast.agents.patterns",
    "map_over": "outlast.agents.patterns",
    "quorum": "outlast.agents.patterns",
    "race": "outlast.agents.patterns",
    "dependency": "outlast.agents.dependencies",
    "RunContext": "outlast.agents.tool_context",
    "ToolContext": "outlast.agents.tool_context",
    "Agent": "outlast.agents.agent",
    "run_agent": "outlast.client.child_runs",
    "Client": "outlast.client.client",
    "Leg": "outlast.contracts.agents",
    "Route": "outlast.contracts.agents",
    "ToolSpec": "outlast.contracts.agents",
    "arguments": "outlast.contracts.conditions",
    "Approval": "outlast.contracts.human",
    "Escalation": "outlast.contracts.human",
    "Decision": "outlast.contracts.messages",
    "File": "outlast.media.media",
    "Hooks": "outlast.agents.hooks",
    "ToolCall": "outlast.contracts.messages",
    "ToolRequest": "outlast.agents.hooks",
    "Image": "outlast.media.media",
    "Limits": "outlast.contracts.limits",
    "AgentResult": "outlast.contracts.results",
    "Progress": "outlast.contracts.results",
    "Usage": "outlast.contracts.usage",
    "BadRequest": "outlast.errors",
    "DefinitionError": "outlast.errors",
    "OutlastError": "outlast.errors",
    "RunFailed": "outlast.errors",
    "ToolError": "outlast.errors",
    "ask_human": "outlast.agents.human_tools",
    "OutlastPlugin": "outlast.temporal.plugin",
    "Run": "outlast.client.runs",
    "tool": "outlast.agents.tool_decorator",
    "tools_from_openapi": "outlast.agents.openapi.openapi_tools",
    "__version__": "outlast.version",
    "TextDelta": "outlast.client.text_deltas",
    "Waiting": "outlast.client.waiting",
}
"""The module of each public name. It is imported when the name is first used: a program that defines tools
does not load the client, and a client does not load agents and tools."""

if not TYPE_CHECKING:  # type checkers would accept every name

    def __getattr__(name: str) -> object:
        if name == "errors":  # `import outlast` is enough for `except outlast.errors.NoAnswer`
            return import_module("outlast.errors")
        if name not in _MODULES:
            raise AttributeError(f"module 'outlast' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return value

    def __dir__() -> list[str]:
        return __all__
