"""Adapters of model servers that speak OpenAI's chat completions: vLLM, llama.cpp, hosted ones.

They differ in one field: how a request carries the JSON Schema that constrains the answer. outlines writes
that field, the openai client carries it.
"""

from collections import OrderedDict
from typing import Any, Literal

import openai
from openai import AsyncOpenAI
from opentelemetry.propagate import inject
from outlines.models.openai import OpenAITypeAdapter
from outlines.models.vllm import VLLMTypeAdapter
from outlines.types import JsonSchema

from activities.providers.failures import classified
from outlast.errors import ModelError
from outlast.models import Completion, Prompt

Api = Literal["vllm", "openai"]

MAX_CONSTRAINTS = 256
"""Constraints kept: one for each agent and set of tools still allowed."""


class ChatCompletions:
    """Fulfils `Model` over one server. It retries nothing: that is Temporal's part.

    `api` is `vllm` for vLLM 0.12 and later (`structured_outputs`), `openai` for every other server
    (`response_format`). Without a `model` the server's first is used.
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
        self._api = api
        self._model = model
        self._temperature = temperature
        self._constraints: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._client = AsyncOpenAI(
            base_url=base_url, api_key=api_key or "none", timeout=timeout_s, max_retries=0
        )

    async def complete(self, prompt: Prompt) -> Completion:
        """Answer the prompt under its schema, or raise `ModelError`."""
        headers: dict[str, str] = {}
        inject(headers)
        try:
            model = prompt.model or await self._default_model()
            answer = await self._client.chat.completions.create(
                model=model,
                messages=prompt.messages,  # type: ignore[arg-type]  # roles and texts, as it wants
                max_tokens=prompt.max_tokens,
                temperature=self._temperature,
                extra_headers=headers,
                extra_body=self._constraint(prompt),
            )
        except openai.OpenAIError as error:
            raise classified(error, url=self._url, model=prompt.model or self._model) from error
        return _completion(answer, model)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _default_model(self) -> str:
        if self._model is None:
            models = await self._client.models.list()
            if not models.data:
                raise ModelError(f"the model server at {self._url} serves no model")
            self._model = models.data[0].id
        return self._model

    def _constraint(self, prompt: Prompt) -> dict[str, Any]:
        if prompt.schema_key not in self._constraints:
            self._constraints[prompt.schema_key] = _constraint(self._api, prompt.schema)
            if len(self._constraints) > MAX_CONSTRAINTS:
                self._constraints.popitem(last=False)
        self._constraints.move_to_end(prompt.schema_key)
        return self._constraints[prompt.schema_key]


def _constraint(api: Api, schema: dict[str, Any]) -> dict[str, Any]:
    adapter = VLLMTypeAdapter() if api == "vllm" else OpenAITypeAdapter()
    constraint: dict[str, Any] = adapter.format_output_type(JsonSchema(schema))
    return constraint


def _completion(answer: Any, model: str) -> Completion:
    if not answer.choices:
        raise ModelError("the model server answered without a choice", retryable=True)
    choice = answer.choices[0]
    if choice.message.refusal:
        raise ModelError(f"the model refused: {choice.message.refusal}")
    usage = answer.usage
    return Completion(
        text=choice.message.content or "",
        finish_reason=choice.finish_reason or "stop",
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
        model=answer.model or model,
    )
