"""Who may use the gateway: principals, their tokens, and how many requests each may send."""

import hashlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from outlast_workers.settings_sections.gateway import GatewaySettings

ANY_AUDIENCE = "*"

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

MAX_TOKEN_BYTES = 4_096
"""Bytes of a bearer token. A longer one is rejected before it is hashed."""

WINDOW_S = 60.0
"""The time in which the requests of a principal are counted."""


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


def token_digest(token: str) -> str:
    """Return the SHA-256 of a token in hexadecimal digits."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def is_local(headers: Mapping[str, str], origins: Collection[str]) -> bool:
    """Return whether a request names this machine, and no foreign web page sends it.

    A browser would otherwise let any page that a developer visits start runs.
    """
    host = urlsplit(f"//{headers.get('host', '')}").hostname
    origin = headers.get("origin")
    if host not in LOOPBACK:
        return False
    return origin is None or origin in origins or urlsplit(origin).hostname in LOOPBACK


@dataclass
class RateLimit:
    """Counts requests in windows of a minute. `per_minute` is the limit of each name."""

    per_minute: int
    _window: int = 0
    _counts: dict[str, int] = field(default_factory=dict)

    def wait_s(self, name: str) -> int | None:
        """Count one request; return None, or the seconds until the next window if there are too many."""
        now = time.monotonic()
        window = int(now // WINDOW_S)
        if window != self._window:
            self._window = window
            self._counts.clear()
        count = self._counts.get(name, 0)
        if count >= self.per_minute:
            return int((window + 1) * WINDOW_S - now) + 1
        self._counts[name] = count + 1
        return None


class Tokens:
    """The principals of the settings, by the digests of their tokens."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._by_digest: Mapping[str, Principal] = {
            token_digest(token.token.get_secret_value()): Principal(
                name, token.tenant, frozenset(token.audiences)
            )
            for name, token in settings.tokens.items()
        }

    def principal(self, authorization: str | None) -> Principal | None:
        """Return the principal of an `Authorization` header, or None if its token is not known.

        Without tokens in the settings, everybody is `LOCAL`: the gateway then listens on loopback only.
        """
        if not self._by_digest:
            return LOCAL
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(token) <= MAX_TOKEN_BYTES:
            return None
        # A dictionary of digests: the time of a lookup says nothing about a token.
        return self._by_digest.get(token_digest(token.strip()))
