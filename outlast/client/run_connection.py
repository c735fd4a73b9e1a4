"""The connection to one run: its result, its queries and its updates."""

from datetime import timedelta
from typing import Any

from pydantic import JsonValue, TypeAdapter
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from outlast.client.pending_steps import pending_steps
from outlast.client.waiting import Waiting, waiting_entries
from outlast.contracts.human import PendingRequest
from outlast.contracts.messages import Message, TranscriptPage
from outlast.contracts.results import AgentResult, Progress
from outlast.errors import RunFailed
from outlast.temporal.queries import query
from outlast.temporal.server_errors import UnknownHandler, outlast_errors
from outlast.temporal.updates import execute_update
from outlast.validation import check_update

QUERY_TIMEOUT = timedelta(seconds=10)
"""A worker answers a query in milliseconds. It replays a long run in seconds."""

_PENDING = TypeAdapter(list[PendingRequest])


class RunConnection:
    """One run as JSON. All methods raise the errors of `outlast.errors`, and none of the SDK.

    `Run` adds the types of the user. `streams` and `replies` hold what needs several calls.
    """

    def __init__(self, handle: WorkflowHandle[Any, Any]) -> None:
        self._handle = handle
        self._has_transcript = True

    @property
    def id(self) -> str:
        """The workflow id."""
        return self._handle.id

    @property
    def first_execution_run_id(self) -> str | None:
        """The id of the first Temporal run of the chain, if this process started it."""
        return self._handle.first_execution_run_id

    async def result(self) -> AgentResult:
        """Wait for the end of the run, and return its result. Raises `RunFailed` with the cause."""
        try:
            with outlast_errors("result", self.id):
                return AgentResult.model_validate(await self._handle.result())
        except WorkflowFailureError as error:
            raise _run_failed(error, self.id) from None

    async def progress(self) -> Progress:
        """Return what the run does now, and what it has used.

        For a pipeline, `agent` is its name, `doing` has the places of its tasks, and the turns are 0.
        """
        progress = await self._query("progress")
        if isinstance(progress, dict) and "pipeline" in progress:
            return _of_pipeline(progress)
        return Progress.model_validate(progress)

    async def waiting(self, *, with_steps: bool = False) -> list[Waiting]:
        """Return what the run waits for now; `with_steps` also if only its steps wait."""
        entries = waiting_entries(await self.progress(), self.id)
        steps = await pending_steps(self._handle) if with_steps and not entries else []
        return entries + [Waiting(content=text, called_run=called) for text, called in steps]

    async def pending_requests(self) -> list[PendingRequest]:
        """Return the human requests without an outcome."""
        return _PENDING.validate_python(await self._query("pending_requests"))

    async def transcript(self, since: int = 0) -> list[Message]:
        """Return the transcript from the entry `since`, counted from 0. Raises `UnknownHandler`."""
        messages: list[Message] = []
        start: int | None = since
        while start is not None:  # each page has at least one entry, or is the last
            page = TranscriptPage.model_validate(await self._query("transcript", {"since": start}))
            messages.extend(page.messages)
            start = page.next
        return messages

    async def new_entries(self, since: int) -> list[Message]:
        """Return the transcript from the entry `since`; a pipeline has no entries."""
        if not self._has_transcript:
            return []
        try:
            return await self.transcript(since)
        except UnknownHandler:
            await self.progress()  # raises for a workflow that is no pipeline either
            self._has_transcript = False
            return []

    async def update(
        self, name: str, payload: dict[str, JsonValue], *, update_id: str | None = None
    ) -> str:
        """Send a command, and return the sentence with which the run accepts it.

        Raises `BadRequest` if the run rejects it. A repeated `update_id` has the result of the first.
        """
        check_update(name, payload)
        with outlast_errors(name, self.id):
            return str(
                await execute_update(
                    lambda: self._handle.execute_update(name, payload, id=update_id)
                )
            )

    async def next_answer(self, update_id: str | None) -> JsonValue:
        """Wait for the answer to all messages. Raises errors of the SDK, which `replies` handles."""
        return await execute_update(lambda: self._handle.execute_update("reply", id=update_id))

    async def cancel(self) -> None:
        """Cancel the run."""
        with outlast_errors("cancel", self.id):
            await self._handle.cancel()

    async def _query(self, name: str, payload: dict[str, JsonValue] | None = None) -> Any:
        arguments = [] if payload is None else [payload]
        with outlast_errors(name, self.id):
            return await query(self._handle, name, arguments, rpc_timeout=QUERY_TIMEOUT)


def _of_pipeline(progress: dict[str, Any]) -> Progress:
    """Return the JSON of a `PipelineProgress` as the progress of a run."""
    places = ", ".join(task["place"] for task in progress["running"])
    of_agents = {
        "agent": progress["pipeline"],
        "doing": f"runs {places}" if places else progress["status"],
        "turn": 0,
        "max_turns": 0,
        "tool_calls": progress.get("tool_calls", 0),  # older workers do not send it
    }
    return Progress.model_validate({**progress, **of_agents})


def _run_failed(error: WorkflowFailureError, run_id: str) -> RunFailed:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return RunFailed(cause.message, run_id=run_id, cause_type=cause.type or "")
    return RunFailed(str(cause or error), run_id=run_id)
