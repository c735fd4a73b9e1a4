"""The connection settings of the `temporal` CLI, and the reasons why a connection fails."""

import atexit
import functools
import re
import time

from temporalio.envconfig import ClientConfig, ClientConnectConfig

from outlast.errors import NotReady
from outlast.text.texts import cut

DEFAULT_ADDRESS = "localhost:7233"

MAX_REASON_BYTES = 200
"""A reason is part of one line in a terminal or a log."""


EXIT_PAUSE_S = 0.2
"""Time for the SDK's threads at the end of a process. Without it, Python aborts in one of seven short
scripts: a call that was cancelled or has just ended returns to an interpreter that is being torn down."""


@functools.cache
def pause_at_exit() -> None:
    """Let the process wait for `EXIT_PAUSE_S` when it exits (temporalio/sdk-python#300)."""
    atexit.register(time.sleep, EXIT_PAUSE_S)


def load_profile() -> ClientConnectConfig:
    """Return the settings of `TEMPORAL_*` and temporal.toml. Raises `NotReady` if they are invalid."""
    try:
        return ClientConfig.load_client_connect_config()
    except (RuntimeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise NotReady(f"the Temporal profile (TEMPORAL_*, temporal.toml): {reason}") from None


def checked_address(address: object) -> str:
    """Return the address of a Temporal server. Raises `NotReady` for a URL, or for what is not text."""
    if not isinstance(address, str) or not address or "://" in address:
        raise NotReady(
            f"{cut(repr(address), MAX_REASON_BYTES)} is not the address of a Temporal server: give"
            f" HOST:PORT, such as {DEFAULT_ADDRESS}, in TEMPORAL_ADDRESS or --address"
        )
    return address


def connection_failure(error: Exception, address: str) -> str:
    """Return the reason of a transport error of the Temporal SDK: `Code: message`.

    The SDK nests these errors in one text. The innermost message is the useful one. An address that is not
    HOST:PORT is named too: without a port, the SDK connects to port 80 or 443.
    """
    text = str(error)
    code = re.search(r"code: ([A-Z]\w+)", text)
    messages = re.findall(r'(?:message|error): "([^"]+)"', text)
    reason = ": ".join([*([code[1]] if code else []), *messages[-1:]])
    return cut(reason or text, MAX_REASON_BYTES) + _address_hint(address)


def _address_hint(address: str) -> str:
    if address.count(":") > 1 and not address.startswith("["):
        return "; write an address of IPv6 as [ADDRESS]:PORT"
    return "" if re.search(r":\d+$", address) else "; the address has no port, such as :7233"
