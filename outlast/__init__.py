"""Durable agents on Temporal: define agents and tools, start runs and steer them.

A Temporal workflow holds the state, retries, timers and human decisions of each run. Workers without state
call models and tools.

The public API is this module, `outlast.errors`, `outlast.testing`, `outlast.signing` and
`outlast.model_server`. All other modules of the package are private and can change in every release. See
docs/public-api.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outlast.agents import Agent
    from outlast.child_runs import run_agent
    from outlast.client import Client
    from outlast.contracts.agents import Leg, Route, ToolSpec
    from outlast.contracts.conditions import arguments
    from outlast.contracts.human import Approval, Escalation
    from outlast.contracts.limits import Limits
    from outlast.contracts.requests import AgentRequest
    from outlast.contracts.results import AgentResult, Progress, Usage
    from outlast.dependencies import dependency
    from outlast.errors import (
        BadRequest,
        DefinitionError,
        OutlastError,
        Retry,
        RunFailed,
        ToolError,
    )
    from outlast.human_tools import ask_human
    from outlast.mcp_servers import McpServer
    from outlast.plugin import OutlastPlugin
    from outlast.runs import Run
    from outlast.tool_context import ToolContext
    from outlast.tools import tool
    from outlast.version import __version__
    from outlast.waiting import Waiting

__all__ = [
    "Agent",
    "AgentRequest",
    "AgentResult",
    "Approval",
    "BadRequest",
    "Client",
    "DefinitionError",
    "Escalation",
    "Leg",
    "Limits",
    "McpServer",
    "OutlastError",
    "OutlastPlugin",
    "Progress",
    "Retry",
    "Route",
    "Run",
    "RunFailed",
    "ToolContext",
    "ToolError",
    "ToolSpec",
    "Usage",
    "Waiting",
    "__version__",
    "arguments",
    "ask_human",
    "dependency",
    "run_agent",
    "tool",
]

_MODULES = {
    "McpServer": "outlast.mcp_servers",
    "AgentRequest": "outlast.contracts.requests",
    "Retry": "outlast.errors",
    "dependency": "outlast.dependencies",
    "ToolContext": "outlast.tool_context",
    "Agent": "outlast.agents",
    "run_agent": "outlast.child_runs",
    "Client": "outlast.client",
    "Leg": "outlast.contracts.agents",
    "Route": "outlast.contracts.agents",
    "ToolSpec": "outlast.contracts.agents",
    "arguments": "outlast.contracts.conditions",
    "Approval": "outlast.contracts.human",
    "Escalation": "outlast.contracts.human",
    "Limits": "outlast.contracts.limits",
    "AgentResult": "outlast.contracts.results",
    "Progress": "outlast.contracts.results",
    "Usage": "outlast.contracts.results",
    "BadRequest": "outlast.errors",
    "DefinitionError": "outlast.errors",
    "OutlastError": "outlast.errors",
    "RunFailed": "outlast.errors",
    "ToolError": "outlast.errors",
    "ask_human": "outlast.human_tools",
    "OutlastPlugin": "outlast.plugin",
    "Run": "outlast.runs",
    "tool": "outlast.tools",
    "__version__": "outlast.version",
    "Waiting": "outlast.waiting",
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
