"""What a scripted model says: scripts, each a function from a request to a step."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.minimal import Schema, minimal_instance, resolved


@dataclass(frozen=True)
class Request:
    """A chat completion as a client sent it; names of headers are in lower case."""

    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The chat messages."""
        messages: list[dict[str, Any]] = self.body.get("messages", [])
        return messages

    @property
    def assistant_messages(self) -> int:
        """How many turns of a run the model has already answered."""
        return sum(message.get("role") == "assistant" for message in self.messages)

    @property
    def schema(self) -> Schema | None:
        """The JSON Schema that constrains the answer, in either form in which servers take it."""
        structured = self.body.get("structured_outputs") or {}
        response_format = self.body.get("response_format") or {}
        schema: Any = structured.get("json")
        if schema is None:
            schema = response_format.get("json_schema", {}).get("schema")
        if isinstance(schema, str):
            schema = json.loads(schema)
        found: Schema | None = schema
        return found


@dataclass(frozen=True)
class Step:
    """One answer. With a `status` other than 200, `text` is the message of an error."""

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0
    finish_reason: str = "stop"
    refusal: str | None = None
    error_code: str | None = None


Script = Callable[[Request], Step]


def turns(count: int) -> Script:
    """Make a run take `count` turns: call the first tool until the last of them, then answer."""

    def script(request: Request) -> Step:
        if request.assistant_messages < count - 1:
            return _calling(request)
        return _answering(request)

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
            reason = f"the script has {len(self._steps)} steps, and step {self.taken} was asked for"
            return Step(reason, status=500)
        return self._steps[self.taken - 1]


def _calling(request: Request) -> Step:
    schema = request.schema
    branch = _branch(schema, "tool_calls")
    if schema is None or branch is None:
        return _answering(request)
    calls = branch["properties"]["tool_calls"]
    item = resolved(calls["items"], schema)
    first = item["anyOf"][0] if "anyOf" in item else item
    call = minimal_instance(first, schema)
    decision = minimal_instance(branch, schema)
    decision["tool_calls"] = [call] * max(1, calls.get("minItems", 1))
    return Step(json.dumps(decision, separators=(",", ":")))


def _answering(request: Request) -> Step:
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
