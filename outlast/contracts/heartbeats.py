"""Heartbeats: the progress that one attempt of an activity leaves for the next one."""

from pydantic import JsonValue

from outlast.contracts.base import WireModel
from outlast.contracts.generation import TokenCount, Tokens


class AttemptProgress(WireModel):
    """The heartbeat of an attempt. Each kind of activity adds its own fields."""

    handed_back: int = 0
    """How many earlier attempts ended because their worker shut down."""


class GenerationProgress(AttemptProgress):
    """The heartbeat of a model call.

    `completions` is the number of prompts sent so far, `tokens` the size of the unfinished answer.
    `spent` is the usage of this attempt and earlier ones, without the unfinished answer.
    """

    completions: int = 1
    tokens: TokenCount = 0
    spent: Tokens = Tokens()

    @property
    def used(self) -> Tokens:
        """The known usage, with the unfinished answer."""
        return self.spent.plus(Tokens(completion_tokens=self.tokens))


class ToolProgress(AttemptProgress):
    """The heartbeat of a tool call: the checkpoint that the tool saved last."""

    checkpoint: JsonValue = None
