"""Fakes for tests of agents: a model that answers from a script, and helpers that write its decisions.

    model = ScriptedModel([call("look", place="Mars"), answer({"quiet": True})])

The first model call of the run gets the first step, the next call the next step, and so on.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from pydantic import JsonValue

from outlast.model_server import Completion, OnTokens, Prompt, ServerFacts
from outlast.text.json_text import to_json

Step: TypeAlias = "dict[str, JsonValue] | str | Exception | Callable[[Prompt], Any]"
"""A decision, a raw text, an error to raise, or a function of the prompt that returns one of these."""

CHARACTERS_PER_TOKEN = 4
"""A scripted model counts tokens by characters."""


class ScriptExhausted(AssertionError):
    """Raised when a scripted fake gets more calls than its script has steps."""


class ScriptedModel:
    """A fake `ModelServer` that answers with the steps of a script, in order.

    `prompts` holds the prompts that it received. With `repeat_last` the last step answers all later
    prompts; otherwise a further prompt raises `ScriptExhausted`. A token is four characters. An answer
    with more than the prompt's `max_tokens` is cut off, with `finish_reason` `length`.
    """

    def __init__(self, steps: Iterable[Step], *, repeat_last: bool = False) -> None:
        self._steps = list(steps)
        self._repeat_last = repeat_last
        self.prompts: list[Prompt] = []

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        """Return the next step of the script as a completion, or raise it."""
        position = len(self.prompts)
        if self._repeat_last:
            position = min(position, len(self._steps) - 1)
        if position >= len(self._steps):
            raise ScriptExhausted(
                f"the script has {len(self._steps)} steps; prompt {position + 1} came"
            )
        self.prompts.append(prompt)
        step: Any = self._steps[position]
        if callable(step):
            step = step(prompt)
            step = await step if hasattr(step, "__await__") else step
        if isinstance(step, Exception):
            raise step
        text = step if isinstance(step, str) else to_json(step)
        is_cut = len(text) > CHARACTERS_PER_TOKEN * prompt.max_tokens
        text = text[: CHARACTERS_PER_TOKEN * prompt.max_tokens]
        completion_tokens = max(1, len(text) // CHARACTERS_PER_TOKEN)
        if on_tokens is not None:
            on_tokens(completion_tokens)
        return Completion(
            text=text,
            finish_reason="length" if is_cut else "stop",
            prompt_tokens=_tokens_of(prompt),
            completion_tokens=completion_tokens,
            model="scripted",
        )

    async def count_prompt_tokens(self, prompt: Prompt) -> int:
        """Return the same count that `complete` reports."""
        return _tokens_of(prompt)

    async def probe(self) -> ServerFacts:
        """Return the facts of a server that enforces schemas. It uses no step of the script."""
        return ServerFacts("scripted", None, "scripted", None, constrained=True)

    async def is_reachable(self) -> bool:
        """Return True."""
        return True

    async def aclose(self) -> None:
        """Do nothing: there are no connections."""


def _tokens_of(prompt: Prompt) -> int:
    return len(json.dumps(prompt.messages)) // CHARACTERS_PER_TOKEN


def call(tool: str, **arguments: JsonValue) -> dict[str, JsonValue]:
    """Return the decision to call one tool."""
    return {"tool_calls": [{"tool": tool, "arguments": arguments}]}


def calls(*decisions: dict[str, Any]) -> dict[str, JsonValue]:
    """Return one decision that makes the tool calls of several decisions in parallel."""
    return {
        "tool_calls": [tool_call for decision in decisions for tool_call in decision["tool_calls"]]
    }


def answer(value: JsonValue) -> dict[str, JsonValue]:
    """Return the decision to end with an answer."""
    return {"answer": value}
