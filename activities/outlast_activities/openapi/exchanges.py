"""Exchanges with HTTP servers: bounded requests and answers, and redirects within one server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urljoin, urlsplit

import httpx2

from outlast.text.error_text import error_text
from outlast.version import __version__
from outlast_activities.openapi.answers import Answer
from outlast_activities.openapi.failures import CallFailures
from outlast_activities.openapi.requests import HttpRequest
from outlast_activities.providers.bounded_body import ACCEPT_ENCODING, bound_answer
from outlast_activities.providers.streams import AnswerAborted
from outlast_activities.telemetry.requests import request_span, trace_fields, trace_headers

MAX_CONNECTIONS = 50
"""Connections of one worker to one API. Further calls wait for one."""

MAX_REDIRECTS = 3
"""Redirects of one call within the same server."""

CONNECT_WITHIN_S = 10.0
"""Seconds in which a server must accept a connection."""

KEPT_FOR_S = 2.0
"""Seconds that an unused connection is kept: fewer than servers do, which often close it after 5 s."""

LIMITS = httpx2.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEPT_FOR_S)

_SAME_METHOD = (307, 308)
_REDIRECTS = (301, 302, 303, *_SAME_METHOD)


@asynccontextmanager
async def open_http(
    timeout_s: float, transport: httpx2.AsyncBaseTransport | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """Open connections. `transport` makes them; without one, the client's own does."""
    async with httpx2.AsyncClient(
        headers={"user-agent": f"outlast/{__version__}", "accept-encoding": ACCEPT_ENCODING},
        timeout=httpx2.Timeout(timeout_s, connect=CONNECT_WITHIN_S),
        limits=LIMITS,
        event_hooks={"response": [bound_answer]},
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # runs share no session
        transport=transport,
    ) as http:
        yield http


class Exchanges:
    """Sends the requests of one client. It belongs to one event loop."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def answer(
        self, request: HttpRequest, failures: CallFailures, *, within_s: float, follows: bool = True
    ) -> Answer:
        """Return the answer to a request, also if it is an error. Raises what `failures` returns.

        With `follows`, redirects within the server are followed.
        """
        try:
            async with asyncio.timeout(within_s):
                return await (self._followed(request) if follows else self._send(request))
        except TimeoutError:
            raise failures.lost(
                f"it took longer than {within_s:g} s", status=HTTPStatus.GATEWAY_TIMEOUT
            ) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise failures.not_sent(error_text(error)) from None
        except (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol, httpx2.InvalidURL):
            # The text of the error holds headers, and so secrets.
            raise failures.rejected("the request is not valid HTTP") from None
        except httpx2.HTTPError as error:
            raise failures.lost(error_text(error) or type(error).__name__) from None
        except AnswerAborted as error:
            raise failures.unreadable(f"the server {error}") from None

    async def _followed(self, request: HttpRequest) -> Answer:
        """Send a request, and follow redirects within its server: credentials must not reach another."""
        answer = await self._send(request)
        for _ in range(MAX_REDIRECTS):
            url = _redirect(request, answer)
            if url is None:
                break
            request = replace(request, url=url)
            answer = await self._send(request)
        return answer

    async def _send(self, request: HttpRequest) -> Answer:
        with request_span(request.method, request.url) as span:
            headers = _with_trace(request)
            async with self._http.stream(
                request.method, request.url, headers=headers, content=request.content or None
            ) as response:
                span.complete(response.status_code)
                body = await response.aread()
                return Answer(response.status_code, response.headers, body, request.method)


def _with_trace(request: HttpRequest) -> list[tuple[str, str]]:
    """Return the headers of a request with those of the trace, unless it has such headers of its own."""
    headers = list(request.headers)
    if not trace_fields() & {name.lower() for name, _ in headers}:
        headers += trace_headers(request.url).items()
    return headers


def _redirect(request: HttpRequest, answer: Answer) -> str | None:
    """Return the URL to which an answer redirects within its server, or None."""
    location = answer.headers.get("location", "")
    may_repeat = request.method in {"GET", "HEAD"} or answer.status in _SAME_METHOD
    if answer.status not in _REDIRECTS or not location or not may_repeat:
        return None
    try:
        url = urljoin(request.url, location)
        return url if _origin(url) == _origin(request.url) else None
    except ValueError:
        return None


def _origin(url: str) -> tuple[str, str | None, int | None, str | None]:
    """Return the scheme, host, port and user of a URL. Raises `ValueError` for an invalid one."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, port, parts.username
