"""Calls of hooks around the calls of models and tools. A hook that fails stops what it guards."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import JsonValue
from temporalio.exceptions import ApplicationError

from outlast.agents.hooks import Hooks, ToolRequest, overrides
from outlast.agents.tools import MAX_RESULT_BYTES
from outlast.contracts.messages import Decision
from outlast.errors import ModelError, ModelFailure, Retry, ToolError, ToolFailed
from outlast.model_server import Prompt
from outlast.text.error_text import error_text
from outlast.text.json_text import to_json
from outlast.text.json_values import carried
from outlast.text.texts import cut
from outlast.transcripts import decision_json
from outlast_activities.tool_runner import ToolRunner, is_of_worker

HOOK_S = 10.0
"""How long one hook may take for one call."""

MAX_REASON = 300
"""Bytes of the error of a hook in a failure."""

_FOR_THE_MODEL = (ToolError.__name__, Retry.__name__)


class HookCalls:
    """The hooks of one worker, in the order of their definition. Those after a call run in reverse."""

    def __init__(self, hooks: Sequence[Hooks] = (), runner: ToolRunner | None = None) -> None:
        self._hooks = tuple(hooks)
        self._runner = runner

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the hooks."""
        return tuple(hooks.name for hooks in self._hooks)

    @property
    def changes_decisions(self) -> bool:
        """Whether a hook may change what a model answers: nobody may see it before."""
        return any(overrides(hooks, "after_model") for hooks in self._hooks)

    @property
    def guards_tools(self) -> bool:
        """Whether a hook is around tool calls."""
        return any(
            overrides(hooks, name)
            for hooks in self._hooks
            for name in ("before_tool", "after_tool")
        )

    def missing(self, names: Iterable[str]) -> str | None:
        """Return what is wrong if this worker lacks a hook that a run names, or None."""
        missing = [name for name in names if name not in self.names]
        if not missing:
            return None
        return (
            f"this worker lacks the hooks {missing[0]!r}, which the run has: name the module of the hooks"
            " with --agents"
        )

    async def before_model(self, prompt: Prompt) -> Prompt:
        """Return the prompt to send. Raises `ModelError`."""
        for hooks in self._with("before_model"):
            call = partial(hooks.before_model, prompt)
            value = await self._model_call(hooks, "before_model", call)
            if value is not prompt:
                prompt = self._checked_prompt(hooks, value)
        return prompt

    async def after_model(self, prompt: Prompt, decision: Decision) -> Decision:
        """Return the decision to record. Raises `Retry` to ask again, and `ModelError`."""
        for hooks in reversed(self._with("after_model")):
            call = partial(hooks.after_model, prompt, decision)
            value = await self._model_call(hooks, "after_model", call)
            decision = self._checked_decision(hooks, value)
        return decision

    async def before_tool(
        self, request: ToolRequest, *, ends_at: float | None = None
    ) -> dict[str, JsonValue]:
        """Return the arguments of a call. Raises `ToolError`, `Retry` and `ToolFailed`.

        `ends_at` is the time of the event loop when the hooks must have ended, if there is one.
        """
        for hooks in self._with("before_tool"):
            call = partial(hooks.before_tool, request)
            value = await self._tool_call(hooks, "before_tool", call, ends_at)
            if not isinstance(value, dict):
                raise _failure(hooks, "before_tool", _wrong(value, "a dict"))
            request = replace(request, arguments=_checked_json(hooks, "before_tool", value))
        return request.arguments

    async def after_tool(
        self, request: ToolRequest, result: JsonValue, *, ends_at: float | None = None
    ) -> JsonValue:
        """Return the result of a call. The rest is as in `before_tool`."""
        for hooks in reversed(self._with("after_tool")):
            call = partial(hooks.after_tool, request, result)
            value = await self._tool_call(hooks, "after_tool", call, ends_at)
            result = _checked_json(hooks, "after_tool", value)
            size = len(to_json(result).encode())
            if size > MAX_RESULT_BYTES:
                reason = f"it returned {size:,} bytes; at most {MAX_RESULT_BYTES:,} are allowed"
                raise _failure(hooks, "after_tool", reason)
        return result

    def _with(self, method: str) -> list[Hooks]:
        return [hooks for hooks in self._hooks if overrides(hooks, method)]

    @staticmethod
    def _checked_prompt(hooks: Hooks, value: Any) -> Prompt:
        if not isinstance(value, Prompt):
            raise _rejection(hooks, "before_model", _wrong(value, "a Prompt"))
        try:
            _ = value.messages
        except Exception as error:  # noqa: BLE001 code of other people may put anything into it
            reason = f"it returned a Prompt that cannot be sent: {error_text(error)}"
            raise _rejection(hooks, "before_model", reason) from None
        return value

    @staticmethod
    def _checked_decision(hooks: Hooks, value: Any) -> Decision:
        if not isinstance(value, Decision):
            raise _rejection(hooks, "after_model", _wrong(value, "a Decision"))
        try:
            to_json(decision_json(value))
        except Exception as error:  # noqa: BLE001 code of other people may put anything into it
            reason = f"it returned a Decision that is not JSON: {error_text(error)}"
            raise _rejection(hooks, "after_model", reason) from None
        return value

    async def _model_call(self, hooks: Hooks, method: str, call: Callable[[], Any]) -> Any:
        try:
            return await self._call(call, HOOK_S)
        except ApplicationError as error:
            if error.type == Retry.__name__ and method == "after_model":
                raise Retry(error.message) from None
            if is_of_worker(error):
                raise ModelError(error.message, kind=ModelFailure.SERVER_ERROR) from None
            raise _rejection(hooks, method, _words(error)) from None
        except TimeoutError:
            raise _rejection(hooks, method, f"it took longer than {HOOK_S:g} s") from None

    async def _tool_call(
        self, hooks: Hooks, method: str, call: Callable[[], Any], ends_at: float | None
    ) -> Any:
        now = asyncio.get_running_loop().time()
        within_s = HOOK_S if ends_at is None else max(0.0, min(HOOK_S, ends_at - now))
        try:
            return await self._call(call, within_s)
        except ApplicationError as error:
            if error.type in _FOR_THE_MODEL or is_of_worker(error):
                raise
            raise _failure(hooks, method, _words(error)) from None
        except TimeoutError:
            left = "" if within_s == HOOK_S else ", which the timeout of the tool left"
            reason = f"it took longer than {within_s:.3g} s{left}"
            raise _failure(hooks, method, reason) from None

    async def _call(self, call: Callable[[], Any], within_s: float) -> Any:
        assert self._runner is not None  # noqa: S101 a worker with hooks has one
        async with asyncio.timeout(within_s):
            return await self._runner.call("hook", call)


def _words(error: ApplicationError) -> str:
    return f"{error.type}: {error.message}"


def _checked_json(hooks: Hooks, method: str, value: Any) -> Any:
    """Return a value that the next hooks, the tool and the model can read. Raises `ToolFailed`."""
    try:
        checked: JsonValue = carried(value)
        to_json(checked)
    except (ValueError, TypeError, RecursionError) as error:
        raise _failure(hooks, method, f"it returned no JSON: {error_text(error)}") from None
    return checked


def _wrong(value: object, wanted: str) -> str:
    return f"it returned {type(value).__name__}, not {wanted}"


def _rejection(hooks: Hooks, method: str, reason: str) -> ModelError:
    return ModelError(_text(hooks, method, reason), kind=ModelFailure.REFUSAL)


def _failure(hooks: Hooks, method: str, reason: str) -> ToolFailed:
    return ToolFailed(_text(hooks, method, reason))


def _text(hooks: Hooks, method: str, reason: str) -> str:
    return f"the hooks {hooks.name!r} stopped the call ({method}): {cut(reason, MAX_REASON)}"
