"""The limits of a run."""

from decimal import Decimal
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from outlast.contracts.base import InputModel

DEFAULT_MAX_TURNS = 20
"""Turns of a run whose request and agent name no limit: a bound, for a run must end."""


class Limits(InputModel):
    """Bounds of one run. Of a request's and its agent's, the tighter holds.

    `idle_s` is how long a conversation waits for the next message: a day, if nothing is said.
    """

    max_turns: int | None = Field(default=None, ge=1, le=10_000)
    max_tokens: int | None = Field(default=None, ge=1)
    max_cost_usd: Decimal | None = Field(default=None, gt=0)
    deadline_s: float | None = Field(default=None, gt=0, le=31_536_000)
    idle_s: float | None = Field(default=None, gt=0, le=31_536_000)

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not bounded: older workers refuse a limit that they do not know."""
        return {name: value for name, value in serialize(self).items() if value is not None}
