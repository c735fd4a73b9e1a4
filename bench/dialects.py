"""Dialects of model servers: what vLLM and llama.cpp answer beside completions, and how they refuse.

The words are those of vLLM 0.32 (`renderers/params.py`, `entrypoints/serve`), of vLLM 0.18 to 0.30 where
it is said so, and of llama.cpp's server.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from bench.http_connection import Reply
from bench.scripts import Constraint, Request, prompt_of, tokens_of
from bench.streams import Engine

USUAL_CONTEXT_TOKENS = 8192
"""What an engine says its context is, where no bound was given."""

VLLM_VERSION = "0.32.0"
LLAMA_CPP_BUILD = "b9000-scripted"

Takes = Literal["structured_outputs", "response_format", "both"]
"""The field of a constraint that a server knows; one that it does not know it ignores."""

Overflow = Literal["refused", "clamped"]
"""What becomes of a prompt that fits and a `max_tokens` that does not fit beside it.

vLLM 0.18 to 0.30 refuses the request; vLLM 0.32 generates what fits, and refuses a prompt, or a
`max_tokens`, that is alone too long.
"""

_VLLM_TYPES = {
    400: "BadRequestError",
    404: "NotFoundError",
    422: "UnprocessableEntityError",
    500: "InternalServerError",
    501: "NotImplementedError",
}


@dataclass(frozen=True)
class Served:
    """What is served, and as what: `engine` None is a server that tells nothing of itself."""

    model: str
    engine: Engine | None = None
    max_model_len: int | None = None
    overflow: Overflow = "refused"

    @property
    def context_tokens(self) -> int:
        """The context that it tells of."""
        return self.max_model_len or USUAL_CONTEXT_TOKENS

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

    def beside(self, method: str, path: str, body: bytes) -> Reply | None:
        """Answer what the engine serves at its root, beside the API; None for what it does not serve."""
        match self.engine, method, path:
            case "vllm", "GET", "/version":
                return json_reply(200, {"version": VLLM_VERSION})
            case "llama.cpp", "GET", "/props":
                settings = {"n_ctx": self.context_tokens}
                told = {"default_generation_settings": settings, "build_info": LLAMA_CPP_BUILD}
                return json_reply(200, told)
            case (_, "POST", "/tokenize") | ("llama.cpp", "POST", "/apply-template"):
                pass
            case _:
                return None
        if self.engine is None:
            return None
        asked = object_in(body)
        if asked is None:
            return self.error(400, "the body is no JSON object")
        return self._templated(asked) if path == "/apply-template" else self._tokenized(asked)

    def refusal(self, request: Request) -> Reply | None:
        """Return the answer to a request that is not even begun, None for one that is taken."""
        asked = request.body.get("model")
        if self.engine == "vllm":
            if asked and asked != self.model:
                said = f"The model `{asked}` does not exist. Valid aliases: {self.model}."
                return self.error(404, said, param="model")
            if request.body.get("stream_options") and not request.body.get("stream"):
                said = "Stream options can only be defined when `stream=True`."
                return self.error(400, f"{said} (parameter=stream_options)", param="stream_options")
        if self.max_model_len is None:
            return None
        return self._too_long(request, self.max_model_len)

    def error(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> Reply:
        """Return an error as the engine words it; `code` is vLLM's status where none is given."""
        is_vllm = self.engine == "vllm"
        kind = _VLLM_TYPES.get(status, HTTPStatus(status).phrase) if is_vllm else "scripted"
        number = status if is_vllm and code is None else code
        error = {"message": message, "type": kind, "param": param, "code": number}
        return json_reply(status, {"error": error})

    def _templated(self, asked: Mapping[str, Any]) -> Reply:
        return json_reply(200, {"prompt": prompt_of(asked.get("messages") or [])})

    def _tokenized(self, asked: Mapping[str, Any]) -> Reply:
        if self.engine == "llama.cpp":
            return json_reply(200, {"tokens": [0] * tokens_of(asked.get("content") or "")})
        # vLLM's takes a prompt too, instead of messages.
        text = asked.get("prompt") or prompt_of(asked.get("messages") or [])
        told = {"count": tokens_of(text), "max_model_len": self.context_tokens, "tokens": []}
        return json_reply(200, told)

    def _too_long(self, request: Request, context: int) -> Reply | None:
        prompt, asked = request.prompt_tokens, request.max_tokens or 0
        if self.engine == "llama.cpp":
            return _too_long_for_llama_cpp(prompt, context) if prompt >= context else None
        if asked > context:
            name = "max_tokens"
            if request.body.get("max_completion_tokens") is not None:
                name = "max_completion_tokens"
            said = (
                f"{name}={asked} cannot be greater than max_model_len={context}. "
                f"Please request fewer output tokens. (parameter={name}, value={asked})"
            )
            return self._bad_request(said, name)
        if self.overflow == "clamped":
            said = _too_long_at_once(prompt, context)
            return self._bad_request(said, "input_tokens") if prompt > context else None
        said = _too_long_together(prompt, asked, context)
        return self._bad_request(said, "input_tokens") if prompt + asked > context else None

    def _bad_request(self, message: str, param: str) -> Reply:
        error = {"message": message, "type": "BadRequestError", "param": param, "code": 400}
        return json_reply(400, {"error": error})


def taken_fields(
    takes: Takes, *, constrained: bool, engine: Engine | None
) -> frozenset[Constraint]:
    """Return the fields that a server reads a constraint from; llama.cpp reads grammars too."""
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
    """Return the JSON object of a body, None for anything else."""
    try:
        content = json.loads(body)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _too_long_together(prompt: int, asked: int, context: int) -> str:
    """Return what vLLM 0.18 to 0.30 says: its tokenizer stops at the first token too many."""
    at_least = "at least " if prompt == context - asked + 1 else ""
    return (
        f"This model's maximum context length is {context} tokens. However, you requested {asked} "
        f"output tokens and your prompt contains {at_least}{prompt} input tokens, for a total of "
        f"{at_least}{prompt + asked} tokens. Please reduce the length of the input prompt or the "
        f"number of requested output tokens. (parameter=input_tokens, value={prompt})"
    )


def _too_long_at_once(prompt: int, context: int) -> str:
    """Return what vLLM 0.32 says."""
    at_least = "at least " if prompt == context + 1 else ""
    return (
        f"This model's maximum context length is {context} tokens. However, your prompt contains "
        f"{at_least}{prompt} input tokens, which exceeds this limit even without any output tokens. "
        f"Please reduce the length of the input prompt. (parameter=input_tokens, value={prompt})"
    )


def _too_long_for_llama_cpp(prompt: int, context: int) -> Reply:
    error = {
        "code": 400,
        "message": f"request ({prompt} tokens) exceeds the available context size ({context} tokens), "
        "try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": prompt,
        "n_ctx": context,
    }
    return json_reply(400, {"error": error})
