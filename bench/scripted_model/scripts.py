"""What a scripted model says: scripts, each a function from a request to a step."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Literal

from bench.scripted_model.minimal import Schema, minimal_instance, resolved

CHARACTERS_A_TOKEN = 4

Constraint = Literal["structured_outputs", "response_format", "grammar"]
"""The fields of a request that may hold the JSON Schema of its answer."""

_GRAMMAR = "%json "
"""What stands before the JSON Schema in a grammar of llguidance, which llama.cpp takes."""


@dataclass
class Generation:
    """What was generated for one request so far: what a provider would bill.

    `prompt_tokens` is 0 until the first token of the answer, for until then nothing was computed.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    sent_pieces: int = 0
    state: Literal["refused", "running", "finished", "broken", "abandoned"] = "refused"


@dataclass(frozen=True)
class Request:
    """A chat completion as a client sent it; names of headers are in lower case.

    `taken` are the fields of a constraint that the server knows, `generation` what came of it.
    """

    headers: Mapping[str, str]
    body: Mapping[str, Any]
    taken: frozenset[Constraint] = frozenset(("structured_outputs", "response_format"))
    generation: Generation = field(default_factory=Generation, compare=False)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The chat messages."""
        messages: list[dict[str, Any]] = self.body.get("messages", [])
        return messages

    @property
    def prompt_tokens(self) -> int:
        """The tokens of the messages, as this server counts."""
        return tokens_of(prompt_of(self.messages))

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of the answer, None without a bound."""
        most: int | None = self.body.get("max_completion_tokens")
        return self.body.get("max_tokens") if most is None else most

    @property
    def assistant_messages(self) -> int:
        """How many turns of a run the model has already answered."""
        return sum(message.get("role") == "assistant" for message in self.messages)

    @property
    def is_probe(self) -> bool:
        """Whether a worker asks if constraints hold: it is answered beside the script."""
        tools: Any = self.body.get("tools") or ()
        asks_for_call = any(tool["function"]["name"] == "look_up_word" for tool in tools)
        return asks_for_call or "probe" in (self.schema or {}).get("properties", {})

    @property
    def schema(self) -> Schema | None:
        """The JSON Schema that constrains the answer, in any form that the server takes."""
        schema: Any = None
        if "structured_outputs" in self.taken:
            schema = (self.body.get("structured_outputs") or {}).get("json")
        if schema is None and "response_format" in self.taken:
            format_ = self.body.get("response_format") or {}
            schema = format_.get("json_schema", {}).get("schema")
        if schema is None and "grammar" in self.taken:
            schema = (self.body.get("grammar") or "").partition(_GRAMMAR)[2] or None
        if isinstance(schema, str):
            schema = json.loads(schema)
        found: Schema | None = schema
        return found


def prompt_of(messages: list[dict[str, Any]]) -> str:
    """Return messages as the model sees them: this one has no template."""
    return "".join(message.get("content") or "" for message in messages)


def tokens_of(text: str) -> int:
    """Return how many tokens a text has."""
    return len(text) // CHARACTERS_A_TOKEN


def pieces_of(text: str) -> tuple[str, ...]:
    """Return a text as pieces of one token each."""
    starts = range(0, len(text), CHARACTERS_A_TOKEN)
    return tuple(text[start : start + CHARACTERS_A_TOKEN] for start in starts)


@dataclass(frozen=True)
class Step:
    """One answer. With a `status` other than 200, `text` is the message of an error.

    `pieces` are the completion token by token, `gap_s` apart; `max_tokens` of the request cuts them,
    as it cuts pieces that are repeated for ever (`repeats`). After `stalls_after` pieces nothing more
    is sent; after `breaks_after` the connection ends in mid-answer. `error_in_stream` is the `error`
    object that comes instead of the end of a stream. `usage` goes over what is counted. `raw` is a
    body that is no answer at all, of `content_type`. `delay_s` is the time to the first token.
    """

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0
    finish_reason: str = "stop"
    refusal: str | None = None
    error_code: str | None = None
    pieces: tuple[str, ...] | None = None
    gap_s: float = 0
    stalls_after: int | None = None
    breaks_after: int | None = None
    repeats: bool = False
    usage: Mapping[str, Any] | None = None
    raw: str | None = None
    content_type: str = "text/html"
    error_in_stream: Mapping[str, Any] | None = None

    @property
    def is_error(self) -> bool:
        """Whether it is answered with something else than a completion."""
        return self.status != HTTPStatus.OK or self.raw is not None


Script = Callable[[Request], Step]


def turns(count: int, *, model_s: float = 0) -> Script:
    """Make a run take `count` turns of `model_s`: call the first tool until the last, then answer."""

    def script(request: Request) -> Step:
        is_last = request.assistant_messages >= count - 1
        step = answering(request) if is_last else _calling(request)
        return replace(step, delay_s=model_s)

    return script


def always_tool(request: Request) -> Step:
    """Want another tool call; answer only when the schema admits nothing else."""
    return _calling(request)


class Steps:
    """Say exactly these texts, one a request; HTTP 500 once they have run out."""

    def __init__(self, *steps: str | Step) -> None:
        self._steps = [Step(step) if isinstance(step, str) else step for step in steps]
        self.taken = 0

    def __call__(self, _request: Request) -> Step:
        """Take the next step."""
        self.taken += 1
        if self.taken > len(self._steps):
            reason = f"the script has {len(self._steps)} steps, and step {self.taken} was requested"
            return Step(reason, status=500)
        return self._steps[self.taken - 1]


def _calling(request: Request) -> Step:
    schema = request.schema
    branch = _branch(schema, "tool_calls")
    if schema is None or branch is None:
        return answering(request)
    calls = branch["properties"]["tool_calls"]
    item = resolved(calls["items"], schema)
    first = item["anyOf"][0] if "anyOf" in item else item
    call = minimal_instance(first, schema)
    decision = minimal_instance(branch, schema)
    decision["tool_calls"] = [call] * max(1, calls.get("minItems", 1))
    return Step(json.dumps(decision, separators=(",", ":")))


def answering(request: Request) -> Step:
    """Answer with the smallest instance of what the schema admits as an answer."""
    schema = request.schema
    if schema is None:
        return Step("ok")
    wanted = _branch(schema, "answer") or schema
    return Step(json.dumps(minimal_instance(wanted, schema), separators=(",", ":")))


def _branch(schema: Schema | None, name: str) -> Schema | None:
    """Return the object of a decision schema that has the property `name`, if it admits one."""
    if schema is None:
        return None
    for option in schema.get("anyOf", [schema]):
        node = resolved(option, schema)
        if name in node.get("properties", {}):
            return node
    return None
