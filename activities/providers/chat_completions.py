"""Adapters of model servers that speak OpenAI's chat completions: vLLM, llama.cpp, hosted ones.

They differ in one field: how a request carries the JSON Schema that constrains the answer. outlines writes
that field, the openai client carries it.
"""

import asyncio
import json
from collections import OrderedDict
from typing import Any, Literal
from urllib.parse import urlsplit

import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion
from opentelemetry.propagate import inject
from outlines.models.openai import OpenAITypeAdapter
from outlines.models.vllm import VLLMTypeAdapter
from outlines.types import JsonSchema

from activities.providers.failures import classified
from outlast.errors import ModelError
from outlast.models import Completion, Prompt
from outlast.texts import cut

Api = Literal["vllm", "openai"]

MAX_CONSTRAINTS = 256
"""Constraints kept: one for each agent and set of tools still allowed."""

CONNECT_TIMEOUT_S = 10.0
"""A host that is gone must not cost the time of a whole generation."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ChatCompletions:
    """Fulfils `Model` over one server. It retries nothing: that is Temporal's part.

    `api` is `vllm` for vLLM 0.12 and later (`structured_outputs`), `openai` for every other server
    (`response_format`). Without a `model` the server's first is used. OpenAI's own service refuses our
    schemas: it wants an object at the root, and a decision is one of two.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api: Api = "openai",
        api_key: str | None = None,
        model: str | None = None,
        timeout_s: float = 120,
        temperature: float = 0.2,
    ) -> None:
        self._url = base_url
        self._api: Api = api
        self._model = model
        self._first_served: str | None = None
        self._asking_first = asyncio.Lock()
        self._temperature = temperature
        self._constraints: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            timeout=openai.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
            max_retries=0,
            # The proxy of an environment cannot reach this machine's loopback interface.
            http_client=openai.DefaultAsyncHttpxClient(
                trust_env=urlsplit(base_url).hostname not in LOOPBACK
            ),
        )

    async def complete(self, prompt: Prompt) -> Completion:
        """Answer the prompt under its schema, or raise `ModelError`."""
        model = prompt.model or self._model
        try:
            model = model or await self._first()
            answer = await self._create(prompt, model)
        except openai.NotFoundError as error:
            self._first_served = None
            stale = not (prompt.model or self._model)
            raise classified(error, url=self._url, model=model, stale=stale) from None
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            # Not chained: a cause is recorded with the failure, and holds the server's whole answer.
            raise classified(error, url=self._url, model=model) from None
        return _completion(answer, url=self._url, model=model)

    async def is_reachable(self) -> bool:
        """Tell whether the server answers at all, if only with a refusal."""
        try:
            await self._client.models.list(timeout=CONNECT_TIMEOUT_S)
        except openai.APIConnectionError:
            return False
        except (openai.OpenAIError, json.JSONDecodeError):
            return True
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _create(self, prompt: Prompt, model: str) -> ChatCompletion:
        headers: dict[str, str] = {}
        inject(headers)
        # Not chat.completions.create(), which walks every message of every call: a third of a worker's
        # CPU time at 30 turns, and more with each turn.
        return await self._client.post(
            "/chat/completions",
            cast_to=ChatCompletion,
            body={
                "model": model,
                "messages": prompt.messages,
                "max_tokens": prompt.max_tokens,
                "temperature": self._temperature,
                **self._constraint(prompt),
            },
            options={"headers": headers},
        )

    async def _first(self) -> str:
        """Return the first model that the server names; asked once for all calls that wait for it."""
        async with self._asking_first:
            if self._first_served is None:
                models = await self._client.models.list()
                if not models.data:
                    raise ModelError(f"the model server at {self._url} serves no model")
                self._first_served = models.data[0].id
            return self._first_served

    def _constraint(self, prompt: Prompt) -> dict[str, Any]:
        if prompt.schema_key not in self._constraints:
            self._constraints[prompt.schema_key] = _constraint(self._api, prompt.schema)
            if len(self._constraints) > MAX_CONSTRAINTS:
                self._constraints.popitem(last=False)
        self._constraints.move_to_end(prompt.schema_key)
        return self._constraints[prompt.schema_key]


def _constraint(api: Api, schema: dict[str, Any]) -> dict[str, Any]:
    adapter = VLLMTypeAdapter() if api == "vllm" else OpenAITypeAdapter()
    try:
        constraint: dict[str, Any] = adapter.format_output_type(JsonSchema(_with_open_maps(schema)))
    except Exception as error:  # noqa: BLE001 a library's opinion of somebody's schema, of whatever type it is
        raise ModelError(
            f"the schema of a decision cannot be used: {cut(str(error), 300)}"
        ) from None
    return constraint


def _with_open_maps(node: Any) -> Any:
    """Say of an object that names no properties that it may have any.

    outlines closes objects that do not say so, and of a closed object without properties `{}` is the
    only instance.
    """
    if isinstance(node, list):
        return [_with_open_maps(child) for child in node]
    if not isinstance(node, dict):
        return node
    opened = {key: _with_open_maps(value) for key, value in node.items()}
    kinds = node["type"] if isinstance(node.get("type"), list) else [node.get("type")]
    if "object" in kinds and "properties" not in node:
        opened.setdefault("additionalProperties", True)
    return opened


def _completion(answer: object, *, url: str, model: str) -> Completion:
    if not isinstance(answer, ChatCompletion):
        raise ModelError(f"{url} is no model server's API; check model.url, which ends in /v1")
    # The client checks nothing: what a server left out is missing here.
    choices = getattr(answer, "choices", None)
    if not choices:
        raise ModelError(f"the model server at {url} answered without a choice", retryable=True)
    choice = choices[0]
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raise ModelError(f"the model refused: {choice.message.refusal or 'content filter'}")
    usage = answer.usage
    return Completion(
        text=choice.message.content or "",
        finish_reason=choice.finish_reason or "stop",
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
        model=answer.model or model,
    )
