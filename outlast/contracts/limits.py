"""The limits of a run."""

from decimal import Decimal

from pydantic import ConfigDict, Field

from outlast.contracts.base import WireModel

DEFAULT_MAX_TURNS = 20
"""Turns of a run without `max_turns`: every run must end."""


class RunLimits(WireModel):
    """Limits as a run carries them, in payloads that workers of other versions read.

    A limit that this build does not know is ignored.
    """

    max_turns: int | None = Field(default=None, ge=1, le=10_000)
    max_tokens: int | None = Field(default=None, ge=1)
    max_cost_usd: Decimal | None = Field(default=None, gt=0)
    deadline_s: float | None = Field(default=None, gt=0, le=31_536_000)
    idle_s: float | None = Field(default=None, gt=0, le=31_536_000)


class Limits(RunLimits):
    """Limits as a person types them: an unknown one is rejected.

    A request and its agent may both have limits: the lower of the two applies. `idle_s` is how long a
    conversation waits for the next message; the default is a day.
    """

    model_config = ConfigDict(extra="forbid")
