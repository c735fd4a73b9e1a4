"""The limits of a run."""

from decimal import Decimal
from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field

from outlast.contracts.base import TypedNumbers, WireModel
from outlast.contracts.bounds import MAX_INSTANT_S

DEFAULT_MAX_TURNS = 20
"""Turns of a run without `max_turns`: every run must end."""

MAX_RUN_TOKENS = 10**12
"""Tokens that a limit may allow: as many as a worker may report."""

MAX_COST_USD = 10**9
"""Dollars that a limit may allow. Sums and prices stay exact below it."""

MAX_COST_DIGITS = 60
"""Digits of an amount. Shares of a budget have up to 40 behind the point."""


class RunLimits(WireModel):
    """Limits as a run carries them, in payloads that workers of other versions read.

    A limit that this build does not know is ignored.
    """

    max_turns: int | None = Field(default=None, ge=1, le=10_000)
    max_tokens: int | None = Field(default=None, ge=1, le=MAX_RUN_TOKENS)
    max_cost_usd: Decimal | None = Field(
        default=None, gt=0, le=MAX_COST_USD, max_digits=MAX_COST_DIGITS, allow_inf_nan=False
    )
    deadline_s: float | None = Field(default=None, gt=0, le=MAX_INSTANT_S)
    idle_s: float | None = Field(default=None, gt=0, le=MAX_INSTANT_S)


class Limits(RunLimits, TypedNumbers):
    """Limits as a person types them: an unknown one is rejected.

    A request and its agent may both have limits: the lower of the two applies. `idle_s` is how long a
    conversation waits for the next message; the default is a day.
    """

    model_config = ConfigDict(extra="forbid")

    if TYPE_CHECKING:  # pydantic also takes a float for dollars

        def __init__(
            self,
            *,
            max_turns: int | None = None,
            max_tokens: int | None = None,
            max_cost_usd: Decimal | float | None = None,
            deadline_s: float | None = None,
            idle_s: float | None = None,
        ) -> None: ...
