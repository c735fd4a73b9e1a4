"""The protocol between a worker and a model server, for authors of adapters.

An adapter is one class that implements `ModelServer` for one API, such as OpenAI's chat completions. A
worker creates it from `ServerOptions`, calls `probe` once, and then calls `complete` for each model
call. `outlast.testing.ScriptedModel` is a small implementation to read first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

from outlast.contracts.agents import Effort, Way
from outlast.contracts.generation import Tokens
from outlast.contracts.messages import Opaque
from outlast.decision_prompts import decision_messages
from outlast.turns import AnswerTurn, CallsTurn, MediaPart, RejectedText, ToolDefinition, Turn

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

OnText = Callable[[str], None]
"""Called with each piece of the text of a final answer while it is generated, and with an empty text while
the model thinks. A piece is text, also if the model writes it as JSON. It may turn out not to be part of
the decision."""


@dataclass(frozen=True)
class Prompt:
    """One request to a model server.

    `turns` are the transcript. `tools` are all tools of the agent, the same for a whole run. This turn
    may call those that are `allowed` (None for all, empty for none), at most `max_calls` of them, and may
    give the final answer if `may_answer`.

    `schema` is the JSON Schema of the decision, narrowed to what this turn allows. Equal schemas have an
    equal `schema_key`, so an adapter can cache what it derives from a schema. `answer_schema` is a closed
    object with the single property `answer`. It is the same for a whole run, and empty in the way
    `decision`.

    `way` is how the model decides, `effort` how much it thinks. `max_tokens` limits the completion with
    its thoughts. `model` is None for the server's configured model. All prompts of one run have the same
    `session`. `rejected` is the wrong answer that this prompt asks to correct: it comes last, so all that
    is before stays the same. The messages contain `shown_schema`, which is the schema of the answer alone,
    for servers that do not enforce it. An adapter may call `on_text` while it reads an answer.

    `agent` is the name of the agent. `media` are the images and files that the turns name, by their
    references. They come after the first text that names them.
    """

    turns: tuple[Turn, ...]
    schema: dict[str, Any]
    schema_key: str
    max_tokens: int
    instructions: str | None = None
    tools: tuple[ToolDefinition, ...] = ()
    allowed: frozenset[str] | None = None
    max_calls: int | None = None
    may_answer: bool = True
    answer_schema: dict[str, Any] = field(default_factory=dict)
    shown_schema: dict[str, Any] | None = None
    way: Way = "decision"
    effort: Effort | None = None
    model: str | None = None
    session: str = ""
    decoding: Decoding = DEFAULT_DECODING
    rejected: RejectedText | None = None
    on_text: OnText | None = field(default=None, compare=False, repr=False)
    media: Mapping[str, MediaPart] = field(default_factory=dict)
    agent: str = ""

    @cached_property
    def messages(self) -> list[dict[str, str]]:
        """The prompt as chat messages (`role`, `content`) of the `decision` way."""
        return decision_messages(
            self.instructions,
            self.tools,
            self.turns,
            shown_schema=self.shown_schema,
            rejected=self.rejected,
        )

    def with_texts(self, change: Callable[[str], str]) -> "Prompt":
        """Return the prompt with a function applied to its texts.

        They are the instructions, what people wrote, earlier decisions and the results of tools, which are
        JSON text. What only a model reads of its earlier decisions is left out.
        """
        return replace(
            self,
            instructions=None if self.instructions is None else change(self.instructions),
            turns=tuple(turn.with_texts(change) for turn in self.turns),
        )

    @property
    def allowed_tools(self) -> tuple[ToolDefinition, ...]:
        """The tools that this turn may call."""
        if self.max_calls is not None and self.max_calls < 1:
            return ()
        if self.allowed is None:
            return self.tools
        return tuple(tool for tool in self.tools if tool.name in self.allowed)

    @property
    def text_bytes(self) -> int:
        """The size of the prompt as text in bytes, which is an upper bound of its tokens."""
        size = sum(len(message["content"].encode()) for message in self.messages)
        if self.way != "decision":
            for turn in self.turns:
                if isinstance(turn, CallsTurn | AnswerTurn) and turn.opaque is not None:
                    size += len(turn.opaque.content.encode())
        return size + sum(part.most_tokens for part in self.media.values())


@dataclass(frozen=True)
class Completion:
    """The answer of a model server.

    `text` is the decision as JSON text in every way: `{"tool_calls":[{"tool":…,"arguments":…}]}` with the
    arguments as the model wrote them, or `{"answer":…}`. It is not parsed yet. `finish_reason` is `stop`,
    or `length` if the answer reached `max_tokens`. `model` is the name of the model that answered.
    `prompt_tokens` include the tokens that were read from a cache or written to it, `completion_tokens`
    include the `reasoning_tokens`. `opaque` is what the model needs back in the next prompts of the run.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str
    cached_prompt_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    opaque: Opaque | None = None

    @cached_property
    def tokens(self) -> Tokens:
        """The tokens that the completion used."""
        return Tokens(
            prompt_tokens=self.prompt_tokens,
            cached_prompt_tokens=self.cached_prompt_tokens,
            cache_write_tokens=self.cache_write_tokens,
            completion_tokens=self.completion_tokens,
            reasoning_tokens=self.reasoning_tokens,
        )


OnTokens = Callable[[int], None]
"""Called while an answer is generated, with the number of its tokens so far."""


@dataclass(frozen=True)
class ServerOptions:
    """The settings of one model server, from which a worker creates an adapter.

    Without a `model` the adapter uses the first one that the server lists. `engine` is the decoding
    engine, if an operator names it. `timeout_s` limits the wait for the first token, `gap_s` the wait
    between two tokens. `session_header` is the name of a header that carries `Prompt.session`: routers
    use it to send the prompts of one run to the same replica. `profile` names the facts of a hosted
    service, if the host of the `url` does not.
    """

    url: str
    api: str = "openai-chat"
    api_key: str | None = field(default=None, repr=False)
    model: str | None = None
    engine: str | None = None
    timeout_s: float = 120
    gap_s: float = 30
    temperature: float = 0.2
    session_header: str | None = None
    profile: str | None = None


@dataclass(frozen=True)
class ServerFacts:
    """What `ModelServer.probe` found out about a server.

    `constrained` is whether the server enforces the JSON Schema of a prompt. `context_tokens` is the
    size of the model's context, if the server reports it. `ways` are the ways in which its model can
    decide, the best one first. `supports_effort` is whether the request can set how much its model thinks.
    `images` and `files` are whether it takes images, and files that are not text.
    """

    engine: str
    version: str | None
    model: str
    context_tokens: int | None
    constrained: bool
    ways: tuple[Way, ...] = ("decision",)
    supports_effort: bool = False
    images: bool = False
    files: bool = False


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
