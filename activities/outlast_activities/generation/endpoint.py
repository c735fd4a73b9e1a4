"""A model server as the activity `generate` uses it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from outlast.contracts.agents import Effort, Way
from outlast.model_server import ModelServer
from outlast_activities.telemetry.spans import UNKNOWN_TARGET, ModelTarget


@dataclass(frozen=True)
class Endpoint:
    """A model server with the settings that the activity needs.

    `max_tokens` limits the first answer of an attempt. `constrained` is False if the server ignores
    JSON Schemas: the prompt then contains the schema. `ways` are the ways in which the server can be
    used, the default first. `effort` is the default. Spans name the server as `target`, and the model as
    `model` if a prompt names none.
    `images` and `files` are whether its model takes them. `for_model` returns the endpoint of another model
    of the server, and raises `ModelError`.
    """

    server: ModelServer
    max_tokens: int
    constrained: bool = True
    ways: tuple[Way, ...] = ("decision",)
    effort: Effort | None = None
    target: ModelTarget = UNKNOWN_TARGET
    model: str | None = None
    images: bool = True
    files: bool = True
    for_model: Callable[[str], Awaitable["Endpoint"]] | None = None
