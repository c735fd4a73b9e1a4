"""Where HTTP calls of pipelines may go: the origins and the addresses that the operator allows.

The URL comes from a document or its data, so from people who are not the operator. A URL has one spelling
only, and is compared with the list as text. The name is resolved once, and the connection goes to an
address that was checked: a name server that answers twice (DNS rebinding) changes nothing.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from outlast_activities.openapi.requests import MAX_URL_BYTES

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAME = r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?)*"
_AUTHORITY = rf"({_NAME}|\[[0-9a-f:.]+\])(?::([0-9]{{1,5}}))?"
_URL = re.compile(
    rf"(https?)://{_AUTHORITY}((?:/[!-;=?-\[\]_a-z|~]*)?(?:\?[!-;=?-\[\]_a-z|~]*)?)", re.I | re.A
)
_ENTRY = re.compile(rf"(?:(https?)://)?{_AUTHORITY}/?", re.A)
_PORTS = {"http": 80, "https": 443}

_NAT64 = IPv6Network("64:ff9b::/96")
"""Addresses of IPv6 that a gateway translates to IPv4 (RFC 6052)."""


class NotAllowed(Exception):
    """Raised for a call that the settings of the worker do not allow. The message names the setting."""


@dataclass(frozen=True)
class Origin:
    """A scheme, a host in lower case, and a port."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return the origin as an entry of the setting: without the default scheme and port."""
        scheme = "" if self.scheme == "https" else f"{self.scheme}://"
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{scheme}{self.host}{port}"


def origin_of_url(url: str) -> Origin:
    """Return the origin of a URL. Raises `ValueError` for a URL that can be read in more than one way."""
    match = _URL.fullmatch(url) if len(url) <= MAX_URL_BYTES else None
    if match is None or re.search(r"[\\^`{}\"<>#]", url):
        raise ValueError(
            "is not a URL such as https://api.example.com/v1, in ASCII, without a user and a fragment"
        )
    return _origin(match.group(1), match.group(2), match.group(3))


def origin_of_entry(entry: str) -> Origin:
    """Return the origin of an entry of the setting: `api.example.com`, or `http://localhost:8080`.

    Raises `ValueError`.
    """
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise ValueError(
            "must be a host such as 'api.example.com', or an origin such as 'http://localhost:8080', in"
            " lower case, without a path"
        )
    return _origin(match.group(1) or "https", match.group(2), match.group(3))


def _origin(scheme: str, host: str, port: str | None) -> Origin:
    scheme = scheme.lower()
    number = int(port) if port else _PORTS[scheme]
    if not 1 <= number <= 65_535:
        raise ValueError("must have a port from 1 to 65535")
    return Origin(scheme, host.lower(), number)


class Allowlist:
    """The origins and private networks to which HTTP calls of a worker may go."""

    def __init__(self, origins: Iterable[Origin], networks: Collection[Network] = ()) -> None:
        self._origins = frozenset(origins)
        self._networks = tuple(networks)
        self._listed = {
            str(address)
            for origin in self._origins
            if (address := _literal(origin.host)) is not None
        }

    def origin(self, url: str) -> Origin:
        """Return the origin of a URL. Raises `ValueError` for no URL, and `NotAllowed`."""
        origin = origin_of_url(url)
        if origin not in self._origins:
            raise NotAllowed(
                f"{str(origin)!r} is not allowed: add it to http.hosts in the settings of the workers"
            )
        return origin

    def check_address(self, host: str, address: Address) -> None:
        """Raise `NotAllowed` for an address to which no call may go."""
        real = _real(address)
        if _is_public(real) or any(real in network for network in self._networks):
            return
        if str(address) in self._listed and _literal(host) is not None:
            return
        raise NotAllowed(
            f"{host!r} has the private address {address}: if calls may go there, add its network to"
            " http.private_networks in the settings of the workers"
        )


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def _real(address: Address) -> Address:
    """Return the address to which packets go in the end: some of IPv6 hold one of IPv4."""
    if isinstance(address, IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


def _is_public(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved
