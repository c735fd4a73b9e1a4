"""The hooks around the calls of one tool: its arguments before, its result or its error after."""

from collections.abc import Awaitable
from typing import Any

from pydantic import JsonValue
from temporalio.exceptions import ApplicationError

from outlast.agents.hooks import ToolRequest
from outlast.agents.tool_context import ToolContext
from outlast.agents.tools import Tool
from outlast.contracts.effects import EFFECTFUL
from outlast.errors import InputRequired, ToolError, ToolFailed
from outlast.text.error_text import error_text
from outlast.text.json_text import from_json, to_json
from outlast_activities.hook_calls import HookCalls


class ToolGuard:
    """Calls the hooks around the calls of a tool. Without hooks it does nothing."""

    def __init__(self, tool: Tool[Any, ..., Any], hooks: HookCalls) -> None:
        self._tool = tool
        self._hooks = hooks

    def check(self, names: str) -> None:
        """Raise `ToolFailed` if this worker lacks one of the hooks of a run, whose names have commas."""
        missing = self._hooks.missing(filter(None, names.split(",")))
        if missing is not None:
            raise ToolFailed(f"{self._tool.name}: {missing}")

    async def arguments(
        self, arguments: bytes, context: ToolContext, *, ends_at: float | None = None
    ) -> bytes:
        """Return the arguments after the hooks, which must end at `ends_at` of the event loop."""
        if not self._hooks.guards_tools:
            return arguments
        request = self._request(arguments, context)
        return to_json(await self._hooks.before_tool(request, ends_at=ends_at)).encode()

    async def result(
        self,
        arguments: bytes,
        context: ToolContext,
        call: Awaitable[bytes],
        *,
        ends_at: float | None = None,
    ) -> bytes:
        """Return the result of a call after the hooks, which also see the text of an error."""
        if not self._hooks.guards_tools:
            return await call
        request = self._request(arguments, context)
        try:
            encoded = await call
        except ApplicationError as error:
            if error.type == InputRequired.__name__:
                raise  # it is no result: people answer, and the call goes on
            raise await self._error(request, error, ends_at) from None
        try:
            result = await self._hooks.after_tool(request, from_json(encoded), ends_at=ends_at)
            return to_json(result).encode()
        except ApplicationError as error:
            if self._tool.spec.effect not in EFFECTFUL:
                raise
            # The call has happened, so it must not look like one that failed.
            return to_json({"happened": True, "error": error_text(error)}).encode()

    def _request(self, arguments: bytes, context: ToolContext) -> ToolRequest:
        try:
            values = from_json(arguments)
        except ValueError as error:
            raise ToolError(f"the arguments are not JSON: {error_text(error)}") from None
        if not isinstance(values, dict):
            raise ToolError("the arguments are not a JSON object")
        return ToolRequest(
            self._tool.name,
            values,
            call_id=context.call_id,
            workflow_id=context.workflow_id,
            tenant=context.tenant,
        )

    async def _error(
        self, request: ToolRequest, error: ApplicationError, ends_at: float | None
    ) -> ApplicationError:
        """Return an error with the text that the hooks leave of it."""
        told: JsonValue = {"error": error.message}
        shown = await self._hooks.after_tool(request, told, ends_at=ends_at)
        text = shown.get("error") if isinstance(shown, dict) else None
        if text == error.message:
            return error
        return ApplicationError(
            text if isinstance(text, str) else to_json(shown),
            type=error.type,
            non_retryable=error.non_retryable,
            next_retry_delay=error.next_retry_delay,
            category=error.category,
        )
