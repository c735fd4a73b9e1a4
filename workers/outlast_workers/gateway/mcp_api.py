"""`/mcp`: agents as tools for MCP clients. Task ids are workflow ids, so the gateway keeps no tasks.

A call of an agent depends on the client:

- With the extension `io.modelcontextprotocol/tasks`, it returns a task at once. Human requests are the
  `inputRequests` of the task.
- Without it, the call waits. Human requests are elicitations of an `InputRequiredResult`.
- Before the version 2026-07-28, it waits for a short time. Then it returns an id for `run_status`.

Approvals are never a tool: a model must not approve its own calls.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
    ListToolsResult,
    PaginatedRequestParams,
    RequestParams,
    TextContent,
    Tool,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field, JsonValue
from starlette.routing import Route
from temporalio.client import WorkflowExecutionStatus

from outlast.agents.agent_specs import AGENT_PARAMETERS
from outlast.client.runs import Run
from outlast.client.waiting import request_summary
from outlast.contracts.human import PendingRequest
from outlast.contracts.results import AgentResult
from outlast.errors import BadRequest, OutlastError, RunFailed, RunNotFound, Unavailable
from outlast.text.json_text import from_json, to_json
from outlast.version import __version__
from outlast_workers.gateway.front import PRINCIPAL, Front
from outlast_workers.gateway.http_messages import MAX_BODY_BYTES
from outlast_workers.gateway.mcp_requests import decisions, elicitations
from outlast_workers.gateway.message_media import is_blank
from outlast_workers.gateway.tenant_runs import TenantRuns
from outlast_workers.gateway.token_usage import usage_metadata

TASKS = "io.modelcontextprotocol/tasks"

STATUS_TOOL = "run_status"

KEY = "outlast/key"
"""The entry of `_meta` with the key of a client. A repeated call with an equal key returns the same run."""

WAIT_S = 20.0
"""Seconds that one call waits for a run. Clients give up after 60 s."""

POLL_S = 0.3
"""Seconds between two looks at a run while a call waits for it."""

MAX_ROUNDS = 8
"""How often a client of 2026-07-28 repeats a call that waits. The SDK's client gives up after ten times."""

TASK_POLL_MS = 1_000
"""How often a client should look at a task, in milliseconds."""


class TaskParams(RequestParams):
    """The parameters of `tasks/get` and `tasks/cancel`."""

    task_id: str = Field(alias="taskId", max_length=2_000)


class TaskUpdateParams(TaskParams):
    """The parameters of `tasks/update`."""

    input_responses: dict[str, Any] = Field(alias="inputResponses")


class McpApi:
    """The handlers of `/mcp`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self.server: Server[Any] = Server(
            "outlast",
            version=__version__,
            instructions="Each tool is an agent. Its runs survive disconnects.",
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
        )
        self.server.extensions[TASKS] = {}
        self.server.add_request_handler("tasks/get", TaskParams, self.get_task)
        self.server.add_request_handler("tasks/update", TaskUpdateParams, self.update_task)
        self.server.add_request_handler("tasks/cancel", TaskParams, self.cancel_task)

    def routes(self) -> list[Route]:
        """Return the routes of the interface.

        A GET would open a stream of messages that answer no request. There are none, the stream has no
        end, and the process could not stop before its clients leave. So the answer is 405, which the
        protocol allows.
        """
        app = self.server.streamable_http_app(
            json_response=True, stateless_http=True, max_request_body_size=MAX_BODY_BYTES, host=""
        )
        routes = [route for route in app.routes if isinstance(route, Route)]
        return [
            Route(f"{route.path}{end}", route.endpoint, methods=["POST"])
            for route in routes
            for end in ("", "/")
        ]

    async def list_tools(self, _: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
        """List the agents, and the tool that returns the status of a run. The list has one page."""
        if params is not None and params.cursor is not None:
            raise MCPError(
                INVALID_PARAMS, "cursor: is not one of this server: the list has one page"
            )
        tools = [
            Tool(name=name, description=text, input_schema=AGENT_PARAMETERS)
            for name, text in self._front.agents.items()
        ]
        return ListToolsResult(tools=[*tools, _STATUS])

    async def call_tool(self, ctx: Any, params: CallToolRequestParams) -> Any:
        """Start a run, or go on with the one that `request_state` names."""
        runs = self._runs(ctx)
        try:
            if params.name == STATUS_TOOL:
                return await self._status(runs, params.arguments or {})
            if params.request_state is not None:
                return await self._go_on(runs, params)
            run = await self._start(runs, params)
            if _takes_tasks(ctx):
                return {"resultType": "task", **await self._task(runs, run)}
            is_modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
            return await self._wait(run, rounds=MAX_ROUNDS if is_modern else 0)
        except OutlastError as error:
            return _text(str(error), is_error=True)

    async def _start(self, runs: TenantRuns, params: CallToolRequestParams) -> Run:
        arguments = params.arguments or {}
        unknown = sorted(arguments.keys() - {"input"})
        if unknown:
            raise BadRequest(f"{unknown[0][:40]!r} is not a parameter; the only one is 'input'")
        if not isinstance(arguments.get("input"), str):
            raise BadRequest("input: is required, and must be text")
        if is_blank([arguments["input"]]):
            raise BadRequest("input: has no text")
        return await runs.start(params.name, arguments["input"], key=_key(params))

    async def _go_on(self, runs: TenantRuns, params: CallToolRequestParams) -> Any:
        state = _read_state(params.request_state or "")
        run = runs.find(state["run"])
        if params.input_responses:
            pending = await run.pending_requests()
            for decision in decisions(pending, params.input_responses):
                await runs.decide(run, decision)
        return await self._wait(run, rounds=state["rounds"])

    async def _wait(self, run: Run, *, rounds: int) -> Any:
        """Wait until the run ends or needs a person. With `rounds`, the client may repeat the call."""
        result = asyncio.create_task(_outcome(run))
        try:
            ends = asyncio.get_running_loop().time() + WAIT_S
            while asyncio.get_running_loop().time() < ends:
                await asyncio.wait([result], timeout=POLL_S)
                if result.done():
                    return result.result()
                pending = await _pending(run)
                if pending and rounds:
                    state = to_json({"run": run.id, "rounds": MAX_ROUNDS})
                    return InputRequiredResult(
                        input_requests=elicitations(pending), request_state=state
                    )
                if pending:
                    break
        finally:
            result.cancel()
        if rounds > 1:
            state = to_json({"run": run.id, "rounds": rounds - 1})
            return InputRequiredResult(request_state=state)
        return _text(await _running_text(run))

    async def _status(self, runs: TenantRuns, arguments: dict[str, Any]) -> CallToolResult:
        run_id = arguments.get("run")
        if not isinstance(run_id, str):
            raise BadRequest("run: is required: the id that the call of an agent returned")
        run = runs.find(run_id)
        if await runs.status(run) is WorkflowExecutionStatus.RUNNING:
            return _text(await _running_text(run))
        return await _outcome(run)

    async def get_task(self, ctx: Any, params: TaskParams) -> dict[str, JsonValue]:
        """Return a task: the run of this workflow id."""
        runs, run = self._found(ctx, params)
        return await _as_mcp_error(self._task(runs, run))

    async def update_task(self, ctx: Any, params: TaskUpdateParams) -> dict[str, JsonValue]:
        """Decide requests of a run."""
        runs, run = self._found(ctx, params)
        return await _as_mcp_error(self._update(runs, run, params.input_responses))

    async def cancel_task(self, ctx: Any, params: TaskParams) -> dict[str, JsonValue]:
        """Cancel a run."""
        runs, run = self._found(ctx, params)
        return await _as_mcp_error(self._cancel(runs, run))

    async def _update(
        self, runs: TenantRuns, run: Run, responses: dict[str, Any]
    ) -> dict[str, JsonValue]:
        await runs.status(run)
        for decision in decisions(await _pending(run), responses):
            await runs.decide(run, decision)
        return {}

    async def _cancel(self, runs: TenantRuns, run: Run) -> dict[str, JsonValue]:
        if await runs.status(run) is WorkflowExecutionStatus.RUNNING:
            await run.cancel()
        return {}

    async def _task(self, runs: TenantRuns, run: Run) -> dict[str, JsonValue]:
        described = await runs.describe(run)
        task: dict[str, JsonValue] = {
            "taskId": run.id,
            "createdAt": described.start_time.isoformat(),
            "lastUpdatedAt": (described.close_time or datetime.now(UTC)).isoformat(),
            "ttlMs": None,
            "pollIntervalMs": TASK_POLL_MS,
        }
        if described.status is WorkflowExecutionStatus.RUNNING:
            return {**task, **await _running_task(run)}
        return {**task, **await _ended_task(run)}

    def _found(self, ctx: Any, params: TaskParams) -> tuple[TenantRuns, Run]:
        if not _takes_tasks(ctx):
            raise MCPError(
                MISSING_REQUIRED_CLIENT_CAPABILITY,
                "Missing required client capability",
                {"requiredCapabilities": {"extensions": {TASKS: {}}}},
            )
        name = decode_header_value(ctx.request.headers.get(MCP_NAME_HEADER))
        if name is not None and name != params.task_id:
            raise MCPError(HEADER_MISMATCH, f"{MCP_NAME_HEADER} is not the taskId of the request")
        runs = self._runs(ctx)
        try:
            return runs, runs.find(params.task_id)
        except BadRequest as error:
            raise MCPError(INVALID_PARAMS, str(error)) from None

    def _runs(self, ctx: Any) -> TenantRuns:
        return self._front.runs_of(ctx.request.scope[PRINCIPAL])


_STATUS = Tool(
    name=STATUS_TOOL,
    description="Tell what the run of an agent does, or its result.",
    input_schema={
        "type": "object",
        "properties": {"run": {"type": "string", "description": "the id of the run"}},
        "required": ["run"],
    },
)


async def _as_mcp_error(call: Any) -> dict[str, JsonValue]:
    try:
        result: dict[str, JsonValue] = await call
    except Unavailable as error:
        raise MCPError(INTERNAL_ERROR, str(error)) from None
    except OutlastError as error:
        raise MCPError(INVALID_PARAMS, str(error)) from None
    return result


def _takes_tasks(ctx: Any) -> bool:
    if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return False
    capabilities = ctx.session.client_capabilities
    return TASKS in ((capabilities.extensions if capabilities else None) or {})


def _key(params: CallToolRequestParams) -> str | None:
    """Return the key with which a client can repeat a call, or None: the protocol itself has none."""
    key = (params.meta or {}).get(KEY)
    if key is not None and not isinstance(key, str):
        raise BadRequest(f"_meta: {KEY}: must be text")
    return key


def _read_state(state: str) -> dict[str, Any]:
    """Return the run and the rounds of a `requestState`, which a client can forge."""
    try:
        value: Any = from_json(state[:4_000])
        run_id, rounds = value["run"], value["rounds"]
        if isinstance(run_id, str) and isinstance(rounds, int) and 0 < rounds <= MAX_ROUNDS:
            return {"run": run_id, "rounds": rounds}
    except (ValueError, TypeError, KeyError):
        pass
    raise BadRequest("requestState: is not one of this server")


async def _pending(run: Run) -> list[PendingRequest]:
    try:
        return await run.pending_requests()
    except Unavailable:
        return []  # the run is not open yet, or its worker is away


async def _outcome(run: Run) -> CallToolResult:
    try:
        return _result(await run.result())
    except RunNotFound:
        raise
    except RunFailed as error:
        return _text(f"the run has failed: {error.message}", is_error=True)


def _result(result: AgentResult) -> CallToolResult:
    shown = _text(f"the run has stopped: {result.stop_reason}", is_error=True)
    if result.status == "completed":
        output = result.output_json
        text = output if isinstance(output, str) else to_json(output)
        structured = output if isinstance(output, dict) else None
        shown = CallToolResult(content=[TextContent(text=text)], structured_content=structured)
    return shown.model_copy(update={"meta": usage_metadata(result.usage)})


async def _running_text(run: Run) -> str:
    lines = [f"The run goes on. Its id is {run.id}. Call {STATUS_TOOL} with it later."]
    try:
        progress = await run.progress()
    except Unavailable:
        return lines[0]
    lines += [f"It waits for a person: {request_summary(each)}" for each in progress.pending]
    return "\n".join(lines if progress.pending else [*lines, f"Now: {progress.doing}"])


async def _running_task(run: Run) -> dict[str, JsonValue]:
    try:
        progress = await run.progress()
    except Unavailable:
        return {"status": "working", "statusMessage": "waits for a worker"}
    if not progress.pending:
        return {"status": "working", "statusMessage": progress.doing}
    requests: dict[str, JsonValue] = {
        key: request.model_dump(by_alias=True, mode="json", exclude_none=True)
        for key, request in elicitations(progress.pending).items()
    }
    summary = "; ".join(map(request_summary, progress.pending))
    return {"status": "input_required", "statusMessage": summary, "inputRequests": requests}


async def _ended_task(run: Run) -> dict[str, JsonValue]:
    try:
        result = await run.result()
    except RunFailed as error:
        shown = _text(f"the run has failed: {error.message}", is_error=True)
    else:
        if result.stop_reason == "cancelled":
            return {"status": "cancelled"}
        shown = _result(result)
    dumped = shown.model_dump(by_alias=True, mode="json", exclude_none=True)
    return {"status": "completed", "result": dumped}


def _text(text: str, *, is_error: bool = False) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=is_error)
