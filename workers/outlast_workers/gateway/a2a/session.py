"""The methods of A2A, for one principal and one agent."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from operator import itemgetter
from typing import Any

from temporalio.client import WorkflowExecutionStatus

from outlast.client.runs import Run
from outlast.contracts.a2a_states import ENDED, INPUT_REQUIRED
from outlast.errors import BadRequest, RunFailed, RunNotFound
from outlast.validation import validated
from outlast_workers.gateway.a2a.errors import A2aError, invalid_params, unsupported
from outlast_workers.gateway.a2a.params import A2aMessage, ListParams, SendParams, TaskParams
from outlast_workers.gateway.a2a.stream import TaskStream
from outlast_workers.gateway.a2a.tasks import Json, TaskId, begun_task, read_task, shown
from outlast_workers.gateway.conversations import (
    SentMessage,
    answer_events,
    conversation_key,
    last_message_position,
    message_update_id,
    send_message,
    transcript_of,
    was_received,
)
from outlast_workers.gateway.front import Front
from outlast_workers.gateway.responses_api import ANSWER_WITHIN_S
from outlast_workers.gateway.tenant_runs import TenantRuns

CANCEL_WITHIN_S = 10.0
"""Seconds that `CancelTask` waits for the end of the run. A call that has begun ends first."""

MAX_READ_AT_ONCE = 10
"""Tasks of a list that are read at the same time. Each asks a worker for a transcript."""

TASK_BEAT_S = 3.0
"""Seconds between two comments of a quiet stream: the client of A2A's SDK waits 5 s by default."""


class Session:
    """The methods of the protocol, for one principal and one agent."""

    METHODS = frozenset(
        {"SendMessage", "SendStreamingMessage", "GetTask", "ListTasks", "CancelTask"}
        | {"SubscribeToTask"}
    )

    def __init__(self, front: Front, runs: TenantRuns, agent: str) -> None:
        self._front = front
        self._runs = runs
        self._agent = agent
        self._prefix = runs.id_of(agent, "")
        self.calls: dict[str, Callable[[dict[str, Any]], Awaitable[Json]]] = {
            "SendMessage": self.send,
            "GetTask": self.get,
            "ListTasks": self.list,
            "CancelTask": self.cancel,
        }
        self.streams: dict[
            str, Callable[[dict[str, Any]], Awaitable[AsyncGenerator[Json | None, None]]]
        ] = {"SendStreamingMessage": self.send_streaming, "SubscribeToTask": self.subscribe}

    async def send(self, params: dict[str, Any]) -> Json:
        """Send a message, and return its task when that has ended or waits for people."""
        body = _send_params(params)
        run, task = await self._send(body)
        if not body.configuration.return_immediately:
            with suppress(TimeoutError):  # then the task goes on
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    async with aclosing(self._events(run, task)) as events:
                        async for _ in events:
                            pass
        now = await self._read(run, task)
        return {"task": shown(now, body.configuration.history_length)}

    async def send_streaming(self, params: dict[str, Any]) -> AsyncGenerator[Json | None, None]:
        """Send a message, and return the stream of its task."""
        body = _send_params(params)
        run, task = await self._send(body)
        # Not read: a task that is answered at once would be a stream without its updates.
        return self._stream(run, task, begun_task(task, is_new=not body.message.task_id), 0)

    async def get(self, params: dict[str, Any]) -> Json:
        """Return a task."""
        body = validated(TaskParams, params)
        run, task = self._find(body.id)
        return shown(await self._read(run, task), body.history_length)

    async def subscribe(self, params: dict[str, Any]) -> AsyncGenerator[Json | None, None]:
        """Return the stream of a task that has not ended."""
        body = validated(TaskParams, params)
        run, task = self._find(body.id)
        now = await self._read(run, task)
        if now["status"]["state"] in ENDED:
            raise unsupported(f"id: the task has ended: {now['status']['state']}")
        return self._stream(run, task, now, None, stops_for_people=False)

    async def cancel(self, params: dict[str, Any]) -> Json:
        """Cancel the run of a task, and return the task."""
        run, task = self._find(validated(TaskParams, params).id)
        state = (await self._read(run, task))["status"]["state"]
        if state in ENDED:
            raise A2aError(
                -32002, "TASK_NOT_CANCELABLE", f"id: the task has ended already: {state}"
            )
        await run.cancel()
        with suppress(TimeoutError, RunFailed):
            async with asyncio.timeout(CANCEL_WITHIN_S):
                await run.result()
        return shown(await self._read(run, task), None)

    async def list(self, params: dict[str, Any]) -> Json:
        """Return the last task of each of the newest contexts, or of the one that is named.

        The task that changed last comes first.
        """
        body = validated(ListParams, params)
        at_once = asyncio.Semaphore(MAX_READ_AT_ONCE)

        async def last_task(run_id: str) -> tuple[datetime, Json]:
            async with at_once:
                return await self._last_task(run_id)

        found = await asyncio.gather(*map(last_task, await self._contexts(body.context_id)))
        found.sort(key=itemgetter(0), reverse=True)
        state = body.status.removeprefix("TASK_STATE_UNSPECIFIED")
        since = body.status_timestamp_after
        tasks = [
            task
            for changed_at, task in found
            if state in ("", task["status"]["state"]) and (since is None or changed_at >= since)
        ]
        begin = int(body.page_token or 0)
        end = begin + body.page_size
        page = [
            shown(task, body.history_length, has_artifacts=body.include_artifacts)
            for task in tasks[begin:end]
        ]
        return {
            "tasks": page,
            "nextPageToken": str(end) if end < len(tasks) else "",
            "pageSize": len(page),
            "totalSize": len(tasks),
        }

    async def _contexts(self, context: str) -> Sequence[str]:
        """Return the runs of a context, or of the newest ones without a name."""
        if not context:
            return [listed.id async for listed in self._runs.list(self._agent)]
        if conversation_key(context) != context:
            return []  # no context has such a name
        run = self._runs.find(self._prefix + context)
        try:
            await self._runs.status(run)
        except RunNotFound:
            return []
        return [run.id]

    async def _last_task(self, run_id: str) -> tuple[datetime, Json]:
        """Return the last task of a run, and when the run changed last."""
        run = self._runs.find(run_id)
        # Read before the task: what changes meanwhile has a later time in the next list.
        changed_at = await self._runs.changed_at(run)
        begin = max(0, last_message_position(await transcript_of(run)) - 1)
        task = await self._read(run, TaskId(run_id, begin))
        timestamp = changed_at.isoformat().replace("+00:00", "Z")
        return changed_at, {**task, "status": {**task["status"], "timestamp": timestamp}}

    async def _send(self, body: SendParams) -> tuple[Run, TaskId]:
        message = body.message
        if message.task_id:
            return await self._continue(body)
        text = await self._text(message)
        # Without a context, a repeated message finds the task that it began.
        unique = f"{self._runs.principal.name}\n{message.message_id}\n{text}"
        key = message.context_id or conversation_key(f"\n{unique}")
        if conversation_key(key) != key:
            raise invalid_params(
                "message.contextId: must have 1 to 128 letters, digits and . _ ~ -"
            )
        run = self._runs.find(self._prefix + key)
        try:
            is_running = await self._is_running(run)
        except RunNotFound:
            is_running = False
        before = await transcript_of(run) if is_running else []
        sent = await self._say(run.id, message.message_id, text)
        if not message.context_id:
            return sent.run, TaskId(run.id)  # the context has the name of its first message
        entries = await transcript_of(sent.run) if sent.is_repeated else before
        return sent.run, TaskId(run.id, sent.begin(before, entries))

    async def _continue(self, body: SendParams) -> tuple[Run, TaskId]:
        """Send a message or decisions to a task."""
        message = body.message
        run, task = self._find(message.task_id)
        if message.context_id and message.context_id != task.context:
            raise invalid_params("message.contextId: is not the context of the task")
        now = await self._read(run, task)
        decisions = message.decisions()
        if decisions:  # also if the task goes on already: a repeated decision changes nothing
            for decision in decisions:
                await self._runs.decide(run, decision)
            return run, task
        text = await self._text(message)
        # One id for the message, whether it answers a question or not: the run takes it once.
        update_id = self._update_id(message.message_id, text)
        if await was_received(self._front, run.id, update_id):
            return run, task
        if now["status"]["state"] in ENDED:
            raise unsupported(f"message.taskId: the task has ended: {now['status']['state']}")
        if now["status"]["state"] == INPUT_REQUIRED:
            decision = message.answer(await run.pending_requests())
            await self._runs.decide(run, decision, update_id=update_id)
        else:
            await self._say(run.id, message.message_id, text)
        return run, task

    async def _text(self, message: A2aMessage) -> str:
        has_media = any(part.raw or part.url for part in message.parts)
        try:
            contents = message.contents()
            return await self._front.media.text_of(contents, self._runs.principal.tenant)
        except BadRequest as error:
            if not has_media:
                raise
            raise A2aError(-32005, "CONTENT_TYPE_NOT_SUPPORTED", str(error)) from None

    async def _say(self, run_id: str, message_id: str, text: str) -> SentMessage:
        return await send_message(
            self._front,
            self._runs,
            run_id,
            text,
            agent=self._agent,
            update_id=self._update_id(message_id, text),
        )

    def _update_id(self, message_id: str, text: str) -> str:
        return message_update_id("a2a", self._runs, message_id, text)

    def _find(self, identifier: str) -> tuple[Run, TaskId]:
        task = TaskId.read(identifier)
        run = self._runs.find(task.run_id)
        if not task.run_id.startswith(self._prefix):
            raise RunNotFound(f"there is no task {identifier[:200]!r} of this agent")
        return run, task

    async def _read(self, run: Run, task: TaskId) -> Json:
        return await read_task(run, task, is_running=await self._is_running(run))

    async def _is_running(self, run: Run) -> bool:
        return await self._runs.status(run) is WorkflowExecutionStatus.RUNNING

    def _events(
        self, run: Run, task: TaskId, *, stops_for_people: bool = True
    ) -> AsyncGenerator[Any, None]:
        return answer_events(
            self._front,
            run,
            task.since,
            beat_s=TASK_BEAT_S,
            stops_for_people=stops_for_people,
        )

    async def _stream(
        self,
        run: Run,
        task: TaskId,
        now: Json,
        history_length: int | None,
        *,
        stops_for_people: bool = True,
    ) -> AsyncGenerator[Json | None, None]:
        """Yield a task, what changes, and its last status.

        Without `stops_for_people`, the stream goes on while people decide, and ends with the task.
        """
        yield {"task": shown(now, history_length)}
        if now["status"]["state"] in ENDED:
            return
        stream = TaskStream(task)
        following = self._events(run, task, stops_for_people=stops_for_people)
        async with aclosing(following) as events:
            async for event in events:
                if event is None:
                    yield None
                    continue
                for update in stream.read(event):
                    yield update
                if event.type == "request_opened" and not stops_for_people:
                    yield stream.waiting((await self._read(run, task))["status"])
        last = await self._read(run, task)
        yield stream.status(last["status"], last["metadata"])


def _send_params(params: dict[str, Any]) -> SendParams:
    body = validated(SendParams, params)
    if body.configuration.task_push_notification_config is not None:
        raise A2aError(
            -32003, "PUSH_NOTIFICATION_NOT_SUPPORTED", "push notifications are not supported"
        )
    return body
