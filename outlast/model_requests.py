"""Whether this process may connect to real model servers: tests forbid it."""

import os

from outlast.errors import NotReady

VARIABLE = "OUTLAST_ALLOW_MODEL_REQUESTS"
"""The variable that forbids model requests, in this process and those that it starts, if it is `false`."""


def check_model_requests(url: str) -> None:
    """Raise `NotReady` if tests forbid requests to model servers."""
    if os.environ.get(VARIABLE, "true").lower() in ("false", "0"):
        raise NotReady(
            f"requests to the model server {url!r} are not allowed here ({VARIABLE}=false): use"
            " outlast.testing.ScriptedModel, or call allow_model_requests(True)"
        )
