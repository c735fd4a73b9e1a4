"""Fakes for tests: each plays a script, remembers what it was asked, and fails when the script ends."""

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from pydantic import JsonValue

from outlast.json_text import to_json
from outlast.model_server import Completion, OnTokens, Prompt

Step: TypeAlias = "dict[str, JsonValue] | str | Exception | Callable[[Prompt], Any]"
"""A decision, raw text, an error to raise, or a function of the prompt that returns one of these."""


CHARACTERS_A_TOKEN = 4


class ScriptExhausted(AssertionError):
    """Raised when a scripted fake is asked once more than its script foresees."""


class ScriptedModel:
    """A fake model that answers with the steps of a script; `prompts` is what it was asked.

    With `repeat_last` the last step answers for ever. Tokens are counted as a quarter of the characters,
    and what is longer than the prompt allows is cut off.
    """

    def __init__(self, steps: Iterable[Step], *, repeat_last: bool = False) -> None:
        self._steps = list(steps)
        self._repeat_last = repeat_last
        self.prompts: list[Prompt] = []

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        """Answer with the next step of the script."""
        position = len(self.prompts)
        if self._repeat_last:
            position = min(position, len(self._steps) - 1)
        if position >= len(self._steps):
            raise ScriptExhausted(f"the script has {len(self._steps)} steps; asked once more")
        self.prompts.append(prompt)
        step: Any = self._steps[position]
        if callable(step):
            step = step(prompt)
            step = await step if hasattr(step, "__await__") else step
        if isinstance(step, Exception):
            raise step
        text = step if isinstance(step, str) else to_json(step)
        cut = len(text) > CHARACTERS_A_TOKEN * prompt.max_tokens
        text = text[: CHARACTERS_A_TOKEN * prompt.max_tokens]
        completion_tokens = max(1, len(text) // CHARACTERS_A_TOKEN)
        if on_tokens is not None:
            on_tokens(completion_tokens)
        return Completion(
            text=text,
            finish_reason="length" if cut else "stop",
            prompt_tokens=_tokens_of(prompt),
            completion_tokens=completion_tokens,
            model="scripted",
        )

    async def most_prompt_tokens(self, prompt: Prompt) -> int:
        """Return what `complete` will count."""
        return _tokens_of(prompt)


def _tokens_of(prompt: Prompt) -> int:
    return len(json.dumps(prompt.messages)) // CHARACTERS_A_TOKEN


def call(tool: str, **arguments: JsonValue) -> dict[str, JsonValue]:
    """Return the decision to call one tool."""
    return {"tool_calls": [{"tool": tool, "arguments": arguments}]}


def calls(*decisions: dict[str, Any]) -> dict[str, JsonValue]:
    """Return the decision to make the calls of several decisions side by side."""
    return {"tool_calls": [one for decision in decisions for one in decision["tool_calls"]]}


def answer(value: JsonValue) -> dict[str, JsonValue]:
    """Return the decision to end with an answer."""
    return {"answer": value}
