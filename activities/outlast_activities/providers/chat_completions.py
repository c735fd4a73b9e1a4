"""Adapter of model servers that speak OpenAI's chat completions: vLLM, llama.cpp, hosted ones."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
from openai import AsyncOpenAI, AsyncStream
from opentelemetry.propagate import inject

from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Completion, OnTokens, Prompt
from outlast_activities.constraints.constraints import Engine
from outlast_activities.generation.loops import LoopWatch
from outlast_activities.providers.breaker import Breaker
from outlast_activities.providers.error_classes import classified, failure_of_answer
from outlast_activities.providers.request_fields import Api, constrained, streamed, usual_engine
from outlast_activities.providers.streams import Answer, CutOff, Gaps, read

MAX_CONSTRAINTS = 256
"""Constraints kept: one for each agent and set of tools still allowed."""

CONNECT_TIMEOUT_S = 10.0
"""A host that is gone must not cost the time of a whole generation."""

ASK_TIMEOUT_S = 10.0
"""For questions that generate nothing: which models there are, how many tokens a text has."""

WARMER = 0.4
WARMEST = 1.5
"""What a higher temperature adds, and where it ends."""

MESSAGE_TOKENS = 16
"""More than any chat template puts around a message."""

UNREADABLE = (json.JSONDecodeError, UnicodeDecodeError)

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Server:
    """A model server, and how it is asked.

    `api` is `vllm` for vLLM 0.12 and later (`structured_outputs`), `openai` for every other server
    (`response_format`). Without a `model` the server's first is used. `timeout_s` bounds the wait for
    the first token, `gap_s` that from one to the next. `session_header` is the name of a header that
    holds the id of the run, for routers that keep what has it on one replica.
    """

    url: str
    api: Api = "openai"
    api_key: str | None = None
    model: str | None = None
    timeout_s: float = 120
    gap_s: float = 30
    temperature: float = 0.2
    session_header: str | None = None


class ChatCompletions:
    """Fulfils `Model` over one server. It retries nothing: that is Temporal's part.

    OpenAI's own service refuses our schemas: it wants an object at the root, and a decision is one of
    two.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.engine: Engine = usual_engine(server.api)
        self._counts = True
        self._has_answered = False
        self._first_served: str | None = None
        self._asking_first = asyncio.Lock()
        self._constraints: OrderedDict[tuple[str, bool], dict[str, Any]] = OrderedDict()
        self._breaker = Breaker()
        self._gaps = Gaps(server.timeout_s, server.gap_s)
        self._client = AsyncOpenAI(
            base_url=server.url,
            api_key=server.api_key or "none",
            # The waits for tokens are measured where they are read.
            timeout=openai.Timeout(None, connect=min(server.timeout_s, CONNECT_TIMEOUT_S)),
            max_retries=0,
            # The proxy of an environment cannot reach this machine's loopback interface.
            http_client=openai.DefaultAsyncHttpxClient(
                trust_env=urlsplit(server.url).hostname not in LOOPBACK
            ),
        )

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        """Answer the prompt under its schema, or raise `ModelError`; a cancellation hangs up."""
        self._breaker.admit()
        try:
            completion = await self._complete(prompt, on_tokens)
        except ModelError as error:
            self._breaker.failed(error)
            raise
        self._breaker.succeeded()
        self._has_answered = True
        return completion

    async def most_prompt_tokens(self, prompt: Prompt) -> int:
        """Return how many tokens the prompt has, as the server counts; else no less than that."""
        counted: object = None
        if self._counts:
            try:
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    counted = await self._counted(prompt)
            except openai.NotFoundError:
                self._counts = False
            except (openai.OpenAIError, ValueError, LookupError, TypeError, TimeoutError):
                pass
        if isinstance(counted, int):
            return counted
        # A token of any tokenizer holds a byte at least.
        return prompt.text_bytes + MESSAGE_TOKENS * (len(prompt.messages) + 1)

    async def first_model(self) -> str:
        """Return the first model that the server names; asked once for all calls that wait for it."""
        async with self._asking_first:
            if self._first_served is None:
                names = [str(one["id"]) for one in await self.listed_models() if one.get("id")]
                if not names:
                    raise ModelError(
                        f"the model server at {self.server.url} names no model; check its url, which "
                        "ends in /v1",
                        kind=ModelFailure.UNKNOWN_MODEL,
                    )
                self._first_served = names[0]
            return self._first_served

    async def ask_root(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask what lies beside the API, at the server's root; return its JSON. Raises `OpenAIError`."""
        root = self._client.with_options(
            base_url=str(self.server.url).rstrip("/").removesuffix("/v1"), timeout=ASK_TIMEOUT_S
        )
        if body is None:
            return await root.get(path, cast_to=object)
        return await root.post(path, cast_to=object, body=body)

    async def listed_models(self) -> list[dict[str, Any]]:
        """Return what the server says of its models. Raises `OpenAIError`."""
        told: Any = await self._client.with_options(timeout=ASK_TIMEOUT_S).get(
            "/models", cast_to=object
        )
        entries = told.get("data") if isinstance(told, dict) else None
        return [entry for entry in entries or () if isinstance(entry, dict)]

    async def is_reachable(self) -> bool:
        """Tell whether the server answers at all, if only with a refusal."""
        try:
            await self.listed_models()
        except openai.APIConnectionError:
            return False
        except (openai.OpenAIError, json.JSONDecodeError):
            return True
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _complete(self, prompt: Prompt, on_tokens: OnTokens | None) -> Completion:
        model = prompt.model or self.server.model
        answer = Answer(prompt_bytes=prompt.text_bytes)
        at = f"the model server at {self.server.url}"
        try:
            model = model or await self.first_model()
            async with self._asked(prompt, model) as chunks:
                watch = LoopWatch(prompt.decoding.loop_tokens)
                await read(chunks, answer, gaps=self._gaps, watch=watch, on_tokens=on_tokens)
            return answer.completion(model)
        except CutOff as cut:
            failed = ModelError(f"{at} {cut}", kind=cut.failure)
        except openai.NotFoundError as error:
            failed = self._not_found(error, model, named=prompt.model or self.server.model)
        except (openai.OpenAIError, httpx2.HTTPError, *UNREADABLE) as error:
            failed = classified(error, url=self.server.url, model=model)
        # Not chained: a cause is recorded with the failure, and holds the server's whole answer.
        raise ModelError(
            str(failed.message),
            kind=failed.kind,
            retry_after=failed.retry_after,
            tokens=answer.tokens(cut_at=prompt.max_tokens),
            text=answer.text,
        ) from None

    def _not_found(
        self, error: openai.NotFoundError, model: str | None, *, named: str | None
    ) -> ModelError:
        failed = classified(error, url=self.server.url, model=model)
        if self._first_served == model:
            self._first_served = None
        if named is None and model is not None:
            # The name was the server's own, from before: it has another by now.
            return ModelError(str(failed.message), kind=ModelFailure.OVERLOADED)
        return failed

    @asynccontextmanager
    async def _asked(self, prompt: Prompt, model: str) -> AsyncIterator[AsyncIterator[object]]:
        """Yield the chunks of an answer; leaving the block before their end hangs up."""
        headers: dict[str, str] = {}
        inject(headers)
        if self.engine == "llama.cpp":
            # It hangs up after a stream without saying so: a tenth of what came next was lost.
            headers["Connection"] = "close"
        if self.server.session_header and prompt.session:
            headers[self.server.session_header] = prompt.session
        # Not chat.completions.create(), which walks every message of every call: a third of a worker's
        # CPU time at 30 turns, and more with each turn.
        try:
            async with asyncio.timeout(self.server.timeout_s):
                stream = await self._client.post(
                    "/chat/completions",
                    cast_to=object,
                    body=self._body(prompt, model),
                    options={"headers": headers},
                    stream=True,
                    stream_cls=AsyncStream[object],
                )
        except TimeoutError:
            said = f"did not answer within {self.server.timeout_s:g} s"
            raise CutOff(said, ModelFailure.TIMEOUT) from None
        try:
            kind = stream.response.headers.get("content-type", "")
            yield stream if "event-stream" in kind else self._whole(stream.response)
        finally:
            await stream.close()

    async def _whole(self, response: httpx2.Response) -> AsyncIterator[object]:
        """Yield the one chunk of a server that does not stream, whatever it was asked for."""
        if "json" not in response.headers.get("content-type", ""):
            if self._has_answered:
                raise CutOff("answered with no JSON: is it being mended?", ModelFailure.OVERLOADED)
            said = "is no model server's API; check its url, which ends in /v1"
            raise CutOff(said, ModelFailure.UNKNOWN_MODEL)
        told = json.loads(await response.aread())
        error = told.get("error") if isinstance(told, dict) else None
        if error:
            said = json.dumps(error)
            failure = failure_of_answer(response.status_code, error, said)
            raise CutOff(f"answered with an error: {said[:300]}", failure)
        yield told

    def _body(self, prompt: Prompt, model: str) -> dict[str, Any]:
        temperatures: dict[str, float] = {
            "usual": self.server.temperature,
            "lower": 0.0,
            "higher": min(self.server.temperature + WARMER, WARMEST),
        }
        return {
            "model": model,
            "messages": prompt.messages,
            "max_tokens": prompt.max_tokens,
            "temperature": temperatures[prompt.decoding.temperature],
            **streamed(api=self.server.api, engine=self.engine),
            **self._constraint(prompt),
        }

    def _constraint(self, prompt: Prompt) -> dict[str, Any]:
        compact = prompt.decoding.compact
        key = (prompt.schema_key, compact)
        if key not in self._constraints:
            self._constraints[key] = constrained(
                prompt.schema, api=self.server.api, engine=self.engine, compact=compact
            )
            if len(self._constraints) > MAX_CONSTRAINTS:
                self._constraints.popitem(last=False)
        self._constraints.move_to_end(key)
        return self._constraints[key]

    async def _counted(self, prompt: Prompt) -> object:
        model = prompt.model or self.server.model or await self.first_model()
        if self.server.api == "vllm":
            told = await self.ask_root("/tokenize", {"model": model, "messages": prompt.messages})
            return told["count"]
        if self.engine != "llama.cpp":
            return None
        written = await self.ask_root("/apply-template", {"messages": prompt.messages})
        text = {"content": written["prompt"], "add_special": True, "parse_special": True}
        return len((await self.ask_root("/tokenize", text))["tokens"])
