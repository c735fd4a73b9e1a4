"""The budget of an expression: its evaluation ends after a number of steps and bytes."""

MAX_STEPS = 50_000
"""Steps of one evaluation, which take about 0.05 s. The Temporal SDK ends a workflow task after 2 s, and a
busy machine is many times slower."""

MAX_BYTES = 2_000_000
"""Bytes of text and entries that one evaluation writes, with everything that it drops again."""


class ExpressionError(ValueError):
    """Raised when an expression fails on a value, for example when it adds a text to a number."""


class OverBudget(ExpressionError):
    """Raised when an evaluation exceeds its budget. An expression cannot catch it."""


class Budget:
    """The steps and bytes that are left for one evaluation."""

    def __init__(self, steps: int = MAX_STEPS, size: int = MAX_BYTES) -> None:
        self._steps, self._all_steps = steps, steps
        self._bytes, self._all_bytes = size, size

    @property
    def used(self) -> int:
        """Steps that were used."""
        return self._all_steps - self._steps

    @property
    def has_written(self) -> bool:
        """Whether the evaluation wrote a value, which then is larger than its parts."""
        return self._bytes < self._all_bytes

    def spend(self, steps: int = 1) -> None:
        """Count steps. Raises `OverBudget` if none is left."""
        self._steps -= steps
        if self._steps < 0:
            raise OverBudget(f"takes more than {self._all_steps:,} steps")

    def write(self, size: int) -> None:
        """Count bytes, before they are written. Raises `OverBudget` if too few are left."""
        self._bytes -= max(1, size)
        if self._bytes < 0:
            raise OverBudget(f"writes more than {self._all_bytes:,} bytes")
        self.spend(1 + size // 100)
