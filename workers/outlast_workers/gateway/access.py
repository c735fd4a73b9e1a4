"""Who may use the gateway: principals, their tokens, and how many requests each may send."""

import hashlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outlast.text.urls import host_of
from outlast_workers.gateway.principals import LOCAL, Principal, Unauthorized
from outlast_workers.settings_sections.gateway import GatewaySettings, OidcSettings

if TYPE_CHECKING:
    from outlast_workers.gateway.oidc import OidcTokens

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

MAX_TOKEN_BYTES = 8_192
"""Bytes of a bearer token. A longer one is rejected before it is read."""

WINDOW_S = 60.0
"""The time in which the requests of a principal are counted."""


def token_digest(token: str) -> str:
    """Return the SHA-256 of a token in hexadecimal digits."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def is_local(headers: Mapping[str, str], origins: Collection[str]) -> bool:
    """Return whether a request names this machine, and no foreign web page sends it.

    A browser would otherwise let any page that a developer visits start runs.
    """
    origin = headers.get("origin")
    if host_of(f"//{headers.get('host', '')}") not in LOOPBACK:
        return False
    return origin is None or origin in origins or host_of(origin) in LOOPBACK


@dataclass
class RateLimit:
    """Counts requests in windows of a minute. `per_minute` is the limit of each principal."""

    per_minute: int
    _window: int = 0
    _counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def wait_s(self, tenant: str, name: str) -> int | None:
        """Count one request; return None, or the seconds until the next window if there are too many."""
        now = time.monotonic()
        window = int(now // WINDOW_S)
        if window != self._window:
            self._window = window
            self._counts.clear()
        count = self._counts.get((tenant, name), 0)
        if count >= self.per_minute:
            return int((window + 1) * WINDOW_S - now) + 1
        self._counts[tenant, name] = count + 1
        return None


class Tokens:
    """Finds the principal of a request: by the tokens of the settings, or by a token of the issuer."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._by_digest: Mapping[str, Principal] = {
            token_digest(token.token.get_secret_value()): Principal(
                name, token.tenant, frozenset(token.audiences)
            )
            for name, token in settings.tokens.items()
        }
        self._issued = None if settings.oidc is None else _issued(settings.oidc)

    async def principal(self, authorization: str | None) -> Principal:
        """Return the principal of an `Authorization` header. Raises `Unauthorized`, and `Unavailable`.

        Without principals in the settings, everybody is `LOCAL`: the gateway then listens on loopback only.
        """
        if not self._by_digest and self._issued is None:
            return LOCAL
        scheme, _, rest = (authorization or "").partition(" ")
        token = rest.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("a valid bearer token is required: Authorization: Bearer TOKEN")
        if len(token) > MAX_TOKEN_BYTES:
            raise Unauthorized(f"the bearer token has more than {MAX_TOKEN_BYTES:,} bytes")
        # A dictionary of digests: the time of a lookup says nothing about a token.
        known = self._by_digest.get(token_digest(token))
        if known is not None:
            return known
        if self._issued is None:
            raise Unauthorized("a valid bearer token is required: Authorization: Bearer TOKEN")
        try:
            return await self._issued.principal(token)
        except Unauthorized as error:
            raise Unauthorized(f"the bearer token is rejected: {error}") from None


def _issued(settings: OidcSettings) -> "OidcTokens":
    # Imported here, because a gateway without an issuer needs no cryptography.
    from outlast_workers.gateway.oidc import OidcTokens  # noqa: PLC0415

    return OidcTokens(settings)
