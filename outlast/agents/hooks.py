"""Hooks: code around the calls of models and tools, such as guardrails and redaction."""

import re
from collections.abc import Awaitable
from dataclasses import dataclass

from pydantic import JsonValue

from outlast.contracts.messages import Decision
from outlast.contracts.names import NAME_PATTERN
from outlast.errors import DefinitionError
from outlast.model_server import Prompt


@dataclass(frozen=True)
class ToolRequest:
    """A tool call as hooks see it. `arguments` are JSON, before they become the types of the tool."""

    tool: str
    arguments: dict[str, JsonValue]
    call_id: str = ""
    workflow_id: str = ""
    tenant: str = "default"


class Hooks:
    """The base of hooks. A subclass overrides the methods that it needs, and an instance is registered.

    A worker registers each instance in the modules of its agents, and calls it around each call of a model
    and of a tool that it makes. Methods can be async. They run in the activity, never in the workflow, so
    what they change or reject is not in the history as it was.

    Each method returns its value, changed or not. `name` is in errors and in runs. A run names the hooks of
    the worker that started it, and fails on a worker that lacks one of them.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
            raise DefinitionError(
                f"hooks {name!r}: a name is a letter, then at most 63 letters, digits, '_' and '-'"
            )
        self.name = name

    def __repr__(self) -> str:
        return f"<outlast.{type(self).__name__} {self.name!r}>"

    def before_model(self, prompt: Prompt) -> Prompt | Awaitable[Prompt]:
        """Return the prompt that is sent. `prompt.with_texts(function)` changes all of its texts.

        An exception ends the run as failed, with the type `ModelRefusal`.
        """
        return prompt

    def after_model(self, prompt: Prompt, decision: Decision) -> Decision | Awaitable[Decision]:
        """Return the decision that the run records. It must match the schema of the prompt, too.

        `Retry("why")` asks the model again. Any other exception ends the run as failed, with the type
        `ModelRefusal`.
        """
        del prompt
        return decision

    def before_tool(
        self, request: ToolRequest
    ) -> dict[str, JsonValue] | Awaitable[dict[str, JsonValue]]:
        """Return the arguments with which the tool is called.

        The model reads the reason of a `ToolError` or `Retry`. Any other exception ends the run as failed,
        with the type `ToolFailed`.
        """
        return request.arguments

    def after_tool(
        self, request: ToolRequest, result: JsonValue
    ) -> JsonValue | Awaitable[JsonValue]:
        """Return the result that the run records. The error of a call is `{"error": "…"}`.

        Exceptions are those of `before_tool`. After a call with an effect the result is replaced by
        `{"happened": true, "error": "…"}`, because the call has happened.
        """
        del request
        return result


def overrides(hooks: Hooks, method: str) -> bool:
    """Return whether hooks have a method of their own."""
    return getattr(type(hooks), method) is not getattr(Hooks, method)
