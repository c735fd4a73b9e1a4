"""Ports of the loopback interface. Light imports: the embedded model's process uses it too."""

import contextlib
import functools
import itertools
import random
import socket
from collections.abc import Iterator

from outlast.errors import NotReady

HOST = "127.0.0.1"

PORTS = range(20_000, 30_000)
"""Below the ephemeral ports, which the system gives to outgoing connections."""


@functools.cache
def _ports_in_turn() -> Iterator[int]:
    """Return all ports, in an order of this process, again and again.

    None comes twice before its server has had time to take it.
    """
    return itertools.cycle(random.SystemRandom().sample(PORTS, len(PORTS)))


def free_port() -> int:
    """Return a port of the loopback interface that is free right now, and another one each time."""
    for port in itertools.islice(_ports_in_turn(), len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise NotReady(f"no port from {PORTS.start} to {PORTS.stop} is free")


def require_free_port(port: int, *, host: str = HOST, user: str, hint: str) -> None:
    """Raise `NotReady` if a port is taken, by another `user` most likely; `hint` says what to do."""
    with socket.socket() as probe:
        # As servers do: a port with connections that are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            raise NotReady(
                f"port {port} is taken (by another {user}?): stop it or {hint}"
            ) from None
