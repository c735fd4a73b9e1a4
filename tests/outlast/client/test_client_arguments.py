"""Wrong arguments of a program: each is a `BadRequest` or `NotReady` that names the argument."""

import math
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Any

import pytest
from temporalio.client import Client as TemporalClient

from outlast import BadRequest, Client
from outlast.errors import NotReady


class Unshowable:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise ValueError("no text")


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def _deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(5_000):
        value = [value]
    return value


Call = Callable[[Any], Any]

WRONG: dict[str, tuple[str, Call]] = {
    # name: (start of the message, call)
    "bytes": ("input: is not JSON: ", lambda client: client.start("a", b"x")),
    "a set in a list": ("input: is not JSON: ", lambda client: client.start("a", [{1}])),
    "no number": ("input: is not JSON: nan", lambda client: client.start("a", math.nan)),
    "half a pair": ("input: is not JSON: half", lambda client: client.start("a", "\ud800")),
    "a circle": ("input: nested too deep", lambda client: client.start("a", _circle())),
    "5,000 levels": ("input: nested too deep", lambda client: client.start("a", _deep())),
    "5,000 digits": ("input: is not JSON: ", lambda client: client.start("a", 10**5_000)),
    "no agent": ("agent: 5 is not an agent", lambda client: client.start(5, "x")),
    "an odd agent": ("agent: a value of", lambda client: client.start(Unshowable(), "x")),
    "a name with a space": ("agent: 'a b': is not a name", lambda client: client.start("a b", "x")),
    "an empty id": ("id: '' is empty", lambda client: client.start("a", "x", id="")),
    "an id of bytes": ("id: b'x' is not text", lambda client: client.start("a", "x", id=b"x")),
    "no queue": ("task_queue: 5 is", lambda client: client.start("a", "x", task_queue=5)),
    "half a queue": ("task_queue: ", lambda client: client.start("a", "x", task_queue="\ud800")),
    "a list as a spec": ("spec: ['x'] is", lambda client: client.start(spec=["x"], input="x")),
    "a spec of odd values": (
        "spec: is not JSON: ",
        lambda client: client.start(spec={"instructions": Unshowable()}, input="x"),
    ),
    "odd limits": (
        "limits: is not JSON: ",
        lambda client: client.start("a", "x", limits=MappingProxyType({})),
    ),
    "a number as a run": ("id: 5 is not text", lambda client: client.get(5)),
    "half a pair as a run": ("id: '\\ud800' has", lambda client: client.get("\ud800")),
    "half a pair as a message": ("text: is not JSON", lambda client: client.get("r").say("\ud800")),
    "an object as a person": (
        "by: is not JSON",
        lambda client: client.get("r").pause(by=Unshowable()),
    ),
    "seconds for an answer": ("within: 5 is", lambda client: client.get("r").reply(within=5)),
    "seconds for a stream": ("interval: 5 is", lambda client: client.get("r").stream(5)),
    "seconds for a chat": (
        "within: 5 is",
        lambda client: client.chat("c", "x", agent="a", within=5),
    ),
    "a chat with a number": ("agent: 5 is", lambda client: client.chat("c", "x", agent=5)),
    "half a pair in a chat": (
        "text: is not JSON",
        lambda client: client.chat("c", "\ud800", agent="a"),
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_argument_is_named(temporal: TemporalClient, name: str) -> None:
    start, call = WRONG[name]

    async def made() -> None:
        result = call(Client(temporal))
        if isinstance(result, Awaitable):
            await result

    with pytest.raises(BadRequest) as caught:
        await made()
    message = str(caught.value.message)
    assert message.startswith(start), message
    assert "\n" not in message
    message.encode()


@pytest.mark.parametrize("address", ["http://127.0.0.1:7233", "", 5])
async def test_an_address_that_is_a_url_or_no_text_is_named(address: Any) -> None:
    with pytest.raises(NotReady, match="is not the address of a Temporal server: give HOST:PORT"):
        await Client.connect(target_host=address)
