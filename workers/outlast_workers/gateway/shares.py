"""Shares: what one tenant may use of a gateway at the same time, so that the others can use it, too."""

from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Send

from outlast_workers.settings_sections.gateway import GatewaySettings

TENANT_SHARE = 0.5
"""The part of the connections, the followed runs and the bodies that one of several tenants may use."""

MAX_OPEN_BODY_BYTES = 84_000_000
"""Bytes of the bodies of all requests without an answer yet: three of the largest. Read, they take more."""


def tenant_share(settings: GatewaySettings) -> float:
    """Return the part of the gateway that one tenant may use: all of it, if there is no other tenant."""
    tenants = {token.tenant for token in settings.tokens.values()}
    if settings.oidc is not None:
        if settings.oidc.tenant is None:
            return TENANT_SHARE
        tenants.add(settings.oidc.tenant)
    return TENANT_SHARE if len(tenants) > 1 else 1.0


@dataclass
class Shares:
    """Counts the open requests of each tenant, and the bytes of their bodies until the answers begin."""

    max_requests: int
    max_tenant_bytes: int
    _requests: Counter[str] = field(default_factory=Counter)
    _bytes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, settings: GatewaySettings) -> "Shares":
        """Return the shares of a gateway."""
        share = tenant_share(settings)
        most = max(1, int(share * settings.max_connections))
        return cls(most, int(share * MAX_OPEN_BODY_BYTES))

    def open(self, tenant: str) -> "OpenRequest | None":
        """Return a new request of a tenant, or None if it has too many."""
        if self._requests[tenant] >= self.max_requests:
            return None
        self._requests[tenant] += 1
        return OpenRequest(self, tenant)

    def add(self, tenant: str, size: int) -> None:
        """Count bytes of a body. Raises `HTTPException` if there are too many."""
        is_full = self._bytes[tenant] + size > self.max_tenant_bytes
        if is_full or self._bytes.total() + size > MAX_OPEN_BODY_BYTES:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "too many large requests at the same time: repeat the request later",
                {"retry-after": "1"},
            )
        self._bytes[tenant] += size

    def release(self, tenant: str, *, size: int = 0, requests: int = 0) -> None:
        """Count less of a tenant, and forget one without anything."""
        self._bytes[tenant] -= size
        self._requests[tenant] -= requests
        for counts in (self._bytes, self._requests):
            if not counts[tenant]:
                del counts[tenant]


@dataclass
class OpenRequest:
    """A request that is being answered, and the bytes of its body until the answer begins."""

    shares: Shares
    tenant: str
    size: int = 0

    def receive(self, receive: Receive) -> Receive:
        """Return a function that counts what it receives."""

        async def counted() -> Message:
            message = await receive()
            size = len(message.get("body", b""))
            if size:
                self.shares.add(self.tenant, size)
                self.size += size
            return message

        return counted

    def send(self, send: Send) -> Send:
        """Return a function that no longer counts the body when the answer begins."""

        async def counted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self._release_body()
            await send(message)

        return counted

    def close(self) -> None:
        """Count the request no longer."""
        self._release_body()
        self.shares.release(self.tenant, requests=1)

    def _release_body(self) -> None:
        self.shares.release(self.tenant, size=self.size)
        self.size = 0
