"""Durable agents on Temporal: define them, start them, steer them.

Agents outlast the machines they run on: a Temporal workflow holds each run's state, retries, timers and
human decisions, and workers that hold nothing call models and tools.
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
    "arguments",
    "ask_human",
    "idempotency_key",
    "last_checkpoint",
    "run_agent",
    "save_checkpoint",
    "tool",
]
