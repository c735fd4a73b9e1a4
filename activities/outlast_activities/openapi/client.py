"""The connections of a worker to an HTTP API."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
from pydantic import JsonValue

from outlast.agents.openapi.openapi_tools import OpenApiTool
from outlast.agents.openapi.operations import Api
from outlast.agents.tool_context import ToolContext
from outlast.errors import NotReady
from outlast.text.error_text import error_text
from outlast.version import __version__
from outlast_activities.openapi.answers import Answer, result_of
from outlast_activities.openapi.failures import CallFailures
from outlast_activities.openapi.requests import HttpRequest, http_request
from outlast_activities.providers.bounded_body import ACCEPT_ENCODING, bound_body
from outlast_activities.providers.redaction import Redactor, clean_api_key
from outlast_activities.providers.streams import AnswerAborted

MAX_CONNECTIONS = 50
"""Connections of one worker to one API. Further calls wait for one."""

MAX_REDIRECTS = 3
"""Redirects of one call within the same server."""

CONNECT_WITHIN_S = 10.0
"""Seconds in which a server must accept a connection."""

KEPT_FOR_S = 2.0
"""Seconds that an unused connection is kept: fewer than servers do, which often close it after 5 s."""

MARGIN_S = 1.0
"""How much earlier than Temporal the client ends a slow call, so that its failure still arrives."""

_SAME_METHOD = (307, 308)
_REDIRECTS = (301, 302, 303, *_SAME_METHOD)


class ApiClient:
    """Makes the calls of one API. It belongs to one event loop."""

    def __init__(self, http: httpx2.AsyncClient, secrets: Mapping[str, str]) -> None:
        self._http = http
        self._secrets = secrets
        self._redactors = [Redactor(form) for secret in secrets.values() for form in _forms(secret)]

    async def call(
        self, tool: OpenApiTool, arguments: dict[str, JsonValue], context: ToolContext[Any]
    ) -> JsonValue:
        """Make a call, and return its result.

        Raises `ToolError` for an error that the model can act on, and `ConnectionLost` for a call that may
        have happened, or that another attempt may make.
        """
        request = http_request(
            tool.operation,
            arguments,
            secrets=self._secrets,
            idempotency_key=context.idempotency_key,
        )
        failures = CallFailures(tool.name, tool.spec.effect, context.attempt, self.clean)
        within_s = tool.spec.timeout_s - min(MARGIN_S, tool.spec.timeout_s / 5)
        try:
            async with asyncio.timeout(within_s):
                answer = await self._answer(request)
        except TimeoutError:
            raise failures.lost(f"it took longer than {within_s:g} s") from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise failures.not_sent(error_text(error)) from None
        except (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol, httpx2.InvalidURL):
            # The text of the error holds headers, and so secrets.
            raise failures.rejected("the request is not valid HTTP") from None
        except httpx2.HTTPError as error:
            raise failures.lost(error_text(error) or type(error).__name__) from None
        except AnswerAborted as error:
            raise failures.unreadable(f"the server {error}") from None
        failures.check(answer)
        return result_of(answer, self.clean)

    def clean(self, text: str) -> str:
        """Return a text of the server without the credentials."""
        for redactor in self._redactors:
            text = redactor.clean(text)
        return text

    async def _answer(self, request: HttpRequest) -> Answer:
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
        async with self._http.stream(
            request.method, request.url, headers=request.headers, content=request.content or None
        ) as response:
            body = await response.aread()
            return Answer(response.status_code, response.headers, body, request.method)


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


@asynccontextmanager
async def open_api(api: Api) -> AsyncIterator[ApiClient]:
    """Open the connections to an API. Raises `NotReady` if one of its credentials is not set."""
    secrets = {name: _secret(api, name) for name in sorted(api.variables)}
    limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEPT_FOR_S)
    async with httpx2.AsyncClient(
        headers={"user-agent": f"outlast/{__version__}", "accept-encoding": ACCEPT_ENCODING},
        timeout=httpx2.Timeout(api.timeout.total_seconds(), connect=CONNECT_WITHIN_S),
        limits=limits,
        event_hooks={"response": [bound_body]},
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # runs share no session
    ) as http:
        yield ApiClient(http, secrets)


def _secret(api: Api, variable: str) -> str:
    try:
        secret = clean_api_key(os.environ.get(variable))
    except ValueError as error:
        raise NotReady(f"{api.server}: the variable {variable} {error}") from None
    if secret is None:
        raise NotReady(f"{api.server}: set the variable {variable}, its credentials")
    return secret


def _forms(secret: str) -> set[str]:
    """Return the forms of a secret in requests: as it is, and as a user with a password."""
    _, colon, password = secret.partition(":")
    if not colon or not password:
        return {secret}
    return {secret, password, base64.b64encode(secret.encode()).decode()}
