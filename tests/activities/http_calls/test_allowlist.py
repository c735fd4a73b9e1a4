"""Where HTTP calls of pipelines may go: spellings of URLs, addresses, and names that resolve twice."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import pytest_asyncio
from outlast_activities.http_calls.allowlist import Allowlist, NotAllowed, origin_of_entry
from outlast_activities.http_calls.client import open_pipeline_client
from outlast_activities.http_calls.tools import http_tools

from outlast import ToolContext
from outlast.errors import HttpCallFailed
from tests.workflows.pipelines.petstore import PetStore

ALLOWED = Allowlist(
    [origin_of_entry(entry) for entry in ("api.example.com", "http://10.1.2.3:8080")]
)

TOOL = http_tools()[0]


@pytest.mark.parametrize(
    "url",
    [
        *("https://api.example.com", "https://api.example.com/", "HTTPS://API.Example.Com/v1?a=b"),
        *("https://api.example.com:443/v1", "http://10.1.2.3:8080/x", "https://api.example.com?q"),
    ],
)
def test_listed_origins_are_allowed(url: str) -> None:
    ALLOWED.origin(url)


@pytest.mark.parametrize(
    "url",
    [
        *("http://api.example.com/", "https://api.example.com:8443/", "https://example.com/"),
        *("https://api.example.com.evil.com/", "https://evil.com/api.example.com"),
        *("https://xapi.example.com/", "https://api-example.com/"),
        *("http://10.1.2.3/", "https://10.1.2.3:8080/", "http://10.1.2.30:8080/"),
        *("http://0xa.1.2.3:8080/", "http://167838211:8080/", "http://012.1.2.3:8080/"),
        *("http://10.1.515:8080/", "http://[::ffff:10.1.2.3]:8080/", "http://[::1]/"),
        *("http://127.0.0.1/", "http://2130706433/", "http://127.1/", "http://0/"),
        *("http://169.254.169.254/latest/meta-data", "http://metadata.google.internal/"),
    ],
)
def test_other_origins_are_not_allowed(url: str) -> None:
    with pytest.raises(NotAllowed, match=r"add it to http\.hosts in the settings"):
        ALLOWED.origin(url)


@pytest.mark.parametrize(
    "url",
    [
        *("https://user@api.example.com/", "https://api.example.com@evil.com/"),
        *("https://api.example.com:443@evil.com/", "https://evil.com\\@api.example.com/"),
        *("https://api.example.com\\.evil.com/", "https://api.example.com#@evil.com/"),
        *("https://api.example.com%2eevil.com/", "https://api.example.com\t.evil.com/"),
        *("https://api.example.com /", " https://api.example.com/", "https://api.example.com/\n"),
        *("https://api.example.com/a b", "https://api.example.com/\u00e9", "//api.example.com/"),
        *(
            "https://\u0430pi.example.com/",
            "https://api\u3002example.com/",
            "https://\uff41pi.example.com",
        ),
        *(
            "https://api.example.com:/",
            "https://api.example.com:0/",
            "https://api.example.com:99999/",
        ),
        *("https:api.example.com/", "https:///api.example.com/", "https://"),
        *(
            "file:///etc/passwd",
            "gopher://api.example.com/",
            "ftp://api.example.com",
            "javascript:1",
        ),
        *(
            "",
            "api.example.com",
            "https://[api.example.com]/",
            "https://{host}/",
            "https://api..com/",
            "https://api.example.com./",
        ),
        "https://api.example.com/" + "x" * 20_000,
    ],
)
def test_urls_with_two_meanings_are_invalid(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not a URL|must have a port"):
        ALLOWED.origin(url)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "0.0.0.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "192.0.2.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "198.18.0.1"),
        *("::", "::1", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        *(
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "2001:db8::1",
        ),
        "64:ff9b:1::1",
    ],
)
def test_private_addresses_are_not_allowed(address: str) -> None:
    with pytest.raises(NotAllowed, match=r"add its network to http\.private_networks"):
        ALLOWED.check_address("api.example.com", ip_address(address))


def test_public_and_listed_addresses_are_allowed() -> None:
    for address in ("93.184.215.14", "2606:2800:21f::1", "64:ff9b::5db8:d70e", "2002:5db8:d70e::"):
        ALLOWED.check_address("api.example.com", ip_address(address))
    ALLOWED.check_address("10.1.2.3", ip_address("10.1.2.3"))
    with pytest.raises(NotAllowed):
        ALLOWED.check_address("api.example.com", ip_address("10.1.2.3"))
    inside = Allowlist([], [ip_network("10.0.0.0/8")])
    inside.check_address("inside.example.com", ip_address("::ffff:10.9.9.9"))


@pytest_asyncio.fixture(scope="module")
async def store() -> AsyncIterator[PetStore]:
    async with PetStore().open() as opened:
        yield opened


class Resolver:
    """Stands for a name server: a fake, which returns the addresses of its list one after the other."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    async def __call__(self, host: str, port: int, **_: Any) -> list[Any]:
        address = self.addresses.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]


async def called(allowlist: Allowlist, url: str, **more: Any) -> Any:
    arguments = json.dumps({"url": url, **more}).encode()
    async with open_pipeline_client(allowlist, {}) as client:
        return json.loads(await TOOL.invoke_async(arguments, ToolContext(deps=client)))


async def test_a_name_is_resolved_once_and_its_address_is_checked(
    store: PetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://pets.example.com:{store.port}"
    allowlist = Allowlist([origin_of_entry(url)])
    resolver = Resolver("127.0.0.1")
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver)
    with pytest.raises(HttpCallFailed, match=r"private address 127\.0\.0\.1") as caught:
        await called(allowlist, f"{url}/v2/pet/1")
    assert caught.value.details[0]["status"] == 403
    resolver.addresses = ["127.0.0.1", "10.0.0.1"]
    inside = Allowlist([origin_of_entry(url)], [ip_network("127.0.0.0/8")])
    got = await called(inside, f"{url}/echo")
    assert got["headers"]["host"] == f"pets.example.com:{store.port}"
    assert resolver.addresses == ["10.0.0.1"]


async def test_no_redirect_leaves_the_server(store: PetStore) -> None:
    allowlist = Allowlist(
        [origin_of_entry(store.url), origin_of_entry(f"http://localhost:{store.port}")],
        [ip_network("127.0.0.0/8")],
    )
    got = await called(allowlist, f"{store.url}/away", redirect=True, output="response")
    assert got["statusCode"] == 302
    got = await called(allowlist, f"{store.url}/moved", redirect=True)
    assert got["id"] == 7


async def test_proxies_of_the_environment_are_not_used(
    store: PetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    got = await called(Allowlist([origin_of_entry(store.url)]), f"{store.url}/v2/pet/1")
    assert got["id"] == 1
