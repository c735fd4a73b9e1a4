"""Model servers: what a worker asks one, and the protocol that an adapter fulfils."""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Prompt:
    """One question to a model server.

    `messages` are chat messages (`role`, `content`), `schema` the JSON Schema that constrains the
    answer. `schema_key` is the same for equal schemas, so that an adapter may cache what it derives.
    """

    messages: list[dict[str, str]]
    schema: dict[str, Any]
    schema_key: str
    max_tokens: int
    model: str | None = None


@dataclass(frozen=True)
class Completion:
    """What a model server answered: raw text, why it ended (`stop`, `length`), and tokens used."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str


class Model(Protocol):
    """A model server. An adapter decides, once, whether what went wrong is worth another attempt."""

    async def complete(self, prompt: Prompt) -> Completion:
        """Answer the prompt under its schema, or raise `outlast.errors.ModelError`."""
        ...
