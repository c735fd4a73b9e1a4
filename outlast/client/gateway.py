"""A gateway as a client uses it: it has the text of an answer while a model writes the answer."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from outlast.errors import BadRequest, NotReady
from outlast.text.texts import cut
from outlast.text.urls import host_of

if TYPE_CHECKING:
    import httpx2

URL_VARIABLE = "OUTLAST_GATEWAY_URL"
TOKEN_VARIABLE = "OUTLAST_GATEWAY_TOKEN"  # noqa: S105 the name of a variable

CONNECT_TIMEOUT_S = 5.0
"""How long a connection to a gateway may take. Nothing but the text waits for it."""

SILENCE_S = 45.0
"""How long a gateway may send nothing. It sends a comment every 15 s."""

FIRST_RETRY_S = 0.25
MAX_RETRY_S = 5.0
"""The shortest and longest wait before a client connects to a gateway again."""

log = logging.getLogger("outlast.client")


@dataclass(frozen=True)
class TextPiece:
    """More text of the answer that follows the first `entry` entries. A `reset` drops its text so far."""

    entry: int
    text: str = ""
    reset: str = ""
    """The reason of a reset."""

    @property
    def is_news(self) -> bool:
        """Whether the piece only says that the run has news: an entry, or a human request."""
        return not self.text and not self.reset


class Gateway:
    """The address of a gateway, and the bearer token of the principal that uses it."""

    def __init__(self, url: str, token: str | None) -> None:
        if not url.lower().startswith(("http://", "https://")) or not host_of(url):
            raise BadRequest(
                f"gateway: {cut(repr(url), 80)} is not the URL of a gateway: give http://HOST:PORT"
            )
        if token and not (token.isascii() and token.isprintable()):
            raise BadRequest("gateway_token: must be printable ASCII characters")
        try:
            import httpx2  # noqa: F401, PLC0415 an extra
        except ImportError:
            raise NotReady(
                "the text of answers needs httpx2: pip install 'outlast[streaming]'"
            ) from None
        self.url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    async def texts(self, run_id: str, after: int = 0) -> AsyncGenerator[TextPiece, None]:
        """Yield the text of the answers of a run after its first `after` entries, until the run ends.

        Connects again after an error, and continues within the text. If the gateway rejects the client, a
        warning is logged, and the texts end.
        """
        import httpx2  # noqa: PLC0415 an extra

        url = f"{self.url}/runs/{quote(run_id)}/events"
        place, retry_s = str(after), FIRST_RETRY_S
        timeout = httpx2.Timeout(CONNECT_TIMEOUT_S, read=SILENCE_S)
        # Certificates take long to load, and plain HTTP needs none.
        is_tls = url.startswith("https:")
        async with httpx2.AsyncClient(
            timeout=timeout, headers=self._headers, verify=is_tls
        ) as client:
            while True:  # ends with the run, or with the caller
                try:
                    headers = {"last-event-id": place}
                    async with client.stream("GET", url, headers=headers) as response:
                        if await _is_rejected(response, run_id):
                            return
                        response.raise_for_status()
                        async for event_id, event in _events(response):
                            place, retry_s = event_id or place, FIRST_RETRY_S
                            if event["type"] == "run_ended":
                                return
                            yield _piece(event)
                except (httpx2.HTTPError, ValueError, KeyError) as error:
                    log.debug("the gateway %s is away: %r", self.url, error)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, MAX_RETRY_S)


async def _is_rejected(response: "httpx2.Response", run_id: str) -> bool:
    status = response.status_code
    if status == HTTPStatus.TOO_MANY_REQUESTS or not 400 <= status < 500:
        return False
    if status == HTTPStatus.NOT_FOUND:
        reason = (
            "it shows only runs whose id begins with the tenant of the token, such as"
            " default/AGENT/KEY"
        )
    else:
        reason = cut((await response.aread()).decode(errors="replace"), 200)
    log.warning(
        "no text of answers for the run %.200r: the gateway answered %d (%s)",
        run_id,
        status,
        reason,
    )
    return True


async def _events(response: "httpx2.Response") -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Yield the id and the data of each event of a stream."""
    event_id = ""
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            event_id = value
        elif name == "data":
            yield event_id, json.loads(value)
            event_id = ""


def _piece(event: dict[str, Any]) -> TextPiece:
    if event["type"] == "text":
        return TextPiece(int(event["position"]), text=str(event["text"]))
    if event["type"] == "text_reset":
        return TextPiece(int(event["position"]), reset=str(event["reason"]))
    return TextPiece(int(event["position"]))
