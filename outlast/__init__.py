"""Durable agents on Temporal: define agents and tools, start runs and steer them.

A Temporal workflow holds the state, retries, timers and human decisions of each run. Workers without state
call models and tools.

The public API is this module, `outlast.errors`, `outlast.testing`, `outlast.signing` and
`outlast.model_server`. All other modules of the package are private and can change in every release. See
docs/public-api.md.
"""

from outlast.agents import Agent
from outlast.checkpoints import last_checkpoint, save_checkpoint
from outlast.child_runs import run_agent
from outlast.client import Client
from outlast.contracts.agents import Leg, Route, ToolSpec
from outlast.contracts.conditions import arguments
from outlast.contracts.human import Approval, Escalation
from outlast.contracts.limits import Limits
from outlast.contracts.results import AgentResult, Progress, Usage
from outlast.errors import BadRequest, DefinitionError, OutlastError, RunFailed, ToolError
from outlast.human_tools import ask_human
from outlast.idempotency import idempotency_key
from outlast.plugin import OutlastPlugin
from outlast.runs import Run
from outlast.tools import tool
from outlast.version import __version__
from outlast.waiting import Waiting

__all__ = [
    "Agent",
    "AgentResult",
    "Approval",
    "BadRequest",
    "Client",
    "DefinitionError",
    "Escalation",
    "Leg",
    "Limits",
    "OutlastError",
    "OutlastPlugin",
    "Progress",
    "Route",
    "Run",
    "RunFailed",
    "ToolError",
    "ToolSpec",
    "Usage",
    "Waiting",
    "__version__",
    "arguments",
    "ask_human",
    "idempotency_key",
    "last_checkpoint",
    "run_agent",
    "save_checkpoint",
    "tool",
]
