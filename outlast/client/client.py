"""The client: starts runs, finds them, and holds conversations, over any Temporal client.

All payloads are plain JSON, so the Temporal client can have any data converter.
"""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack
from urllib.parse import quote
from uuid import uuid4

from pydantic import JsonValue, TypeAdapter
from temporalio.client import Client as TemporalClient
from temporalio.client import WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from outlast.client.arguments import agent_name, checked_duration, checked_queue
from outlast.client.gateway import TOKEN_VARIABLE, URL_VARIABLE, Gateway
from outlast.client.media import ClientMedia, RunInput, Text
from outlast.client.replies import REPLY_TIMEOUT
from outlast.client.runs import Run
from outlast.client.waiting import Waiting
from outlast.contracts.limits import Limits
from outlast.contracts.names import AGENT_WORKFLOW, AGENTS_QUEUE
from outlast.contracts.requests import SayPayload
from outlast.contracts.results import AgentResult, Answer
from outlast.errors import BadRequest, NoAnswer, Unavailable
from outlast.media.media import Media
from outlast.start_requests import checked_run_id, request_json, tenant_priority
from outlast.temporal.connection import (
    DEFAULT_ADDRESS,
    checked_address,
    connection_failure,
    load_profile,
    pause_at_exit,
)
from outlast.temporal.payload_codec import codec_of_environment
from outlast.temporal.payload_store import storage_of_environment
from outlast.temporal.plugin import OutlastPlugin
from outlast.temporal.server_errors import outlast_errors
from outlast.temporal.updates import execute_update
from outlast.text.safe_text import summary_line
from outlast.text.texts import cut
from outlast.validation import check_json, validated

if TYPE_CHECKING:
    from outlast.agents.agent import Agent

MAX_SUMMARY_BYTES = 120
"""A static summary. The server's limit is 400 encoded bytes, and one character can take six."""


CONNECT_TIMEOUT_S = 5.0
"""A running server accepts in milliseconds, and over a slow network in a second or two."""


class ChatOptions(TypedDict, total=False):
    """Options of a conversation that `Client.chat` starts, as in `Client.start`."""

    tenant: str
    limits: Limits | Mapping[str, Any] | None
    task_queue: str


class StartOptions(ChatOptions, total=False):
    """Options of `Client.run`, as in `Client.start`."""

    spec: Mapping[str, Any] | None
    mode: Literal["task", "conversation"]
    id: str | None


class Client:
    """Starts runs of agents, and finds runs. `temporal` is the Temporal client.

    `media_store` is the URL of the store for images and files, as in the settings of the workers
    (`media.store`). By default it is the variable `OUTLAST_MEDIA__STORE`. With the URL of a `gateway` and a
    token for it, `Run.stream` yields the text of answers while models write them.
    """

    def __init__(
        self,
        client: TemporalClient,
        *,
        media_store: str | None = None,
        gateway: str | None = None,
        gateway_token: str | None = None,
    ) -> None:
        self.temporal = client
        self.gateway = Gateway(gateway, gateway_token) if gateway else None
        self._media = ClientMedia(client, media_store)
        pause_at_exit()

    def __repr__(self) -> str:
        config = self.temporal.service_client.config
        return f"<outlast.Client {config.target_host!r}, namespace {self.temporal.namespace!r}>"

    @classmethod
    async def connect(
        cls,
        *,
        media_store: str | None = None,
        gateway: str | None = None,
        gateway_token: str | None = None,
        **overrides: Any,
    ) -> Self:
        """Connect with the settings of the `temporal` CLI: its configuration file and `TEMPORAL_*`.

        `overrides` are arguments of `temporalio.client.Client.connect`. The variable
        `OUTLAST_PAYLOADS__CODEC` names the payload codec, and `OUTLAST_PAYLOADS__STORE` the payload store,
        unless a `data_converter` has them. By default,
        `gateway` and `gateway_token` are the variables `OUTLAST_GATEWAY_URL` and `OUTLAST_GATEWAY_TOKEN`.
        Raises `NotReady` if the settings are invalid, and `Unavailable` if the server does not answer.
        """
        config: dict[str, Any] = {**load_profile(), **overrides}
        plugin = OutlastPlugin(codec_of_environment(), storage_of_environment())
        config["plugins"] = [plugin, *config.get("plugins", ())]
        address = checked_address(config.setdefault("target_host", DEFAULT_ADDRESS))
        texts = {
            "gateway": gateway or os.environ.get(URL_VARIABLE),
            "gateway_token": gateway_token or os.environ.get(TOKEN_VARIABLE),
        }
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                temporal = await TemporalClient.connect(**config)
                return cls(temporal, media_store=media_store, **texts)
        except TimeoutError:
            reason = f"no reply in {CONNECT_TIMEOUT_S:g} s"
        except (RuntimeError, ValueError) as error:
            reason = connection_failure(error, address)
        raise Unavailable(
            f"cannot connect to a Temporal server at {address} ({reason}): start one"
            " (temporal server start-dev), or name another with TEMPORAL_ADDRESS (or --address)"
        )

    async def start(
        self,
        agent: "Agent[Any, Answer] | str | None" = None,
        input: RunInput = None,  # noqa: A002 the contract's word
        *,
        spec: Mapping[str, Any] | None = None,
        tenant: str = "default",
        limits: Limits | Mapping[str, Any] | None = None,
        mode: Literal["task", "conversation"] = "task",
        id: str | None = None,  # noqa: A002 Temporal's word
        task_queue: str = AGENTS_QUEUE,
    ) -> Run[Answer]:
        """Start a run. Raises `BadRequest` if the request is invalid or the id is in use.

        Give either an `agent` or a `spec`, a whole agent in JSON. With an `Agent` instead of its name, the
        output of the run is a value of its output type. `id` is the workflow id.

        The `input` is JSON, with images and files anywhere in it: their bytes are stored first. A list of
        texts, images and files is one message. Raises `NotReady` without a media store for them, and
        `Unavailable` if it cannot be used.
        """
        name = None if agent is None else agent_name(agent)
        checked_queue(task_queue)
        input = await self._media.stored(input, tenant)  # noqa: A001 the contract's word
        request = request_json(
            agent=name, spec=spec, input=input, tenant=tenant, limits=limits, mode=mode
        )
        run_id = (
            self.new_run_id(name or "spec", tenant=tenant) if id is None else checked_run_id(id)
        )
        try:
            with outlast_errors("start"):
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
        return Run(handle, _output_type_of(agent), self._media, self.gateway, tenant)

    def new_run_id(self, name: str, *, tenant: str = "default") -> str:
        """Return a workflow id that no run has. With a gateway, it is one that the gateway can show."""
        key = uuid4().hex[:8]
        return f"{name}-{key}" if self.gateway is None else f"{quote(tenant, safe='')}/{name}/{key}"

    async def run(
        self,
        agent: "Agent[Any, Answer] | str | None" = None,
        input: RunInput = None,  # noqa: A002 the contract's word
        **options: Unpack[StartOptions],
    ) -> AgentResult[Answer]:
        """Start a run with the options of `start`, and return its result. Raises `RunFailed`."""
        return await (await self.start(agent, input, **options)).result()

    async def chat(
        self,
        id: str,  # noqa: A002 Temporal's word
        text: Text,
        *,
        agent: "Agent[Any, Answer] | str",
        by: str = "",
        update_id: str | None = None,
        within: timedelta = REPLY_TIMEOUT,
        on_waiting: Callable[[Waiting], None] | None = None,
        **options: Unpack[ChatOptions],
    ) -> Answer:
        """Send a message to a conversation, and return the answer of the agent.

        `id` is the workflow id. If no conversation with this id is running, the message starts one with the
        `agent` and the `options` (`tenant`, `limits` and `task_queue` of `start`). A repeated `update_id`
        sends the message only once. Raises the same errors as `Run.reply`, and calls `on_waiting` as
        `Run.reply` does.
        """
        within_s = checked_duration("within", within).total_seconds()
        deadline = asyncio.get_running_loop().time() + within_s
        try:
            async with asyncio.timeout_at(deadline):
                run = await self.send(id, text, agent=agent, by=by, update_id=update_id, **options)
        except TimeoutError:
            raise NoAnswer(
                f"chat: the message was not received within {within_s:g} s: is a worker"
                " running? Repeat the call with the same update_id"
            ) from None
        left_s = max(0.0, deadline - asyncio.get_running_loop().time())
        return await run.reply(within=timedelta(seconds=left_s), on_waiting=on_waiting)

    async def send(
        self,
        id: str,  # noqa: A002 Temporal's word
        text: Text,
        *,
        agent: "Agent[Any, Answer] | str",
        by: str = "",
        update_id: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> Run[Answer]:
        """Send a message to a conversation, as `chat` does, and return its run without an answer."""
        # Validate the message before it starts a conversation.
        stored = await self._media.stored(text, options.get("tenant", "default"), "text")
        check_json("text", stored)
        payload = validated(SayPayload, {"text": stored, "by": by}).model_dump(mode="json")
        with outlast_errors("chat"):
            await execute_update(
                lambda: self._say_or_start(
                    payload, self._conversation_start(agent_name(agent), id, options), update_id
                )
            )
        return self.get(id, agent)

    def _conversation_start(
        self, agent: str, run_id: str, options: ChatOptions
    ) -> WithStartWorkflowOperation[Any, Any]:
        tenant = options.get("tenant", "default")
        request = request_json(
            agent=agent,
            input=None,
            mode="conversation",
            tenant=tenant,
            limits=options.get("limits"),
        )
        checked_run_id(run_id)
        return WithStartWorkflowOperation(
            AGENT_WORKFLOW,
            request,
            id=run_id,
            task_queue=checked_queue(options.get("task_queue", AGENTS_QUEUE)),
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=_summary(agent, "conversation"),
            priority=tenant_priority(tenant),
        )

    async def _say_or_start(
        self,
        payload: dict[str, Any],
        start: WithStartWorkflowOperation[Any, Any],
        update_id: str | None,
    ) -> None:
        started = asyncio.ensure_future(start.workflow_handle())
        try:
            await self.temporal.execute_update_with_start_workflow(
                "say", payload, start_workflow_operation=start, id=update_id
            )
        finally:
            # Python logs an error that nobody has read, and the SDK keeps it here, too.
            started.cancel()
            await asyncio.gather(started, return_exceptions=True)

    def get(
        self,
        id: str,  # noqa: A002 Temporal's word
        agent: "Agent[Any, Answer] | str | None" = None,
    ) -> Run[Answer]:
        """Return the run with this workflow id, without checking that it exists.

        Raises `BadRequest` for what cannot be the id of a run.
        With its `Agent`, the output of the run is a value of the agent's output type.
        """
        handle = self.temporal.get_workflow_handle(checked_run_id(id))
        return Run(handle, _output_type_of(agent), self._media, self.gateway)

    async def download(self, media: Media | str, *, tenant: str = "default") -> bytes:
        """Return the bytes of an image or a file in an answer or a transcript of a run of the tenant.

        In JSON, an image is the text of its reference, which is accepted too. Raises `BadRequest` if the
        store does not have them, or if they are at a URL.
        """
        return await self._media.bytes_of(media, tenant)


def _output_type_of(agent: "Agent[Any, Any] | str | None") -> TypeAdapter[Any] | None:
    return None if agent is None or isinstance(agent, str) else agent.output_type


def _summary(agent: str, value: JsonValue) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return summary_line(cut(f"{agent}: {text}", MAX_SUMMARY_BYTES), MAX_SUMMARY_BYTES)
