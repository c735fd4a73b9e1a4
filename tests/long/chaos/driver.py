"""Starts the runs of a storm and does to them what the mix says, whatever the server does meanwhile."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from temporalio.client import (
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from outlast import BadRequest, Client, OutlastError, RunFailed
from outlast.errors import Unavailable
from outlast.temporal.server_errors import QueryRejected
from tests.long.chaos.mix import PlannedRun

RETRY_S = 0.5
TRY_S = 15.0
CHAT_S = 30.0

T = TypeVar("T")


@dataclass
class Driven:
    """What the client saw of one run."""

    planned: PlannedRun
    started: bool = False
    answers: dict[str, Any] = field(default_factory=dict)
    """Of a conversation: the answer to each message, by its token."""
    accepted: list[str] = field(default_factory=list)
    """Of a task: tokens of the messages that it accepted."""
    refused: str = ""
    """Why the conversation ended before its last message."""


async def insist(call: Callable[[], Awaitable[T]], *, try_s: float = TRY_S) -> T:
    """Repeat a call until the server answers it, or a worker rejects it as a query."""
    while True:
        try:
            return await asyncio.wait_for(call(), try_s)
        except QueryRejected:
            raise
        except (TimeoutError, Unavailable, WorkflowUpdateRPCTimeoutOrCancelledError):
            pass
        except RPCError as error:
            if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                raise
        await asyncio.sleep(RETRY_S)


class Driver:
    """Drives runs. `driven` is what it saw of each."""

    def __init__(self, client: Client) -> None:
        self.driven: list[Driven] = []
        self._client = client

    async def drive(self, planned: PlannedRun) -> None:
        """Start one run at its time, and cancel it or talk to it as planned."""
        await asyncio.sleep(planned.start_s)
        seen = Driven(planned)
        self.driven.append(seen)
        if planned.kind == "conversation":
            await self._talk(seen)
            return
        await self._start(seen)
        await asyncio.gather(self._say(seen), self._cancel(planned))

    async def _cancel(self, planned: PlannedRun) -> None:
        if planned.ending == "cancel":
            await asyncio.sleep(planned.ends_after_s)
            with contextlib.suppress(RPCError):  # it has ended already
                await insist(self._client.temporal.get_workflow_handle(planned.id).cancel)

    async def _say(self, seen: Driven) -> None:
        """Send a task its messages, each twice with the same update id."""
        handle = self._client.temporal.get_workflow_handle(seen.planned.id)
        for after_s, text in seen.planned.says:
            await asyncio.sleep(after_s)
            payload, token = {"text": text}, text.split()[0]
            for _ in range(2):
                say = partial(handle.execute_update, "say", payload, id=token)
                with contextlib.suppress(RPCError, WorkflowUpdateFailedError):  # it has ended
                    await insist(say)
                    seen.accepted.append(token)

    async def _start(self, seen: Driven) -> None:
        planned = seen.planned
        task: dict[str, Any] = {"plan": planned.plan}
        try:
            await insist(
                lambda: self._client.start("doer", task, id=planned.id, limits=planned.limits)
            )
        except BadRequest as error:
            if "exists already" not in error.message:
                raise
        seen.started = True

    async def _talk(self, seen: Driven) -> None:
        """Say each message, again with the same update id while there is no answer, and finish."""
        planned = seen.planned
        for number, (after_s, text) in enumerate(planned.says):
            await asyncio.sleep(after_s)
            repeats = 2 if number % 3 == 1 else 1
            for _ in range(repeats):
                try:
                    await self._chat(seen, text)
                except (BadRequest, RunFailed) as error:
                    seen.refused = error.message
                    return
        run = self._client.get(planned.id)
        try:
            await insist(lambda: run.finish(by="robot"))
        except OutlastError as error:
            seen.refused = str(error)

    async def _chat(self, seen: Driven, text: str) -> None:
        token = text.split(maxsplit=1)[0]

        async def chat() -> Any:
            return await self._client.chat(
                seen.planned.id,
                text,
                agent="talker",
                update_id=token,
                within=timedelta(seconds=CHAT_S),
                limits=seen.planned.limits,
            )

        answer = await insist(chat, try_s=CHAT_S + 5)
        seen.started = True
        seen.answers[token] = answer
