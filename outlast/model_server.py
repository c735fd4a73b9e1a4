"""The protocol between a worker and a model server, for authors of adapters.

An adapter is one class that implements `ModelServer` for one API, such as OpenAI's chat completions. A
worker creates it from `ServerOptions`, calls `probe` once, and then calls `complete` for each model
call. `outlast.testing.ScriptedModel` is a small implementation to read first.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from outlast.contracts.generation import Tokens

LOOP_TOKENS = 64
"""Tokens of pure repetition after which an adapter aborts an answer."""


@dataclass(frozen=True)
class Decoding:
    """How the server decodes one answer. A retry after a failure changes these values.

    With `compact_json` the answer has no white space between the parts of its JSON. `temperature` is
    the configured one (`default`), 0 (`lower`) or a higher one (`higher`). `loop_tokens` is the number
    of tokens of repetition after which the adapter aborts the answer.
    """

    compact_json: bool = False
    temperature: Literal["default", "lower", "higher"] = "default"
    loop_tokens: int = LOOP_TOKENS


DEFAULT_DECODING = Decoding()


@dataclass(frozen=True)
class Prompt:
    """One request to a model server.

    `messages` are chat messages (`role`, `content`). `schema` is the JSON Schema of the answer. Equal
    schemas have an equal `schema_key`, so an adapter can cache what it derives from a schema.
    `max_tokens` limits the answer. `model` is None for the server's configured model. All prompts of
    one run have the same `session`, and begin with the same messages.
    """

    messages: list[dict[str, str]]
    schema: dict[str, Any]
    schema_key: str
    max_tokens: int
    model: str | None = None
    session: str = ""
    decoding: Decoding = DEFAULT_DECODING

    @property
    def text_bytes(self) -> int:
        """The size of the messages in bytes, which is an upper bound of their tokens."""
        return sum(len(message["content"].encode()) for message in self.messages)


@dataclass(frozen=True)
class Completion:
    """The answer of a model server.

    `text` is not parsed yet. `finish_reason` is `stop`, or `length` if the answer reached `max_tokens`.
    `model` is the name of the model that answered.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str
    cached_prompt_tokens: int = 0

    @property
    def tokens(self) -> Tokens:
        """The tokens that the completion used."""
        return Tokens(
            prompt_tokens=self.prompt_tokens,
            cached_prompt_tokens=self.cached_prompt_tokens,
            completion_tokens=self.completion_tokens,
        )


OnTokens = Callable[[int], None]
"""Called while an answer is generated, with the number of its tokens so far."""


@dataclass(frozen=True)
class ServerOptions:
    """The settings of one model server, from which a worker creates an adapter.

    Without a `model` the adapter uses the first one that the server lists. `engine` is the decoding
    engine, if an operator names it. `timeout_s` limits the wait for the first token, `gap_s` the wait
    between two tokens. `session_header` is the name of a header that carries `Prompt.session`: routers
    use it to send the prompts of one run to the same replica.
    """

    url: str
    api: str = "openai"
    api_key: str | None = field(default=None, repr=False)
    model: str | None = None
    engine: str | None = None
    timeout_s: float = 120
    gap_s: float = 30
    temperature: float = 0.2
    session_header: str | None = None


@dataclass(frozen=True)
class ServerFacts:
    """What `ModelServer.probe` found out about a server.

    `constrained` is whether the server enforces the JSON Schema of a prompt. `context_tokens` is the
    size of the model's context, if the server reports it.
    """

    engine: str
    version: str | None
    model: str
    context_tokens: int | None
    constrained: bool


class ModelServer(Protocol):
    """One model server. An adapter implements this protocol for one API.

    Methods raise `outlast.errors.ModelError`, whose `kind` classifies the failure. An adapter never
    retries: Temporal does.
    """

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        """Return the answer to a prompt, under its schema.

        Raises `ModelError`, with the tokens that the failed answer used. Cancelling the call also ends the
        request at the server.
        """
        ...

    async def count_prompt_tokens(self, prompt: Prompt) -> int:
        """Return the tokens of a prompt: exact if the server can count them, else an upper bound."""
        ...

    async def probe(self) -> ServerFacts:
        """Find out what the server is, with one constrained prompt. Raises `ModelError`."""
        ...

    async def is_reachable(self) -> bool:
        """Return whether the server answers at all. An error answer counts."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
