"""The part of an adapter that all hosted APIs share: one request, its stream, its errors and its counts.

An API is a `HostedApi`: pure functions from prompts to requests, and a reader of its stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx2

from outlast.errors import ModelError, ModelFailure, NotReady
from outlast.model_server import Completion, OnTokens, Prompt, ServerFacts, ServerOptions
from outlast_activities.constraints.api_dialects import SchemaDialect
from outlast_activities.generation.loops import LoopWatch
from outlast_activities.providers.breaker import Breaker
from outlast_activities.providers.chat_client import ChatClient
from outlast_activities.providers.hosted.answers import HostedAnswer
from outlast_activities.providers.http_errors import QUERY_ERRORS, model_error
from outlast_activities.providers.media_parts import MediaLimits
from outlast_activities.providers.redaction import Redactor, clean_api_key
from outlast_activities.providers.streams import AnswerAborted, TokenTimeouts, read_answer
from outlast_activities.providers.token_counts import count_in

MESSAGE_TOKENS = 16
"""An upper bound of what an API puts around a turn or a tool."""


@dataclass(frozen=True)
class ApiRequest:
    """One request: its path below the server's URL, and its body."""

    path: str
    body: dict[str, Any]


@dataclass(frozen=True)
class PreparedPrompt:
    """A prompt for an API: the request, and the reader of its answer."""

    request: ApiRequest
    answer: HostedAnswer


class HostedApi(Protocol):
    """One API: how a prompt becomes a request, and what the service reports about a model."""

    name: str
    key_header: str
    url_end: str
    schemas: SchemaDialect
    media: MediaLimits
    headers: Mapping[str, str]

    def prepare(self, prompt: Prompt, model: str, issuer: str) -> PreparedPrompt:
        """Return the request for a prompt. Raises `ModelError` if the API has no form for it."""
        ...

    def model_path(self, model: str) -> str:
        """Return the path of a model's description."""
        ...

    def facts(self, model: str, description: Mapping[str, Any]) -> ServerFacts:
        """Return the facts of a model, from its description by the service."""
        ...

    def count_request(self, prompt: Prompt, model: str, issuer: str) -> ApiRequest | None:
        """Return the request that counts the tokens of a prompt, or None if the API has none."""
        ...

    def counted_tokens(self, body: Mapping[str, Any]) -> object:
        """Return the count in the answer to `count_request`."""
        ...


SERVICES = ("api.anthropic.com", "api.openai.com", "googleapis.com", "openai.azure.com")
"""Hosts that answer nobody without a key. A gateway of one's own may."""


def is_service(url: str) -> bool:
    """Return whether a URL is that of a service, and of no gateway in front of it."""
    host = urlsplit(url).hostname or ""
    return any(host == known or host.endswith(f".{known}") for known in SERVICES)


class HostedServer:
    """Implements `ModelServer` for one hosted service. It requires a named model."""

    def __init__(self, api: HostedApi, options: ServerOptions, facts: ServerFacts | None) -> None:
        del facts  # nothing of a request depends on them
        if not options.model:
            raise NotReady(
                f"the model server at {options.url} (api {options.api!r}) needs the name of a model, "
                "because it has many: set name"
            )
        if not clean_api_key(options.api_key) and is_service(options.url):
            raise NotReady(f"the model server at {options.url} needs an api_key: set it")
        self.api = api
        self._options = options
        self._model = options.model
        self._breaker = Breaker()
        self._timeouts = TokenTimeouts(options.timeout_s, options.gap_s)
        self._client = ChatClient(options, key_header=api.key_header, url_end=api.url_end)
        self._redactor = Redactor(clean_api_key(options.api_key))

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        """Return the answer to a prompt. Raises `ModelError`."""
        self._breaker.admit()
        try:
            completion = await self._request(prompt, on_tokens)
        except ModelError as error:
            self._breaker.record_failure(error, session=prompt.session)
            raise
        self._breaker.record_success()
        self._client.note_answer()
        return completion

    async def count_prompt_tokens(self, prompt: Prompt) -> int:
        """Return the tokens of a prompt: as the service counts them, else an upper bound."""
        model = prompt.model or self._model
        count: object = None
        try:
            request = self.api.count_request(prompt, model, self._issuer(model))
            if request is not None:
                body = await self._client.query(request.path, request.body, self.api.headers)
                count = self.api.counted_tokens(body)
        except (*QUERY_ERRORS, ModelError, LookupError, TypeError, AttributeError):
            count = None
        tokens = count_in(count)
        if tokens:
            return tokens
        # A token has at least one byte, in any tokenizer.
        return prompt.text_bytes + MESSAGE_TOKENS * (len(prompt.turns) + len(prompt.tools) + 1)

    async def probe(self) -> ServerFacts:
        """Read the description of the model, which costs nothing. Raises `ModelError`."""
        try:
            path = self.api.model_path(self._model)
            description = await self._client.query(path, None, self.api.headers)
            return self.api.facts(self._model, description)
        except Exception as error:  # noqa: BLE001 the client's, and those of a description that is none
            raise self._error(error, self._model) from None

    async def is_reachable(self) -> bool:
        """Return whether the server answers at all. An error answer counts."""
        try:
            await self._client.query(self.api.model_path(self._model), None, self.api.headers)
        except httpx2.HTTPError:
            return False
        except QUERY_ERRORS:
            return True
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _issuer(self, model: str) -> str:
        return f"{self.api.name}:{urlsplit(self._options.url).netloc}:{model}"

    async def _request(self, prompt: Prompt, on_tokens: OnTokens | None) -> Completion:
        model = prompt.model or self._model
        issuer = self._issuer(model)
        answer: HostedAnswer | None = None
        try:
            self.api.media.check(prompt)
            prepared = self.api.prepare(prompt, model, issuer)
            answer = prepared.answer
            request, headers = prepared.request, self.api.headers
            async with self._client.stream(request.body, headers, request.path) as chunks:
                watch = LoopWatch(prompt.decoding.loop_tokens)
                await read_answer(
                    chunks,
                    answer,
                    timeouts=self._timeouts,
                    watch=watch,
                    on_tokens=on_tokens,
                    on_text=prompt.on_text,
                )
            completion = answer.completion(model, issuer)
            return replace(completion, model=self._redactor.clean(completion.model))
        except Exception as raised:  # noqa: BLE001 the client's, and those of JSON that it cannot read
            error = self._error(raised, model)
        # Not chained: the cause would be recorded with the failure, with the server's whole answer.
        raise ModelError(
            self._redactor.clean(str(error.message)),
            kind=error.kind,
            retry_after=error.retry_after,
            tokens=answer.tokens(max_tokens=prompt.max_tokens) if answer else None,
            text=answer.text if answer and error.kind is not ModelFailure.REFUSAL else "",
        ) from None

    def _error(self, error: Exception, model: str) -> ModelError:
        if isinstance(error, ModelError):
            return error
        url = self._options.url
        if isinstance(error, AnswerAborted):
            return ModelError(f"the model server at {url} {error}", kind=error.failure)
        return model_error(
            error, url=url, model=model, redactor=self._redactor, url_end=self.api.url_end
        )
