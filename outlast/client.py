"""The client: starts runs, finds them, and holds conversations, over any Temporal client.

All payloads are plain JSON, so the Temporal client can have any data converter.
"""

import asyncio
import json
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack

from pydantic import JsonValue
from temporalio.client import (
    Client as TemporalClient,
)
from temporalio.client import (
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import WorkflowAlreadyStartedError

from outlast.connection import DEFAULT_ADDRESS
from outlast.contracts.limits import Limits
from outlast.contracts.names import AGENT_WORKFLOW, AGENTS_QUEUE
from outlast.contracts.requests import SayPayload
from outlast.contracts.results import AgentResult
from outlast.errors import BadRequest
from outlast.plugin import OutlastPlugin
from outlast.runs import REPLY_TIMEOUT, Run, cancellation_or_timeout, message_of
from outlast.start_requests import request_json, tenant_priority
from outlast.texts import cut
from outlast.validation import validated

if TYPE_CHECKING:
    from outlast.agents import Agent

MAX_SUMMARY_BYTES = 120
"""A static summary. The server's limit is 400 encoded bytes, and one character can take six."""


class StartOptions(TypedDict, total=False):
    """Options of a conversation that `Client.chat` starts, as in `Client.start`."""

    tenant: str
    limits: Limits | Mapping[str, Any]
    task_queue: str


class Client:
    """Starts runs of agents, and finds runs. `temporal` is the Temporal client."""

    def __init__(self, client: TemporalClient) -> None:
        self.temporal = client

    @classmethod
    async def connect(cls, **overrides: Any) -> Self:
        """Connect with the settings of the `temporal` CLI: its configuration file and `TEMPORAL_*`.

        `overrides` are arguments of `temporalio.client.Client.connect`.
        """
        config: dict[str, Any] = {**ClientConfig.load_client_connect_config(), **overrides}
        config["plugins"] = [OutlastPlugin(), *config.get("plugins", ())]
        config.setdefault("target_host", DEFAULT_ADDRESS)
        return cls(await TemporalClient.connect(**config))

    async def start(
        self,
        agent: "str | Agent | None" = None,
        input: JsonValue = None,  # noqa: A002 the contract's word
        *,
        spec: Mapping[str, Any] | None = None,
        tenant: str = "default",
        limits: Limits | Mapping[str, Any] | None = None,
        mode: Literal["task", "conversation"] = "task",
        id: str | None = None,  # noqa: A002 Temporal's word
        task_queue: str = AGENTS_QUEUE,
    ) -> Run:
        """Start a run. Raises `BadRequest` if the request is invalid or the id is in use.

        Give either an `agent` or a `spec`, a whole agent in JSON. `id` is the workflow id.
        """
        name = agent if agent is None or isinstance(agent, str) else agent.name
        request = request_json(
            agent=name, spec=spec, input=input, tenant=tenant, limits=limits, mode=mode
        )
        run_id = id or f"{name or 'spec'}-{uuid.uuid4().hex[:8]}"
        try:
            handle = await self.temporal.start_workflow(
                AGENT_WORKFLOW,
                request,
                id=run_id,
                task_queue=task_queue,
                static_summary=_summary(name or "spec", input),
                priority=tenant_priority(tenant),
            )
        except WorkflowAlreadyStartedError:
            raise BadRequest(
                f"id: a run {run_id!r} exists already; choose another id, or use get()"
            ) from None
        return Run(handle)

    async def run(
        self,
        agent: "str | Agent | None" = None,
        input: JsonValue = None,  # noqa: A002 the contract's word
        **options: Any,
    ) -> AgentResult:
        """Start a run with the options of `start`, and return its result. Raises `RunFailed`."""
        return await (await self.start(agent, input, **options)).result()

    async def chat(
        self,
        id: str,  # noqa: A002 Temporal's word
        text: str,
        *,
        agent: "str | Agent",
        by: str = "",
        update_id: str | None = None,
        within: timedelta = REPLY_TIMEOUT,
        **options: Unpack[StartOptions],
    ) -> JsonValue:
        """Send a message to a conversation, and return the answer of the agent.

        `id` is the workflow id. If no conversation with this id is running, the message starts one with the
        `agent` and the `options` (`tenant`, `limits` and `task_queue` of `start`). A repeated `update_id`
        sends the message only once. Raises the same errors as `Run.reply`.
        """
        name = agent if isinstance(agent, str) else agent.name
        tenant = options.get("tenant", "default")
        request = request_json(
            agent=name,
            input=None,
            mode="conversation",
            tenant=tenant,
            limits=options.get("limits"),
        )
        start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            AGENT_WORKFLOW,
            request,
            id=id,
            task_queue=options.get("task_queue", AGENTS_QUEUE),
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=_summary(name, "conversation"),
            priority=tenant_priority(tenant),
        )
        # Validate the message before it starts a conversation.
        payload = validated(SayPayload, {"text": text, "by": by}).model_dump(mode="json")
        async with asyncio.timeout(within.total_seconds()):
            try:
                await self.temporal.execute_update_with_start_workflow(
                    "say", payload, start_workflow_operation=start, id=update_id
                )
            except WorkflowUpdateFailedError as error:
                raise BadRequest(message_of(error)) from error
            except WorkflowUpdateRPCTimeoutOrCancelledError as error:
                raise cancellation_or_timeout("say") from error
            return await self.get(id).reply(within=within)

    def get(self, id: str) -> Run:  # noqa: A002 Temporal's word
        """Return the run with this workflow id, without checking that it exists."""
        return Run(self.temporal.get_workflow_handle(id))


def _summary(agent: str, value: JsonValue) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(f"{agent}: {text}", MAX_SUMMARY_BYTES)
