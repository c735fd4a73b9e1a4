"""Adapter of model servers with OpenAI's chat completions API: vLLM, llama.cpp, and hosted ones."""

import asyncio
import hashlib
import json
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from opentelemetry.propagate import inject

from outlast.errors import ModelError, ModelFailure
from outlast.model_server import (
    Completion,
    Decoding,
    OnTokens,
    Prompt,
    ServerFacts,
    ServerOptions,
)
from outlast.weighed_cache import WeighedCache
from outlast_activities.constraints.engines import Engine
from outlast_activities.generation.loops import LoopWatch
from outlast_activities.providers.breaker import Breaker
from outlast_activities.providers.chat_client import QUERY_TIMEOUT_S, ChatClient
from outlast_activities.providers.chat_probe import probe_server
from outlast_activities.providers.http_errors import QUERY_ERRORS, ErrorStatus, model_error
from outlast_activities.providers.redaction import Redactor, clean_api_key
from outlast_activities.providers.request_fields import (
    constraint_fields,
    default_engine,
    engine_named,
    stream_fields,
)
from outlast_activities.providers.streams import Answer, AnswerAborted, TokenTimeouts, read_answer
from outlast_activities.providers.token_counts import count_in

MAX_CONSTRAINT_BYTES = 16_000_000
"""Constraints in the cache as JSON: one per agent and set of tools that are still allowed."""

TEMPERATURE_STEP = 0.4
MAX_TEMPERATURE = 1.5
"""How much a higher temperature adds, and its maximum."""

MESSAGE_TOKENS = 16
"""An upper bound of what a chat template puts around a message."""


MAX_SESSION = 500
"""Characters of a session in a header. A longer one is replaced by its hash."""

_HEADER_SAFE = "!#$&'()*+,/:;=?@[]^`{|}~ "


def session_value(session: str) -> str:
    """Return a session as the value of a header. A workflow id can hold any character."""
    quoted = quote(session.encode("utf-8", "surrogatepass"), safe=_HEADER_SAFE).strip()
    return quoted if len(quoted) <= MAX_SESSION else hashlib.sha256(quoted.encode()).hexdigest()


class ChatCompletions:
    """Implements `ModelServer` for one server.

    The api `vllm` is for vLLM 0.12 and later (`structured_outputs`), `openai-chat` for all others
    (`response_format`). OpenAI's own service rejects our schemas: it requires an object at the root, and a
    decision is a choice of two.
    """

    def __init__(self, options: ServerOptions, facts: ServerFacts | None = None) -> None:
        self._options = options
        engine = options.engine or (facts.engine if facts else None)
        self._engine: Engine = engine_named(engine) if engine else default_engine(options.api)
        self._can_count_tokens = True
        self._breaker = Breaker()
        self._timeouts = TokenTimeouts(options.timeout_s, options.gap_s)
        self._client = ChatClient(options)
        self._redactor = Redactor(clean_api_key(options.api_key))
        self._constraints: WeighedCache[tuple[str, Engine, Decoding], dict[str, Any]] = (
            WeighedCache(max_bytes=MAX_CONSTRAINT_BYTES)
        )

    @property
    def engine(self) -> Engine:
        """The decoding engine: as configured, or as the probe found it."""
        return self._engine

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        """Return the answer to a prompt, under its schema. Raises `ModelError`."""
        return await self._complete(prompt, self._engine, on_tokens)

    async def count_prompt_tokens(self, prompt: Prompt) -> int:
        """Return the tokens of a prompt: exact if the server can count them, else an upper bound."""
        count: object = None
        if self._can_count_tokens:
            try:
                async with asyncio.timeout(QUERY_TIMEOUT_S):
                    count = await self._queried_count(prompt)
            except (*QUERY_ERRORS, LookupError, TypeError, TimeoutError) as error:
                self._can_count_tokens = not _is_not_found(error)
        tokens = count_in(count)
        if tokens:
            return tokens
        # A token has at least one byte, in any tokenizer.
        return prompt.text_bytes + MESSAGE_TOKENS * (len(prompt.messages) + 1)

    async def probe(self) -> ServerFacts:
        """Find out what the server is, with one constrained prompt. Raises `ModelError`."""
        self._engine, facts = await probe_server(self._client, self._options, self._complete)
        return facts

    async def is_reachable(self) -> bool:
        """Return whether the server answers at all. An error answer counts."""
        return await self._client.is_reachable()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _complete(
        self, prompt: Prompt, engine: Engine, on_tokens: OnTokens | None = None
    ) -> Completion:
        self._breaker.admit()
        try:
            completion = await self._request(prompt, engine, on_tokens)
        except ModelError as error:
            self._breaker.record_failure(error, session=prompt.session)
            raise
        self._breaker.record_success()
        self._client.note_answer()
        return completion

    async def _request(
        self, prompt: Prompt, engine: Engine, on_tokens: OnTokens | None
    ) -> Completion:
        url = self._options.url
        model = prompt.model or self._options.model
        answer = Answer(prompt_bytes=prompt.text_bytes)
        try:
            model = model or await self._client.default_model()
            body, headers = self._body(prompt, model, engine), self._headers(prompt, engine)
            async with self._client.stream(body, headers) as chunks:
                watch = LoopWatch(prompt.decoding.loop_tokens)
                await read_answer(
                    chunks, answer, timeouts=self._timeouts, watch=watch, on_tokens=on_tokens
                )
            completion = answer.completion(model)
            return replace(completion, model=self._redactor.clean(completion.model))
        except AnswerAborted as aborted:
            error = ModelError(f"the model server at {url} {aborted}", kind=aborted.failure)
        except ModelError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001 the library's and those of JSON that it cannot read
            error = model_error(raised, url=url, model=model, redactor=self._redactor)
            if _is_not_found(raised) and self._was_replaced(prompt, model):
                error = ModelError(str(error.message), kind=ModelFailure.OVERLOADED)
        # Not chained: the cause would be recorded with the failure, with the server's whole answer.
        raise ModelError(
            self._redactor.clean(str(error.message)),
            kind=error.kind,
            retry_after=error.retry_after,
            tokens=answer.tokens(max_tokens=prompt.max_tokens),
            text=answer.text,
        ) from None

    def _was_replaced(self, prompt: Prompt, model: str | None) -> bool:
        """Return whether the server listed a model that it no longer has, and forget that model."""
        self._client.forget_default_model(model)
        return (prompt.model or self._options.model) is None and model is not None

    def _headers(self, prompt: Prompt, engine: Engine) -> dict[str, str]:
        headers: dict[str, str] = {}
        inject(headers)
        if engine == "llama.cpp":
            # It closes connections after a stream without notice: a tenth of the next requests was lost.
            headers["Connection"] = "close"
        if self._options.session_header and prompt.session:
            headers[self._options.session_header] = session_value(prompt.session)
        return headers

    def _body(self, prompt: Prompt, model: str, engine: Engine) -> dict[str, Any]:
        configured = self._options.temperature
        temperatures: dict[str, float] = {
            "default": configured,
            "lower": 0.0,
            "higher": min(configured + TEMPERATURE_STEP, MAX_TEMPERATURE),
        }
        return {
            "model": model,
            "messages": prompt.messages,
            "max_tokens": prompt.max_tokens,
            "temperature": temperatures[prompt.decoding.temperature],
            **stream_fields(api=self._options.api, engine=engine),
            **self._constraint(prompt, engine),
        }

    def _constraint(self, prompt: Prompt, engine: Engine) -> dict[str, Any]:
        key = (prompt.schema_key, engine, prompt.decoding)
        fields = self._constraints.get(key)
        if fields is None:
            fields = constraint_fields(
                prompt.schema,
                api=self._options.api,
                engine=engine,
                compact_json=prompt.decoding.compact_json,
            )
            self._constraints.put(key, fields, len(json.dumps(fields)))
        return fields

    async def _queried_count(self, prompt: Prompt) -> object:
        model = prompt.model or self._options.model or await self._client.default_model()
        if self._options.api == "vllm":
            body = {"model": model, "messages": prompt.messages}
            return (await self._client.root_query("/tokenize", body))["count"]
        if self._engine != "llama.cpp":
            return None
        template = await self._client.root_query("/apply-template", {"messages": prompt.messages})
        text = {"content": template["prompt"], "add_special": True, "parse_special": True}
        return len((await self._client.root_query("/tokenize", text))["tokens"])


def _is_not_found(error: Exception) -> bool:
    return isinstance(error, ErrorStatus) and error.status == HTTPStatus.NOT_FOUND
