"""Runs as one principal may use them: only those of its tenant, and only for its audiences.

A run belongs to the tenant whose name its workflow id begins with: `TENANT/AGENT/KEY`. The gateway alone
chooses these ids, so it needs no table of its own.
"""

import hashlib
import json
import re
import uuid
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote

from pydantic import JsonValue
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from outlast.client.client import Client
from outlast.client.runs import Run
from outlast.contracts.human import UNSEEN_HASH, HumanDecision, PendingRequest
from outlast.contracts.limits import Limits
from outlast.contracts.names import AGENT_WORKFLOW, AGENTS_QUEUE
from outlast.errors import BadRequest, OutlastError, RunNotFound
from outlast.start_requests import checked_run_id, request_json, tenant_priority
from outlast.temporal.server_errors import outlast_errors
from outlast.text.safe_text import summary_line
from outlast.text.texts import cut
from outlast_workers.gateway.principals import Principal

KEY_PATTERN = r"[A-Za-z0-9._~-]{1,128}"
"""The key of a client, which makes a repeated start return the same run."""

MAX_LISTED = 100
"""Runs in one answer of `list`."""

_MEMO = "outlast-request"
_MAX_SUMMARY_BYTES = 120


class Forbidden(OutlastError):
    """Raised if a principal may see a request, but may not decide it."""


class KeyReused(BadRequest):
    """Raised if the key of a client was used for another request before."""


@dataclass(frozen=True)
class ListedRun:
    """One run of a list: its id, agent, Temporal status and times."""

    id: str
    agent: str
    status: str
    started_at: datetime
    ended_at: datetime | None


class TenantRuns:
    """The runs of a principal's tenant. `agents` are the agents that may be started."""

    def __init__(self, client: Client, principal: Principal, agents: Collection[str]) -> None:
        self._client = client
        self._agents = agents
        self.principal = principal
        self._prefix = f"{quote(principal.tenant, safe='')}/"

    async def start(
        self,
        agent: str,
        input: JsonValue = None,  # noqa: A002 the contract's word
        *,
        key: str | None = None,
        mode: Literal["task", "conversation"] = "task",
        limits: Limits | None = None,
    ) -> Run:
        """Start a run of the tenant. A repeated `key` with an equal request returns the first run.

        Raises `BadRequest` for an agent that is not served or for invalid values, and `KeyReused`.
        """
        self._check_agent(agent)
        if key is not None and not re.fullmatch(KEY_PATTERN, key):
            raise BadRequest(
                f"key: {cut(repr(key), 80)} must have 1 to 128 letters, digits and . _ ~ -"
            )
        request = request_json(
            agent=agent, input=input, tenant=self.principal.tenant, limits=limits, mode=mode
        )
        run_id = checked_run_id(f"{self._prefix}{agent}/{key or uuid.uuid4().hex}")
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        summary = f"{agent}: {self.principal.name}"
        try:
            with outlast_errors("start"):
                handle = await self._client.temporal.start_workflow(
                    AGENT_WORKFLOW,
                    request,
                    id=run_id,
                    task_queue=AGENTS_QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    memo={_MEMO: digest},
                    static_summary=summary_line(
                        cut(summary, _MAX_SUMMARY_BYTES), _MAX_SUMMARY_BYTES
                    ),
                    priority=tenant_priority(self.principal.tenant),
                )
        except WorkflowAlreadyStartedError:
            return await self._existing(run_id, digest)
        return Run(handle)

    def id_of(self, agent: str, key: str) -> str:
        """Return the workflow id of an agent's run with a key. Raises `BadRequest` for an unknown agent."""
        self._check_agent(agent)
        return checked_run_id(f"{self._prefix}{agent}/{key}")

    def _check_agent(self, agent: str) -> None:
        if agent not in self._agents:
            known = ", ".join(sorted(self._agents)) or "none"
            raise BadRequest(
                f"agent: {cut(repr(agent), 80)} is not served; known agents: {cut(known, 500)}"
            )

    async def _existing(self, run_id: str, digest: str) -> Run:
        description = await self._describe(run_id)
        if await description.memo_value(_MEMO, "") != digest:
            raise KeyReused("key: was used for another request before; choose a new key")
        return self._client.get(run_id)

    async def _describe(self, run_id: str) -> WorkflowExecutionDescription:
        with outlast_errors("result", run_id):
            return await self._client.temporal.get_workflow_handle(run_id).describe()

    def find(self, run_id: str) -> Run:
        """Return a run of the tenant, without checking that it exists.

        Raises `RunNotFound` for a run of another tenant, in the words for a run that does not exist.
        """
        if not run_id.startswith(self._prefix):
            raise RunNotFound(
                f"there is no run {cut(repr(run_id), 200)}; check the id and the namespace"
            )
        return self._client.get(checked_run_id(run_id))

    async def status(self, run: Run) -> WorkflowExecutionStatus | None:
        """Return the Temporal status of a run. Raises `RunNotFound`."""
        return (await self._describe(run.id)).status

    async def describe(self, run: Run) -> WorkflowExecutionDescription:
        """Return what the server knows of a run. Raises `RunNotFound`."""
        return await self._describe(run.id)

    async def changed_at(self, run: Run) -> datetime:
        """Return the time of the last event of a run. Queries make no event. Raises `RunNotFound`."""
        temporal = self._client.temporal
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=temporal.namespace,
            execution=WorkflowExecution(workflow_id=run.id),
            maximum_page_size=1,
        )
        with outlast_errors("result", run.id):
            page = await temporal.workflow_service.get_workflow_execution_history_reverse(
                request, retry=True
            )
        return page.history.events[0].event_time.ToDatetime(UTC)

    async def list(self, agent: str | None = None) -> AsyncIterator[ListedRun]:
        """Yield the newest runs of the tenant, or of one of its agents."""
        prefix = self._prefix if agent is None else self.id_of(agent, "")
        query = f"WorkflowType = '{AGENT_WORKFLOW}' AND WorkflowId STARTS_WITH '{prefix}'"
        with outlast_errors("list"):
            async for found in self._client.temporal.list_workflows(query, limit=MAX_LISTED):
                agent = found.id.removeprefix(self._prefix).partition("/")[0]
                status = found.status.name.lower() if found.status else "unknown"
                yield ListedRun(found.id, agent, status, found.start_time, found.close_time)

    async def decide(
        self, run: Run, decision: HumanDecision, *, update_id: str | None = None
    ) -> str:
        """Decide a pending request of a run as the principal, and return the outcome.

        A repeated `update_id` has the outcome of the first. The name in the record is the principal's. A
        signed decision keeps the name of its signature.
        Raises `Forbidden` if the principal does not belong to the audience of the request.
        """
        request = await self._pending(run, decision.request_id)
        if request is not None and not self.principal.may_decide(request.audience):
            raise Forbidden(
                f"{self.principal.name!r} may not decide for the audience {cut(request.audience, 100)!r}"
            )
        fields: dict[str, JsonValue] = {}
        if request is None:
            # The decision may only repeat one: a request that opens meanwhile has an audience that nobody
            # has checked, and the run rejects this hash for it.
            fields["arguments_hash"] = UNSEEN_HASH
        if decision.signature is None:
            fields["by"] = self.principal.name
        return await run.decide(decision.model_copy(update=fields), update_id=update_id)

    async def _pending(self, run: Run, request_id: str) -> PendingRequest | None:
        requests = await run.pending_requests()
        return next((each for each in requests if each.request_id == request_id), None)
