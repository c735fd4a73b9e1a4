"""The HTTP client of one server with OpenAI's chat completions API. It knows URLs and no prompts."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
from openai import AsyncOpenAI, AsyncStream

from outlast.errors import ModelError, ModelFailure, NotReady
from outlast.model_server import ServerOptions
from outlast_activities.providers.bounded_body import ACCEPT_ENCODING, BoundedBody, bound_body
from outlast_activities.providers.redaction import clean_api_key
from outlast_activities.providers.streams import AnswerAborted

CONNECT_TIMEOUT_S = 10.0
"""A host that is down must not cost the timeout of a whole generation."""

QUERY_TIMEOUT_S = 10.0
"""For requests that generate nothing, such as the list of models or a count of tokens."""


ENVIRONMENT = (
    *("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"),
    *("NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
"""Variables that the HTTP client reads."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ChatClient:
    """The connections to one server. It never retries."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._has_answered = False
        self._default_model: str | None = None
        self._default_model_lock = asyncio.Lock()
        self._client = AsyncOpenAI(
            base_url=_base_url(options.url),
            api_key=_api_key(options) or "none",
            # The timeouts between tokens are enforced where the stream is read.
            timeout=openai.Timeout(None, connect=min(options.timeout_s, CONNECT_TIMEOUT_S)),
            max_retries=0,
            default_headers={"accept-encoding": ACCEPT_ENCODING},
            http_client=_http_client(options.url),
        )

    @asynccontextmanager
    async def stream(
        self, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[object]]:
        """Yield the chunks of an answer. Leaving the block early ends the request.

        Raises `AnswerAborted`, or an error of `openai` or `httpx2`.
        """
        timeout_s = self._options.timeout_s
        # Not chat.completions.create(), which visits every message of every call. At 30 turns that takes a
        # third of a worker's CPU time, and more with each turn.
        try:
            async with asyncio.timeout(timeout_s):
                stream = await self._client.post(
                    "/chat/completions",
                    cast_to=object,
                    body=body,
                    options={"headers": headers},
                    stream=True,
                    stream_cls=AsyncStream[object],
                )
        except TimeoutError:
            raise AnswerAborted(
                f"did not answer within {timeout_s:g} s", ModelFailure.TIMEOUT
            ) from None
        try:
            content_type = stream.response.headers.get("content-type", "").lower()
            # Some servers do not name the type of a stream.
            is_single = "json" in content_type or "html" in content_type
            if is_single and "event-stream" not in content_type:
                yield self._single_chunk(stream.response)
            else:
                yield self._chunks(stream)
        finally:
            await stream.close()

    def note_answer(self) -> None:
        """Note that the server has answered a prompt, so its URL is right."""
        self._has_answered = True

    async def default_model(self) -> str:
        """Return the first model that the server lists. Concurrent calls share one query."""
        async with self._default_model_lock:
            if self._default_model is None:
                names = [str(model["id"]) for model in await self.models() if model.get("id")]
                if not names:
                    raise ModelError(
                        f"the model server at {self._options.url} lists no model; check its url, which "
                        "ends in /v1",
                        kind=ModelFailure.UNKNOWN_MODEL,
                    )
                self._default_model = names[0]
            return self._default_model

    def forget_default_model(self, model: str | None) -> None:
        """Query the default model again if it was `model`, which the server no longer has."""
        if self._default_model == model:
            self._default_model = None

    async def models(self) -> list[dict[str, Any]]:
        """Return the entries of `GET /models`. Raises `OpenAIError`."""
        body = await self._query(self._client.get("/models", cast_to=object))
        entries = body.get("data") if isinstance(body, dict) else None
        entries = entries if isinstance(entries, list) else []
        return [entry for entry in entries if isinstance(entry, dict)]

    async def root_query(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the JSON of an endpoint at the server's root, beside the API. Raises `OpenAIError`."""
        root = self._client.with_options(base_url=self._options.url.rstrip("/").removesuffix("/v1"))
        if body is None:
            return await self._query(root.get(path, cast_to=object))
        return await self._query(root.post(path, cast_to=object, body=body))

    async def _query(self, answer: Awaitable[object]) -> Any:
        """Return the answer to a query, within `QUERY_TIMEOUT_S`. Raises `OpenAIError`."""
        try:
            async with asyncio.timeout(QUERY_TIMEOUT_S):
                return await answer
        except TimeoutError:
            raise openai.APITimeoutError(httpx2.Request("GET", self._options.url)) from None
        except httpx2.HTTPError as error:
            raise openai.APIConnectionError(
                request=httpx2.Request("GET", self._options.url)
            ) from error
        except (AnswerAborted, ValueError, TypeError, AttributeError, RecursionError) as error:
            # The server answered, and with something else than the JSON of this API.
            raise openai.OpenAIError(str(error)) from None

    async def is_reachable(self) -> bool:
        """Return whether the server answers at all. An error answer counts."""
        try:
            await self.models()
        except openai.APIConnectionError:
            return False
        except openai.OpenAIError:
            return True
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _chunks(self, stream: AsyncStream[object]) -> AsyncIterator[object]:
        """Yield the chunks of a stream. Each of them is bounded in bytes."""
        is_empty = True
        async for chunk in stream:
            is_empty = False
            if isinstance(stream.response.stream, BoundedBody):
                stream.response.stream.restart()
            yield chunk
        if is_empty and "event-stream" not in stream.response.headers.get("content-type", ""):
            raise self._no_answer()

    async def _single_chunk(self, response: httpx2.Response) -> AsyncIterator[object]:
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
            "is not a model server's API; check its url, which ends in /v1",
            ModelFailure.UNKNOWN_MODEL,
        )


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


def _http_client(url: str) -> openai.DefaultAsyncHttpxClient:
    """Return an HTTP client with bounded answers, the proxies and certificates of the environment.

    A proxy from the environment cannot reach this machine's loopback interface.
    """
    try:
        return openai.DefaultAsyncHttpxClient(
            trust_env=urlsplit(url).hostname not in LOOPBACK,
            event_hooks={"response": [bound_body]},
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
        f"the model server at {url} cannot be reached: {problem}; check the environment: "
        f"{', '.join(variables)}, or name the host in NO_PROXY"
    )
