"""The HTTP client of one model server. It knows URLs and no prompts."""

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import httpx2

from outlast.errors import ModelError, ModelFailure, NotReady
from outlast.model_server import ServerOptions
from outlast.text.texts import cut
from outlast.version import __version__
from outlast_activities.providers.bounded_body import ACCEPT_ENCODING, BoundedBody, bound_answer
from outlast_activities.providers.error_classes import MAX_MESSAGE
from outlast_activities.providers.http_errors import QUERY_ERRORS, URL_END, ErrorStatus
from outlast_activities.providers.redaction import clean_api_key
from outlast_activities.providers.streams import AnswerAborted
from outlast_activities.telemetry.requests import trace_request

CONNECT_TIMEOUT_S = 10.0
"""A host that is down must not cost the timeout of a whole generation."""

QUERY_TIMEOUT_S = 10.0
"""For requests that generate nothing, such as the list of models or a count of tokens."""

REST_TIMEOUT_S = 0.1
"""How long the rest of a stream is read after its last event, so that its connection can be used again."""

MAX_CONNECTIONS = 1_000
MAX_IDLE_CONNECTIONS = 100
"""Connections to one server. Slots bound the calls of a worker at the same time anyway."""

MAX_URLS = 256
"""URLs of prompts that are kept parsed. Some APIs have the model in the path."""

AUTHORIZATION = "authorization"

EVENT_STREAM = "text/event-stream"

END_OF_STREAM = "[DONE]"
"""The data of the last event of a stream."""

ENVIRONMENT = (
    *("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"),
    *("NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
"""Variables that the HTTP client reads."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ChatClient:
    """The connections to one server. It never retries.

    `key_header` is the header that carries the API key. With `authorization` it is a bearer token.
    """

    def __init__(
        self, options: ServerOptions, *, key_header: str = AUTHORIZATION, url_end: str = URL_END
    ) -> None:
        self._options = options
        self._has_answered = False
        self._url_end = url_end
        self._default_model: str | None = None
        self._default_model_lock = asyncio.Lock()
        self._url = _base_url(options.url).rstrip("/")
        self._client = _http_client(options, key_header)

    @asynccontextmanager
    async def stream(
        self,
        body: Mapping[str, Any],
        headers: Mapping[str, str],
        path: str = "/chat/completions",
    ) -> AsyncIterator[AsyncIterator[object]]:
        """Yield the chunks of an answer. Leaving the block early ends the request.

        Raises `AnswerAborted`, `ErrorStatus`, or an error of `httpx2`.
        """
        timeout_s = self._options.timeout_s
        url = _parsed_url(f"{self._url}{path}")
        request = self._client.build_request("POST", url, json=body, headers=headers)
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._client.send(request, stream=True)
                await _raise_for_status(response)
        except TimeoutError:
            raise AnswerAborted(
                f"did not answer within {timeout_s:g} s", ModelFailure.TIMEOUT
            ) from None
        try:
            content_type = response.headers.get("content-type", "").lower()
            # Some servers do not name the type of a stream.
            is_single = "json" in content_type or "html" in content_type
            is_single = is_single and "event-stream" not in content_type
            read = self._single_chunk if is_single else self._chunks
            # Closed here: of an answer that ends early, the loop would close it at any later time.
            async with contextlib.aclosing(read(response)) as chunks:
                yield chunks
        finally:
            await response.aclose()

    def note_answer(self) -> None:
        """Note that the server has answered a prompt, so its URL is right."""
        self._has_answered = True

    async def default_model(self) -> str:
        """Return the first model that the server lists. Concurrent calls share one query."""
        if self._default_model is not None:
            return self._default_model
        async with self._default_model_lock:
            if self._default_model is None:
                names = [str(model["id"]) for model in await self.models() if model.get("id")]
                if not names:
                    raise ModelError(
                        f"the model server at {self._options.url} lists no model; check its url, which "
                        f"ends in {self._url_end}",
                        kind=ModelFailure.UNKNOWN_MODEL,
                    )
                self._default_model = names[0]
            return self._default_model

    def forget_default_model(self, model: str | None) -> None:
        """Query the default model again if it was `model`, which the server no longer has."""
        if self._default_model == model:
            self._default_model = None

    async def models(self) -> list[dict[str, Any]]:
        """Return the entries of `GET /models`. Raises one of `QUERY_ERRORS`."""
        body = await self._query("GET", f"{self._url}/models")
        entries = body.get("data") if isinstance(body, dict) else None
        entries = entries if isinstance(entries, list) else []
        return [entry for entry in entries if isinstance(entry, dict)]

    async def root_query(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the JSON of an endpoint at the server's root, beside the API.

        Raises one of `QUERY_ERRORS`.
        """
        url = f"{self._url.removesuffix('/v1')}{path}"
        return await self._query("GET" if body is None else "POST", url, body)

    async def query(
        self,
        path: str,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return the JSON of an endpoint of the API. Raises one of `QUERY_ERRORS`."""
        method = "GET" if body is None else "POST"
        return await self._query(method, f"{self._url}{path}", body, headers)

    async def _query(
        self,
        method: str,
        url: str,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return the answer to a query, within `QUERY_TIMEOUT_S`. Raises one of `QUERY_ERRORS`."""
        try:
            async with asyncio.timeout(QUERY_TIMEOUT_S):
                response = await self._client.request(method, url, json=body, headers=headers)
                await _raise_for_status(response)
                return response.json()
        except TimeoutError:
            raise httpx2.ReadTimeout(f"no answer within {QUERY_TIMEOUT_S:g} s") from None

    async def is_reachable(self) -> bool:
        """Return whether the server answers at all. An error answer counts."""
        try:
            await self.models()
        except httpx2.HTTPError:
            return False
        except QUERY_ERRORS:
            return True
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _chunks(self, response: httpx2.Response) -> AsyncGenerator[object, None]:
        """Yield the chunks of a stream. Each of them is bounded in bytes."""
        content_type = response.headers.get("content-type", "")
        response.headers["content-type"] = EVENT_STREAM  # `EventSource` reads no other type
        is_empty = True
        events = aiter(httpx2.EventSource(response, max_event_size=None))
        async for event in events:
            if event.data.startswith(END_OF_STREAM):
                await _read_rest(events)
                break
            is_empty = False
            if isinstance(response.stream, BoundedBody):
                response.stream.restart()
            yield event.json()
        if is_empty and EVENT_STREAM not in content_type:
            raise self._no_answer()

    async def _single_chunk(self, response: httpx2.Response) -> AsyncGenerator[object, None]:
        """Yield the answer of a server that does not stream as one chunk."""
        if "json" not in response.headers.get("content-type", "").lower():
            raise self._no_answer()
        # The reader of the answer looks for an error in it.
        yield json.loads(await response.aread())

    def _no_answer(self) -> AnswerAborted:
        if self._has_answered:
            return AnswerAborted(
                "answered without JSON; is it under maintenance?", ModelFailure.OVERLOADED
            )
        return AnswerAborted(
            f"is not a model server's API; check its url, which ends in {self._url_end}",
            ModelFailure.UNKNOWN_MODEL,
        )


@lru_cache(maxsize=MAX_URLS)
def _parsed_url(url: str) -> httpx2.URL:
    return httpx2.URL(url)


def _base_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        has_secret = bool(parts.query or parts.fragment or "@" in parts.netloc)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_secret = is_valid = False
    if has_secret:
        raise NotReady(
            "the url of a model server must not hold a password or a query: histories hold error "
            "messages with the url; use api_key"
        )
    if not is_valid:
        raise NotReady("the url of a model server must be http://host[:port]/… or https://…")
    return url


def _api_key(options: ServerOptions) -> str | None:
    try:
        return clean_api_key(options.api_key)
    except ValueError as error:
        raise NotReady(f"the api_key of the model server at {options.url} {error}") from None


def _tls_context(url: str, *, trust_env: bool) -> ssl.SSLContext:
    """Return the TLS context for a server.

    It trusts no certificate if the server is on loopback with plain HTTP: to read certificates takes 30 ms
    and 2 MiB, and only a redirect to HTTPS would need them.
    """
    if not trust_env and urlsplit(url).scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    return _context_with_certificates(file, folder, trust_env=trust_env)


@lru_cache(maxsize=8)
def _context_with_certificates(
    _file: str | None, _folder: str | None, *, trust_env: bool
) -> ssl.SSLContext:
    """Return the TLS context of all clients with these variables."""
    return httpx2.create_ssl_context(trust_env=trust_env)


def _http_client(options: ServerOptions, key_header: str) -> httpx2.AsyncClient:
    """Return an HTTP client with bounded answers, the proxies and certificates of the environment.

    A proxy from the environment cannot reach this machine's loopback interface.
    """
    trust_env = urlsplit(options.url).hostname not in LOOPBACK
    headers = {"accept-encoding": ACCEPT_ENCODING, "user-agent": f"outlast/{__version__}"}
    if api_key := _api_key(options):
        is_bearer = key_header == AUTHORIZATION
        headers[key_header] = f"Bearer {api_key}" if is_bearer else api_key
    try:
        return httpx2.AsyncClient(
            headers=headers,
            # The timeouts between tokens are enforced where the stream is read.
            timeout=httpx2.Timeout(None, connect=min(options.timeout_s, CONNECT_TIMEOUT_S)),
            limits=httpx2.Limits(
                max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_IDLE_CONNECTIONS
            ),
            follow_redirects=True,
            verify=_tls_context(options.url, trust_env=trust_env),
            trust_env=trust_env,
            event_hooks={
                "request": [_SameServer(options.url), trace_request],
                "response": [bound_answer],
            },
        )
    except ImportError:
        problem = "a SOCKS proxy needs the package socksio (pip install socksio)"
    except OSError as error:
        problem = (
            f"a file of certificates cannot be read ({error.strerror or type(error).__name__})"
        )
    except (ValueError, TypeError, httpx2.InvalidURL):
        # The text of the error may hold the password of the proxy.
        problem = "the URL of a proxy is not valid; it begins with http:// or https://"
    variables = [name for name in ENVIRONMENT if os.environ.get(name)]
    raise NotReady(
        f"the model server at {options.url} cannot be reached: {problem}; check the environment: "
        f"{', '.join(variables)}, or name the host in NO_PROXY"
    )


class _SameServer:
    """A hook of `httpx2` that follows redirects within a server, also from http to https.

    Another server would get the prompt, and the API key too: the client removes only `authorization`.
    """

    def __init__(self, url: str) -> None:
        self._url = httpx2.URL(url)

    async def __call__(self, request: httpx2.Request) -> None:
        """Raise `AnswerAborted` for a request to another server."""
        url = self._url
        allowed = [url.origin]
        if url.scheme == "http" and url.port is None:
            allowed.append(url.copy_with(scheme="https").origin)
        if request.url.origin not in allowed:
            target = request.url.copy_with(userinfo=b"", path="/", query=None, fragment=None)
            raise AnswerAborted(
                f"redirects to another server, {cut(str(target), MAX_MESSAGE)}, which gets no prompts:"
                " give its url, if that is the model server",
                ModelFailure.UNKNOWN_MODEL,
            )


async def _raise_for_status(response: httpx2.Response) -> None:
    """Read an answer with an error status, and raise it as `ErrorStatus`."""
    if response.is_success:
        return
    try:
        text = (await response.aread()).decode(errors="replace")
    finally:
        await response.aclose()
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = text.strip()
    error = body.get("error", body) if isinstance(body, dict) else body
    raise ErrorStatus(response.status_code, response.headers, error)


async def _read_rest(events: AsyncIterator[object]) -> None:
    """Read a stream to its end. An answer is complete without it, so errors do not matter."""
    with contextlib.suppress(TimeoutError, httpx2.HTTPError, AnswerAborted):
        async with asyncio.timeout(REST_TIMEOUT_S):
            async for _ in events:
                pass
