"""Connections that go to checked addresses only."""

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import cast

import httpcore2
import httpx2

from outlast_activities.http_calls.allowlist import Address, Allowlist, NotAllowed
from outlast_activities.openapi.exchanges import CONNECT_WITHIN_S, LIMITS

MAX_ADDRESSES = 4
"""Addresses of a name that a call tries, one after the other."""


class CheckedTransport(httpx2.AsyncHTTPTransport):
    """Resolves each name once, and connects to an allowed address. It uses no proxy of the environment."""

    def __init__(self, allowlist: Allowlist) -> None:
        super().__init__(trust_env=False)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(),
            max_connections=LIMITS.max_connections,
            keepalive_expiry=LIMITS.keepalive_expiry,
            network_backend=_CheckedBackend(allowlist),
        )


class _CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to addresses that an allowlist accepts. TLS still checks the certificate of the name."""

    def __init__(self, allowlist: Allowlist) -> None:
        self._allowlist = allowlist
        self._network = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 the signature of the library
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of a host that accepts. Raises `NotAllowed` if none is allowed."""
        addresses = self._allowed(host, await _resolved(host, port))
        failure: Exception = httpcore2.ConnectError("the host has no address")
        for address in addresses[:MAX_ADDRESSES]:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait between two attempts."""
        await self._network.sleep(seconds)

    def _allowed(self, host: str, addresses: list[Address]) -> list[Address]:
        allowed: list[Address] = []
        rejection: NotAllowed | None = None
        for address in addresses:
            try:
                self._allowlist.check_address(host, address)
                allowed.append(address)
            except NotAllowed as error:
                rejection = error
        if not allowed and rejection is not None:
            raise rejection
        return allowed


async def _resolved(host: str, port: int) -> list[Address]:
    """Return the addresses of a host, resolved once."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_WITHIN_S):
            found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise httpcore2.ConnectTimeout(f"{host!r} was not resolved in time") from None
    except (OSError, UnicodeError) as error:
        raise httpcore2.ConnectError(f"{host!r} cannot be resolved: {error}") from None
    return [ip_address(str(place[0]).partition("%")[0]) for *_, place in found]
