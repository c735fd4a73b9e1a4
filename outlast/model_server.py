"""Model servers: what a worker asks one, and the protocol that an adapter fulfils."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from outlast.contracts.generation import Tokens

LOOP_TOKENS = 64
"""Tokens of nothing but repetition after which an answer is taken for a loop."""


@dataclass(frozen=True)
class Decoding:
    """How an answer is decoded; other than usual once the usual way has failed.

    `compact` admits no white space between the parts of the JSON. `temperature` is the adapter's own
    (`usual`), 0 (`lower`) or some more (`higher`). `loop_tokens` is how much repetition is let pass.
    """

    compact: bool = False
    temperature: Literal["usual", "lower", "higher"] = "usual"
    loop_tokens: int = LOOP_TOKENS


USUAL = Decoding()


@dataclass(frozen=True)
class Prompt:
    """One question to a model server.

    `messages` are chat messages (`role`, `content`), `schema` the JSON Schema of the answer.
    `schema_key` is the same for equal schemas, so that an adapter may cache what it derives.
    `max_tokens` bounds the answer. `session` is the same for the prompts of one run, which share their
    beginning.
    """

    messages: list[dict[str, str]]
    schema: dict[str, Any]
    schema_key: str
    max_tokens: int
    model: str | None = None
    session: str = ""
    decoding: Decoding = USUAL

    @property
    def text_bytes(self) -> int:
        """The size of the messages: no tokenizer makes more tokens of them."""
        return sum(len(message["content"].encode()) for message in self.messages)


@dataclass(frozen=True)
class Completion:
    """What a model server answered: raw text, why it ended (`stop`, `length`), and tokens used."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str
    cached_prompt_tokens: int = 0

    @property
    def tokens(self) -> Tokens:
        """What it cost."""
        return Tokens(
            prompt_tokens=self.prompt_tokens,
            cached_prompt_tokens=self.cached_prompt_tokens,
            completion_tokens=self.completion_tokens,
        )


OnTokens = Callable[[int], None]
"""Told how many tokens of an answer have come so far."""


class Model(Protocol):
    """A model server. An adapter decides, once, what went wrong: the `failure` of a `ModelError`."""

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        """Answer the prompt under its schema, or raise `outlast.errors.ModelError`.

        Cancelling it ends the request at the server.
        """
        ...

    async def most_prompt_tokens(self, prompt: Prompt) -> int:
        """Return what the prompt has in tokens: exactly where the server tells, else no less."""
        ...
