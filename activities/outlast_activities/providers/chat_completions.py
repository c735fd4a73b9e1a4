"""Adapter of model servers with OpenAI's chat completions API: vLLM, llama.cpp, and hosted ones."""

import asyncio
import hashlib
import json
from dataclasses import replace
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from outlast.errors import ModelError, ModelFailure, NotReady
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
from outlast_activities.providers.chat_answers import ChatAnswer
from outlast_activities.providers.chat_client import QUERY_TIMEOUT_S, ChatClient
from outlast_activities.providers.chat_probe import probe_server
from outlast_activities.providers.chat_prompts import (
    ChatDialect,
    effort_fields,
    request_body,
    sent_schemas,
    with_media,
)
from outlast_activities.providers.hosted.prompts import SentSchemas
from outlast_activities.providers.http_errors import QUERY_ERRORS, ErrorStatus, model_error
from outlast_activities.providers.media_parts import MediaLimits
from outlast_activities.providers.profiles import Profile, profile_of
from outlast_activities.providers.redaction import Redactor, clean_api_key
from outlast_activities.providers.request_fields import (
    constraint_fields,
    default_engine,
    engine_named,
    field_writer,
    stream_fields,
)
from outlast_activities.providers.streams import Answer, AnswerAborted, TokenTimeouts, read_answer
from outlast_activities.providers.token_counts import count_in

MAX_CONSTRAINT_BYTES = 16_000_000
"""Constraints in the cache as JSON: one per agent and set of tools that are still allowed."""

MAX_PROFILES = 64
"""Models of one server whose profile is kept."""

TEMPERATURE_STEP = 0.4
MAX_TEMPERATURE = 1.5
"""How much a higher temperature adds, and its maximum."""

MESSAGE_TOKENS = 16
"""An upper bound of what a chat template puts around a message."""


MEDIA = MediaLimits(max_parts=100, max_part_bytes=20_000_000, max_total_bytes=50_000_000)
"""What every server is given at most. A server that takes less says so."""

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
    (`response_format`). A hosted service has a profile, and every other server is probed.
    """

    def __init__(self, options: ServerOptions, facts: ServerFacts | None = None) -> None:
        self._options = options
        self._profile = lru_cache(maxsize=MAX_PROFILES)(self._profile_of)
        _check_service(options, self._profile(options.model or ""))
        engine = options.engine or (facts.engine if facts else None)
        self._engine: Engine = engine_named(engine) if engine else default_engine(options.api)
        self._write_constraint = field_writer(options.api)
        self._can_count_tokens = True
        self._breaker = Breaker()
        self._timeouts = TokenTimeouts(options.timeout_s, options.gap_s)
        self._client = ChatClient(options)
        self._redactor = Redactor(clean_api_key(options.api_key))
        self._sent_schemas: WeighedCache[tuple[str, str, ChatDialect], SentSchemas] = WeighedCache(
            max_bytes=MAX_CONSTRAINT_BYTES
        )
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
        profile = self._profile(self._options.model or "")
        if profile.is_hosted:
            return await self._facts_of_service(profile)
        self._engine, facts = await probe_server(self._client, self._options, self._complete)
        return facts

    async def _facts_of_service(self, profile: Profile) -> ServerFacts:
        """Return what the profile says. The list of models shows whether the key is accepted."""
        model = self._options.model
        try:
            await self._client.models()
        except QUERY_ERRORS as error:
            if not _is_not_found(error):
                raise model_error(
                    error, url=self._options.url, model=model, redactor=self._redactor
                ) from None
        return ServerFacts(
            engine=profile.name,
            version=None,
            model=model or "",
            context_tokens=None,
            constrained="decision" in profile.ways,
            ways=profile.ways,
            supports_effort=bool(profile.efforts),
            images=profile.images,
            files=profile.files,
        )

    def _profile_of(self, model: str) -> Profile:
        try:
            return profile_of(self._options.url, model, self._options.profile)
        except ValueError as error:
            raise NotReady(str(error)) from None

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
        answer: Answer | ChatAnswer | None = None
        try:
            model = model or await self._client.default_model()
            issuer = f"openai-chat:{urlsplit(url).netloc}:{model}"
            MEDIA.check(prompt)
            body, answer = self._prepared(prompt, model, engine, issuer)
            async with self._client.stream(body, self._headers(prompt, engine)) as chunks:
                watch = LoopWatch(prompt.decoding.loop_tokens)
                await read_answer(
                    chunks,
                    answer,
                    timeouts=self._timeouts,
                    watch=watch,
                    on_tokens=on_tokens,
                    on_text=prompt.on_text,
                )
            completion = (
                answer.completion(model)
                if isinstance(answer, Answer)
                else answer.completion(model, issuer)
            )
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
            tokens=answer.tokens(max_tokens=prompt.max_tokens) if answer else {},
            text=answer.text if answer else "",
        ) from None

    def _was_replaced(self, prompt: Prompt, model: str | None) -> bool:
        """Return whether the server listed a model that it no longer has, and forget that model."""
        self._client.forget_default_model(model)
        return (prompt.model or self._options.model) is None and model is not None

    def _headers(self, prompt: Prompt, engine: Engine) -> dict[str, str]:
        headers: dict[str, str] = {}
        if engine == "llama.cpp":
            # It closes connections after a stream without notice: a tenth of the next requests was lost.
            headers["Connection"] = "close"
        if self._options.session_header and prompt.session:
            headers[self._options.session_header] = session_value(prompt.session)
        return headers

    def _prepared(
        self, prompt: Prompt, model: str, engine: Engine, issuer: str
    ) -> tuple[dict[str, Any], Answer | ChatAnswer]:
        """Return the body of a request, and the reader of its answer."""
        profile = self._profile(model)
        dialect = ChatDialect(profile, engine, is_vllm=self._options.api == "vllm")
        body = {"model": model, **self._common_fields(prompt, dialect)}
        if prompt.way == "decision" and not profile.schema:
            body |= {"messages": with_media(prompt), **self._constraint(prompt, engine)}
            answer: Answer | ChatAnswer = Answer(prompt_bytes=prompt.text_bytes)
        else:
            sent = self._sent(prompt, dialect)
            body |= request_body(prompt, sent, dialect, issuer)
            answer = ChatAnswer(
                sent.restoration,
                prompt.text_bytes,
                thoughts_field=profile.thoughts,
                requires_thoughts=profile.requires_thoughts,
                answers_in_text=prompt.way == "tools" and is_plain_text(prompt.answer_schema),
            )
        if not profile.stream_with_format and "response_format" in body:
            return body | {"stream": False}, answer
        fields = stream_fields(api=self._options.api, engine=engine)
        if not profile.stream_usage:
            del fields["stream_options"]
        return body | fields, answer

    def _common_fields(self, prompt: Prompt, dialect: ChatDialect) -> dict[str, Any]:
        profile = dialect.profile
        fields: dict[str, Any] = {profile.max_tokens: prompt.max_tokens}
        if profile.samples(profile.nearest_effort(prompt.effort)):
            configured = self._options.temperature
            temperatures: dict[str, float] = {
                "default": configured,
                "lower": 0.0,
                "higher": min(configured + TEMPERATURE_STEP, MAX_TEMPERATURE),
            }
            fields["temperature"] = temperatures[prompt.decoding.temperature]
        if profile.require_parameters:
            fields["provider"] = {"require_parameters": True}
        return fields | effort_fields(dialect, prompt.effort)

    def _sent(self, prompt: Prompt, dialect: ChatDialect) -> SentSchemas:
        """Return the schemas of a prompt in the form of the server, once for all prompts of an agent."""
        key = (prompt.schema_key, prompt.way, dialect)
        sent = self._sent_schemas.get(key)
        if sent is None:
            sent = sent_schemas(prompt, dialect)
            self._sent_schemas.put(key, sent, sent.size)
        return sent

    def _constraint(self, prompt: Prompt, engine: Engine) -> dict[str, Any]:
        key = (prompt.schema_key, engine, prompt.decoding)
        fields = self._constraints.get(key)
        if fields is None:
            fields = constraint_fields(
                prompt.schema,
                write=self._write_constraint,
                engine=engine,
                compact_json=prompt.decoding.compact_json,
            )
            self._constraints.put(key, fields, len(json.dumps(fields)))
        return fields

    async def _queried_count(self, prompt: Prompt) -> object:
        is_vllm = self._options.api == "vllm"
        if prompt.media or (not is_vllm and self._engine != "llama.cpp"):
            return None
        model = prompt.model or self._options.model or await self._client.default_model()
        body, _ = self._prepared(prompt, model, self._engine, "")
        shown: dict[str, Any] = {name: body[name] for name in ("messages", "tools") if name in body}
        if is_vllm:
            return (await self._client.root_query("/tokenize", {"model": model, **shown}))["count"]
        template = await self._client.root_query("/apply-template", shown)
        text = {"content": template["prompt"], "add_special": True, "parse_special": True}
        return len((await self._client.root_query("/tokenize", text))["tokens"])


def _check_service(options: ServerOptions, profile: Profile) -> None:
    """Raise `NotReady` for a hosted service without a model or a key."""
    if not profile.is_hosted:
        return
    server = f"the model server at {options.url} (profile {profile.name!r})"
    if not options.model:
        raise NotReady(f"{server} needs the name of a model, because it has many: set name")
    if not clean_api_key(options.api_key):
        raise NotReady(f"{server} needs an api_key: set it")


def is_plain_text(answer_schema: dict[str, Any]) -> bool:
    """Return whether any text is a valid answer, so a model may answer in prose."""
    return bool(answer_schema.get("properties", {}).get("answer") == {"type": "string"})


def _is_not_found(error: Exception) -> bool:
    return isinstance(error, ErrorStatus) and error.status == HTTPStatus.NOT_FOUND
