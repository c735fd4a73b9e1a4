"""The HTTP client of one server with OpenAI's chat completions API. It knows URLs and no prompts."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
from openai import AsyncOpenAI, AsyncStream

from outlast.errors import ModelError, ModelFailure
from outlast.model_server import ServerOptions
from outlast_activities.providers.error_classes import failure_of_answer
from outlast_activities.providers.streams import AnswerAborted

CONNECT_TIMEOUT_S = 10.0
"""A host that is down must not cost the timeout of a whole generation."""

QUERY_TIMEOUT_S = 10.0
"""For requests that generate nothing, such as the list of models or a count of tokens."""

MAX_QUOTED_CHARACTERS = 300

CLIENT_ERRORS = (openai.OpenAIError, json.JSONDecodeError, TypeError, AttributeError)
"""What a query raises if the server does not support it."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ChatClient:
    """The connections to one server. It never retries."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._has_answered = False
        self._default_model: str | None = None
        self._default_model_lock = asyncio.Lock()
        self._client = AsyncOpenAI(
            base_url=options.url,
            api_key=options.api_key or "none",
            # The timeouts between tokens are enforced where the stream is read.
            timeout=openai.Timeout(None, connect=min(options.timeout_s, CONNECT_TIMEOUT_S)),
            max_retries=0,
            # A proxy from the environment cannot reach this machine's loopback interface.
            http_client=openai.DefaultAsyncHttpxClient(
                trust_env=urlsplit(options.url).hostname not in LOOPBACK
            ),
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
            content_type = stream.response.headers.get("content-type", "")
            is_stream = "event-stream" in content_type
            yield stream if is_stream else self._single_chunk(stream.response)
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
        body: Any = await self._client.with_options(timeout=QUERY_TIMEOUT_S).get(
            "/models", cast_to=object
        )
        entries = body.get("data") if isinstance(body, dict) else None
        return [entry for entry in entries or () if isinstance(entry, dict)]

    async def root_query(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the JSON of an endpoint at the server's root, beside the API. Raises `OpenAIError`."""
        root = self._client.with_options(
            base_url=self._options.url.rstrip("/").removesuffix("/v1"), timeout=QUERY_TIMEOUT_S
        )
        if body is None:
            return await root.get(path, cast_to=object)
        return await root.post(path, cast_to=object, body=body)

    async def is_reachable(self) -> bool:
        """Return whether the server answers at all. An error answer counts."""
        try:
            await self.models()
        except openai.APIConnectionError:
            return False
        except (openai.OpenAIError, json.JSONDecodeError):
            return True
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _single_chunk(self, response: httpx2.Response) -> AsyncIterator[object]:
        """Yield the answer of a server that does not stream as one chunk."""
        if "json" not in response.headers.get("content-type", ""):
            if self._has_answered:
                raise AnswerAborted(
                    "answered without JSON; is it under maintenance?", ModelFailure.OVERLOADED
                )
            raise AnswerAborted(
                "is not a model server's API; check its url, which ends in /v1",
                ModelFailure.UNKNOWN_MODEL,
            )
        body = json.loads(await response.aread())
        error = body.get("error") if isinstance(body, dict) else None
        if error:
            text = json.dumps(error)
            raise AnswerAborted(
                f"answered with an error: {text[:MAX_QUOTED_CHARACTERS]}",
                failure_of_answer(response.status_code, error, text),
            )
        yield body
