"""Principals: who sends a request to the gateway."""

from dataclasses import dataclass

from outlast.errors import OutlastError

ANY_AUDIENCE = "*"


class Unauthorized(OutlastError):
    """Raised if a request has no valid bearer token. The text says why, and shows nothing of the token."""


@dataclass(frozen=True)
class Principal:
    """Who sends a request: a name for the record, one tenant, and the audiences that it may decide for."""

    name: str
    tenant: str
    audiences: frozenset[str] = frozenset()

    def may_decide(self, audience: str) -> bool:
        """Return whether the principal belongs to an audience."""
        return audience in self.audiences or ANY_AUDIENCE in self.audiences


LOCAL = Principal("local", "default", frozenset({ANY_AUDIENCE}))
"""Anybody on this machine, if the gateway listens on loopback and has no tokens."""
