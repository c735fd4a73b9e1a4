"""What a run reports to the worker about a local call: whether an earlier process may have begun it."""

from contextvars import ContextVar

REPEATED_HEADER = "outlast-may-be-repeated"
"""The header of a local call of a run that was just replayed, for example because its worker was lost."""

MAY_BE_REPEATED: ContextVar[bool] = ContextVar("may_be_repeated", default=False)
"""Whether the current local call has that header. The plugin sets it in the worker."""
