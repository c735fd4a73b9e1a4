"""The proof of the current tool call, in runs and in workers.

A run sets it before it starts the activity, and the plugin sends it in a header. In the worker, the plugin
reads the header and sets it for the call.
"""

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outlast.contracts.proofs import CallProof

CALL_PROOF: "ContextVar[CallProof | None]" = ContextVar("call_proof", default=None)
