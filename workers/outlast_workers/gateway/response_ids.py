"""Ids of responses: a workflow id, and the entry of the transcript at which a response begins."""

import base64
import binascii

from outlast.errors import RunNotFound

_PREFIX = "resp_"
_MAX_ID = 2_000


def response_id(run_id: str, since: int) -> str:
    """Return the id of the response that begins at the entry `since` of a run."""
    encoded = base64.urlsafe_b64encode(f"{since}:{run_id}".encode()).decode().rstrip("=")
    return f"{_PREFIX}{encoded}"


def is_response_id(text: str) -> bool:
    """Return whether a text has the form of the id of a response."""
    return text.startswith(_PREFIX)


def read_response_id(identifier: str) -> tuple[str, int]:
    """Return the workflow id and the first entry of a response. Raises `RunNotFound` for any other text."""
    encoded = identifier.removeprefix(_PREFIX)
    try:
        if encoded == identifier or len(identifier) > _MAX_ID or not encoded.isascii():
            raise ValueError
        padded = encoded + "=" * (-len(encoded) % 4)
        since, _, run_id = (
            base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition(":")
        )
        if not since.isdecimal() or len(since) > 9:
            raise ValueError
        return run_id, int(since)
    except (ValueError, binascii.Error):
        raise RunNotFound(f"there is no response {identifier[:80]!r}") from None
