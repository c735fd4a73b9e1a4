"""The client: starts runs, steers them and reads what they do, over any Temporal client.

Everything crosses as plain JSON, so a wrapped client may have any data converter.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import JsonValue, TypeAdapter
from temporalio.client import (
    Client as TemporalClient,
)
from temporalio.client import (
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import Priority
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from outlast.agents import Agent
from outlast.contracts import (
    AGENT_WORKFLOW,
    AGENTS_QUEUE,
    AgentRequest,
    AgentResult,
    Limits,
    Message,
    Progress,
    TranscriptPage,
)
from outlast.door import parse_request, validated
from outlast.errors import BadRequest, RunFailed
from outlast.human_requests import HumanDecision, PendingRequest
from outlast.plugin import OutlastPlugin
from outlast.proofs import Signer
from outlast.texts import cut

DEFAULT_ADDRESS = "localhost:7233"

POLL_INTERVAL = timedelta(milliseconds=300)
"""How often `stream` looks for new entries: each look is a query, which the server bills."""

MAX_SUMMARY_BYTES = 120
"""A static summary: the server takes 400 bytes of it, encoded, where one letter may become six."""

STREAM_TRIES = 20
"""Looks at a run that has ended and whose worker is away, before `stream` gives up."""

_PENDING = TypeAdapter(list[PendingRequest])


class Run:
    """One run of an agent."""

    def __init__(self, handle: WorkflowHandle[Any, Any]) -> None:
        self._handle = handle

    @property
    def id(self) -> str:
        """The workflow id."""
        return self._handle.id

    @property
    def first_execution_run_id(self) -> str | None:
        """The first Temporal run of the chain; None on a run that was found by its id."""
        return self._handle.first_execution_run_id

    async def result(self) -> AgentResult:
        """Wait for the end and return the outcome; raises `RunFailed` with the cause in one line."""
        try:
            return AgentResult.model_validate(await self._handle.result())
        except WorkflowFailureError as error:
            raise _run_failed(error, self.id) from error

    async def progress(self) -> Progress:
        """Return what the run does now and what it has used."""
        return Progress.model_validate(await self._handle.query("progress"))

    async def pending_requests(self) -> list[PendingRequest]:
        """Return the questions to people that are not settled."""
        return _PENDING.validate_python(await self._handle.query("pending_requests"))

    async def transcript(self, since: int = 0) -> list[Message]:
        """Return the transcript's entries from `since`."""
        messages: list[Message] = []
        start: int | None = since
        while start is not None:  # each page has an entry more, or is the last
            answer = await self._handle.query("transcript", {"since": start})
            page = TranscriptPage.model_validate(answer)
            messages.extend(page.messages)
            start = page.next
        return messages

    async def stream(self, interval: timedelta = POLL_INTERVAL) -> AsyncIterator[Message]:
        """Yield the transcript's entries as they come, until the run ends.

        Raises `BadRequest` for a run that does not exist, and the server's error if a run has ended and
        no worker answers for its last entries.
        """
        seen = tries = 0
        ended = asyncio.create_task(self._ended())
        try:
            while True:  # ends with the run, and `STREAM_TRIES` later at the most
                over = ended.done()
                try:
                    for message in await self.transcript(seen):
                        seen += 1
                        yield message
                    if over:
                        return
                except (RPCError, WorkflowQueryFailedError) as error:
                    # The run has not begun, or its worker is away: look again.
                    tries += over
                    if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
                        raise BadRequest(f"id: there is no run {self.id!r}") from error
                    if tries >= STREAM_TRIES:
                        raise
                if over:
                    await asyncio.sleep(interval.total_seconds())
                else:
                    await asyncio.wait([ended], timeout=interval.total_seconds())
        finally:
            ended.cancel()

    async def _ended(self) -> None:
        await asyncio.gather(self._handle.result(), return_exceptions=True)

    async def approve(
        self,
        request: str | PendingRequest,
        *,
        by: str = "",
        comment: str = "",
        signer: Signer | None = None,
    ) -> str:
        """Approve a pending call; raises `BadRequest` if it is not pending.

        Given a request rather than its id, no other arguments than its own are approved. A `signer`
        (`outlast.signing.SigningKey`) signs the decision, for an audience that decides by signature, and
        needs the request itself.
        """
        return await self._decide("approve", request, signer=signer, by=by, comment=comment)

    async def edit(
        self,
        request: str | PendingRequest,
        arguments: dict[str, JsonValue],
        *,
        by: str = "",
        comment: str = "",
        signer: Signer | None = None,
    ) -> str:
        """Approve a pending call with other arguments; raises `BadRequest` if its tool takes them not."""
        said: dict[str, JsonValue] = {"by": by, "comment": comment, "arguments": arguments}
        return await self._decide("edit", request, signer=signer, **said)

    async def deny(
        self,
        request: str | PendingRequest,
        *,
        by: str = "",
        comment: str = "",
        signer: Signer | None = None,
    ) -> str:
        """Deny a pending request; the model reads the comment."""
        return await self._decide("deny", request, signer=signer, by=by, comment=comment)

    async def answer(
        self,
        request: str | PendingRequest,
        answer: JsonValue,
        *,
        by: str = "",
        comment: str = "",
        signer: Signer | None = None,
    ) -> str:
        """Answer a question; raises `BadRequest` if the answer is not of the type that is asked for."""
        said: dict[str, JsonValue] = {"by": by, "comment": comment, "answer": answer}
        return await self._decide("answer", request, signer=signer, **said)

    async def decide(self, decision: HumanDecision) -> str:
        """Send a decision as it is; raises `BadRequest` if the run refuses it."""
        return await self._update("decide", **decision.model_dump(mode="json", exclude_unset=True))

    async def _decide(
        self,
        verb: str,
        request: str | PendingRequest,
        *,
        signer: Signer | None,
        **said: JsonValue,
    ) -> str:
        seen = request if isinstance(request, PendingRequest) else None
        hashed: dict[str, JsonValue] = {"arguments_hash": seen.arguments_hash} if seen else {}
        request_id = seen.request_id if seen else str(request)
        decision = validated(
            HumanDecision, {"request_id": request_id, "decision": verb, **hashed, **said}
        )
        if signer is not None:
            if seen is None:
                raise BadRequest(
                    "request: what is signed is the request as it was seen, not its id"
                )
            decision = signer.sign(decision, seen, run_id=self.id)
        return await self.decide(decision)

    async def say(
        self, text: str, *, by: str = "", when: Literal["next_turn", "now"] = "next_turn"
    ) -> str:
        """Add a user message for the next turn; `now` interrupts the model call in flight."""
        return await self._update("say", text=text, by=by, when=when)

    async def pause(self, *, by: str = "", reason: str = "") -> str:
        """Stop before the next turn."""
        return await self._update("pause", by=by, reason=reason)

    async def resume(self, *, by: str = "", reason: str = "") -> str:
        """Go on after a pause."""
        return await self._update("resume", by=by, reason=reason)

    async def finish(self, *, by: str = "") -> str:
        """End a conversation after the turn it is in."""
        return await self._update("finish", by=by)

    async def cancel(self) -> None:
        """Ask the run to stop: its result will say `cancelled`."""
        await self._handle.cancel()

    async def _update(self, name: str, **payload: JsonValue) -> str:
        try:
            return str(await self._handle.execute_update(name, payload))
        except WorkflowUpdateFailedError as error:
            cause = error.cause
            message = cause.message if isinstance(cause, ApplicationError) else str(cause)
            raise BadRequest(message) from error
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise BadRequest(f"the run {self.id!r} has ended, or does not exist") from error
            raise


class Client:
    """Starts agents and finds their runs."""

    def __init__(self, client: TemporalClient) -> None:
        self.temporal = client

    @classmethod
    async def connect(cls, **overrides: Any) -> Self:
        """Connect as the `temporal` CLI does: its configuration file and `TEMPORAL_*` variables.

        `overrides` are arguments of `temporalio.client.Client.connect`.
        """
        config: dict[str, Any] = {**ClientConfig.load_client_connect_config(), **overrides}
        config["plugins"] = [OutlastPlugin(), *config.get("plugins", ())]
        config.setdefault("target_host", DEFAULT_ADDRESS)
        return cls(await TemporalClient.connect(**config))

    async def start(
        self,
        agent: str | Agent | None = None,
        input: JsonValue = None,  # noqa: A002 the contract's word
        *,
        spec: Mapping[str, Any] | None = None,
        tenant: str = "default",
        limits: Limits | Mapping[str, Any] | None = None,
        mode: Literal["task", "conversation"] = "task",
        id: str | None = None,  # noqa: A002 Temporal's word
        task_queue: str = AGENTS_QUEUE,
    ) -> Run:
        """Start a run; raises `BadRequest` for what can be seen to be wrong before anything starts."""
        name = agent.name if isinstance(agent, Agent) else agent
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
                priority=_priority(tenant),
            )
        except WorkflowAlreadyStartedError:
            raise BadRequest(
                f"id: a run {run_id!r} exists already; choose another, or get() it"
            ) from None
        return Run(handle)

    async def run(
        self,
        agent: str | Agent | None = None,
        input: JsonValue = None,  # noqa: A002 the contract's word
        **options: Any,
    ) -> AgentResult:
        """Start a run and wait for its outcome; takes what `start` takes."""
        return await (await self.start(agent, input, **options)).result()

    def get(self, id: str) -> Run:  # noqa: A002 Temporal's word
        """Return the run of that id."""
        return Run(self.temporal.get_workflow_handle(id))


def request_json(
    *,
    agent: str | None,
    input: JsonValue,  # noqa: A002 the contract's word
    spec: Mapping[str, Any] | None = None,
    tenant: str = "default",
    limits: Limits | Mapping[str, Any] | None = None,
    mode: str = "task",
) -> dict[str, JsonValue]:
    """Return a request as plain JSON; raises `BadRequest` where the workflow would refuse it."""
    fields: dict[str, Any] = {"input": input, "tenant": tenant, "mode": mode}
    fields |= {"agent": agent} if agent is not None else {}
    fields |= {"spec": dict(spec)} if spec is not None else {}
    if limits is not None:
        fields["limits"] = limits.model_dump(mode="json") if isinstance(limits, Limits) else limits
    try:
        encoded = json.dumps(fields).encode()
    except (TypeError, ValueError) as error:
        raise BadRequest(f"input: cannot be written as JSON: {error}") from None
    request: AgentRequest = parse_request(encoded)
    return {
        name: value
        for name, value in request.model_dump(mode="json", exclude_unset=True).items()
        if value is not None
    }


def _priority(tenant: str) -> Priority:
    return Priority.default if tenant == "default" else Priority(fairness_key=tenant)


def _summary(agent: str, value: JsonValue) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(f"{agent}: {text}", MAX_SUMMARY_BYTES)


def _run_failed(error: WorkflowFailureError, run_id: str) -> RunFailed:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return RunFailed(cause.message, run_id=run_id, cause_type=cause.type or "")
    return RunFailed(str(cause or error), run_id=run_id)
