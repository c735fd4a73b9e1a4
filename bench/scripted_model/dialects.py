"""Dialects of model servers: the endpoints of vLLM and llama.cpp beside completions, and their errors.

The error messages are copied from vLLM 0.32 (`renderers/params.py`, `entrypoints/serve`), from vLLM 0.18 to
0.30 where noted, and from llama.cpp's server.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from bench.scripted_model.http_connection import Reply
from bench.scripted_model.scripts import Constraint, Request, prompt_of, tokens_of
from bench.scripted_model.streams import Engine

DEFAULT_CONTEXT_TOKENS = 8192
"""The context that a server reports if none is configured."""

VLLM_VERSION = "0.32.0"
LLAMA_CPP_BUILD = "b9000-scripted"

Takes = Literal["structured_outputs", "response_format", "both"]
"""The constraint field that a server knows. It ignores the other one."""

Overflow = Literal["refused", "clamped"]
"""The result of a prompt that fits with a `max_tokens` that does not fit beside it.

vLLM 0.18 to 0.30 rejects the request. vLLM 0.32 generates what fits, and rejects only a prompt or a
`max_tokens` that is too long by itself.
"""

_VLLM_TYPES = {
    400: "BadRequestError",
    404: "NotFoundError",
    422: "UnprocessableEntityError",
    500: "InternalServerError",
    501: "NotImplementedError",
}


@dataclass(frozen=True)
class ServerIdentity:
    """The model of a server, and the engine that it imitates, if any."""

    model: str
    engine: Engine | None = None
    max_model_len: int | None = None
    overflow: Overflow = "refused"

    @property
    def context_tokens(self) -> int:
        """The context size that it reports."""
        return self.max_model_len or DEFAULT_CONTEXT_TOKENS

    def models(self) -> Reply:
        """Answer `GET /v1/models`."""
        entry: dict[str, Any] = {"id": self.model, "object": "model", "created": 0}
        match self.engine:
            case "vllm":
                entry |= {
                    "owned_by": "vllm",
                    "root": self.model,
                    "parent": None,
                    "max_model_len": self.context_tokens,
                    "permission": [],
                }
            case "llama.cpp":
                trained = {"n_ctx_train": self.context_tokens}
                entry |= {"owned_by": "llamacpp", "meta": trained}
            case None:
                entry["owned_by"] = "bench"
        return json_reply(200, {"object": "list", "data": [entry]})

    def root_reply(self, method: str, path: str, body: bytes) -> Reply | None:
        """Answer an endpoint of the engine at its root, beside the API. Return None for an unknown one."""
        match self.engine, method, path:
            case "vllm", "GET", "/version":
                return json_reply(200, {"version": VLLM_VERSION})
            case "llama.cpp", "GET", "/props":
                settings = {"n_ctx": self.context_tokens}
                properties = {
                    "default_generation_settings": settings,
                    "build_info": LLAMA_CPP_BUILD,
                }
                return json_reply(200, properties)
            case (_, "POST", "/tokenize") | ("llama.cpp", "POST", "/apply-template"):
                pass
            case _:
                return None
        if self.engine is None:
            return None
        content = object_in(body)
        if content is None:
            return self.error(400, "the body is not a JSON object")
        return (
            self._apply_template(content) if path == "/apply-template" else self._tokenize(content)
        )

    def refusal(self, request: Request) -> Reply | None:
        """Return the error for a request that the server rejects at once, or None."""
        model = request.body.get("model")
        if self.engine == "vllm":
            if model and model != self.model:
                message = f"The model `{model}` does not exist. Valid aliases: {self.model}."
                return self.error(404, message, param="model")
            if request.body.get("stream_options") and not request.body.get("stream"):
                name = "stream_options"
                message = "Stream options can only be defined when `stream=True`."
                return self.error(400, f"{message} (parameter={name})", param=name)
        if self.max_model_len is None:
            return None
        return self._too_long(request, self.max_model_len)

    def error(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> Reply:
        """Return an error in the form of the engine. For vLLM, `code` is the status by default."""
        is_vllm = self.engine == "vllm"
        kind = _VLLM_TYPES.get(status, HTTPStatus(status).phrase) if is_vllm else "scripted"
        number = status if is_vllm and code is None else code
        error = {"message": message, "type": kind, "param": param, "code": number}
        return json_reply(status, {"error": error})

    def _apply_template(self, content: Mapping[str, Any]) -> Reply:
        return json_reply(200, {"prompt": prompt_of(content.get("messages") or [])})

    def _tokenize(self, content: Mapping[str, Any]) -> Reply:
        if self.engine == "llama.cpp":
            return json_reply(200, {"tokens": [0] * tokens_of(content.get("content") or "")})
        # vLLM also accepts a prompt instead of messages.
        text = content.get("prompt") or prompt_of(content.get("messages") or [])
        count = {"count": tokens_of(text), "max_model_len": self.context_tokens, "tokens": []}
        return json_reply(200, count)

    def _too_long(self, request: Request, context: int) -> Reply | None:
        prompt, max_tokens = request.prompt_tokens, request.max_tokens or 0
        if self.engine == "llama.cpp":
            return _llama_cpp_too_long(prompt, context) if prompt >= context else None
        if max_tokens > context:
            name = "max_tokens"
            if request.body.get("max_completion_tokens") is not None:
                name = "max_completion_tokens"
            message = (
                f"{name}={max_tokens} cannot be greater than max_model_len={context}. "
                f"Please request fewer output tokens. (parameter={name}, value={max_tokens})"
            )
            return self._bad_request(message, name)
        if self.overflow == "clamped":
            if prompt <= context:
                return None
            return self._bad_request(_prompt_too_long(prompt, context), "input_tokens")
        if prompt + max_tokens <= context:
            return None
        message = _request_too_long(prompt, max_tokens, context)
        return self._bad_request(message, "input_tokens")

    def _bad_request(self, message: str, param: str) -> Reply:
        error = {"message": message, "type": "BadRequestError", "param": param, "code": 400}
        return json_reply(400, {"error": error})


def constraint_fields(
    takes: Takes, *, constrained: bool, engine: Engine | None
) -> frozenset[Constraint]:
    """Return the fields that a server reads constraints from. llama.cpp also reads grammars."""
    if not constrained:
        return frozenset()
    fields: set[Constraint] = {"grammar"} if engine == "llama.cpp" else set()
    if takes in ("structured_outputs", "both"):
        fields.add("structured_outputs")
    if takes in ("response_format", "both"):
        fields.add("response_format")
    return frozenset(fields)


def json_reply(status: int, content: Mapping[str, Any]) -> Reply:
    """Return a reply with a JSON body."""
    return Reply(status, json.dumps(content).encode())


def object_in(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a body, or None."""
    try:
        content = json.loads(body)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _request_too_long(prompt: int, max_tokens: int, context: int) -> str:
    """Return the message of vLLM 0.18 to 0.30, whose tokenizer stops at the first token too many."""
    at_least = "at least " if prompt == context - max_tokens + 1 else ""
    return (
        f"This model's maximum context length is {context} tokens. However, you requested {max_tokens} "
        f"output tokens and your prompt contains {at_least}{prompt} input tokens, for a total of "
        f"{at_least}{prompt + max_tokens} tokens. Please reduce the length of the input prompt or the "
        f"number of requested output tokens. (parameter=input_tokens, value={prompt})"
    )


def _prompt_too_long(prompt: int, context: int) -> str:
    """Return the message of vLLM 0.32."""
    at_least = "at least " if prompt == context + 1 else ""
    return (
        f"This model's maximum context length is {context} tokens. However, your prompt contains "
        f"{at_least}{prompt} input tokens, which exceeds this limit even without any output tokens. "
        f"Please reduce the length of the input prompt. (parameter=input_tokens, value={prompt})"
    )


def _llama_cpp_too_long(prompt: int, context: int) -> Reply:
    error = {
        "code": 400,
        "message": f"request ({prompt} tokens) exceeds the available context size ({context} tokens), "
        "try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": prompt,
        "n_ctx": context,
    }
    return json_reply(400, {"error": error})
