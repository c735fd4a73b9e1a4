"""Anthropic's Messages API, version 2026-10-21.

Sources: Anthropic's API reference of November 2026, the types of its Python SDK 2.14, and, for what models
refuse, the profiles of pydantic-ai 2.68.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from outlast.contracts.agents import Effort
from outlast.errors import ModelFailure
from outlast.model_server import Prompt, ServerFacts, ServerOptions
from outlast.turns import AnswerTurn, PromptResult, ResultsTurn, Turn, UserTurn
from outlast.weighed_cache import WeighedCache
from outlast_activities.constraints.api_dialects import ANTHROPIC
from outlast_activities.constraints.api_limits import optional_properties, unions
from outlast_activities.constraints.api_schemas import ApiSchema
from outlast_activities.providers.error_bodies import error_in
from outlast_activities.providers.hosted_answers import (
    HostedAnswer,
    StreamedCall,
    raise_stream_error,
)
from outlast_activities.providers.hosted_prompts import (
    SentSchemas,
    SentTool,
    Step,
    choice_of,
    notes_of,
    safe_id,
    sent_schemas,
    steps_of,
    strict_form,
)
from outlast_activities.providers.hosted_server import ApiRequest, HostedServer, PreparedPrompt
from outlast_activities.providers.streams import AnswerAborted
from outlast_activities.providers.token_counts import count_in

VERSION = "2026-10-21"
"""The version of the API. It has no sampling parameters."""

MAX_STRICT_SCHEMAS = 20
MAX_OPTIONAL_PROPERTIES = 24
MAX_UNIONS = 16
"""Limits over all strict schemas of one request, from Anthropic's guide to structured outputs."""

MAX_SCHEMAS_BYTES = 16_000_000
"""Converted schemas in the cache as JSON: those of an agent, for each set of tools that is allowed."""

MIN_THINKING_TOKENS = 1_024
"""The least `budget_tokens` of extended thinking."""

THINKING_TOKENS: Mapping[str, int] = {
    "minimal": 1_024,
    "low": 2_048,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 32_768,
}
"""The budget of an effort, for models that take one."""

_BUDGETED = re.compile(r"claude-(opus|sonnet|haiku)-4-5")
"""Models that think with a budget of tokens."""
_QUIET = re.compile(r"claude-(opus|sonnet|haiku)-4-[5-8]")
"""Models that do not think unless they are asked to."""
_NO_FORCE = re.compile(r"claude-((opus|sonnet)-5-5|(fable|mythos)-5-[12])")
"""Models that reject a forced choice of tools. For the others it ends thinking."""
_ALWAYS_THINKS = re.compile(r"claude-(opus-5-5|(fable|mythos)-5)")
"""Models whose thinking cannot be switched off."""
_BETWEEN_TOOLS = re.compile(r"claude-sonnet-5-5")
"""Models that call the absence of thinking `between_tools`."""
_HIGHEST_IS_HIGH = re.compile(r"claude-opus-4-5")
_HIGHEST_IS_MAX = re.compile(r"claude-(opus|sonnet)-4-6")


def connect(options: ServerOptions, facts: ServerFacts | None) -> HostedServer:
    """Return the adapter of a server."""
    return HostedServer(AnthropicMessages(), options, facts)


class AnthropicMessages:
    """Implements `HostedApi`."""

    name = "anthropic"
    key_header = "x-api-key"
    schemas = ANTHROPIC
    headers: Mapping[str, str] = {"anthropic-version": VERSION}

    def __init__(self) -> None:
        self._sent_schemas: WeighedCache[tuple[str, str], SentSchemas] = WeighedCache(
            max_bytes=MAX_SCHEMAS_BYTES
        )

    def prepare(self, prompt: Prompt, model: str, issuer: str) -> PreparedPrompt:
        """Return the request for a prompt. Raises `ModelError` if the API has no form for it."""
        sent = self._sent(prompt)
        body, prefix = _body(prompt, sent, model, issuer)
        body |= {"max_tokens": prompt.max_tokens, "stream": True}
        answer = MessagesAnswer(sent.restoration, prompt.text_bytes, prefix=prefix)
        return PreparedPrompt(ApiRequest("/messages", body), answer)

    def model_path(self, model: str) -> str:
        """Return the path of a model's description."""
        return f"/models/{model}"

    def facts(self, model: str, description: Mapping[str, Any]) -> ServerFacts:
        """Return the facts of a model, from its description by the service."""
        capabilities = description.get("capabilities") or {}
        structured = capabilities.get("structured_outputs", {}).get("supported", True)
        return ServerFacts(
            engine="anthropic",
            version=VERSION,
            model=str(description.get("id") or model),
            context_tokens=count_in(description.get("max_input_tokens")),
            constrained=True,
            ways=("native", "tools", "decision") if structured else ("tools",),
            supports_effort=capabilities.get("thinking", {}).get("supported", True),
            images=capabilities.get("image_input", {}).get("supported", False),
        )

    def count_request(self, prompt: Prompt, model: str, issuer: str) -> ApiRequest | None:
        """Return the request that counts the tokens of a prompt."""
        body, _ = _body(prompt, self._sent(prompt), model, issuer)
        body.pop("cache_control", None)
        return ApiRequest("/messages/count_tokens", body)

    def counted_tokens(self, body: Mapping[str, Any]) -> object:
        """Return the count in the answer to `count_request`."""
        return body.get("input_tokens")

    def _sent(self, prompt: Prompt) -> SentSchemas:
        key = (prompt.schema_key, prompt.way)

        def make() -> tuple[SentSchemas, int]:
            sent = sent_schemas(prompt, ANTHROPIC, _Budget().form)
            return sent, sent.size

        return self._sent_schemas.get_or_make(key, make)


@dataclass
class _Budget:
    """What is left of the limits over all strict schemas of a request. The answer is one of them."""

    schemas: int = MAX_STRICT_SCHEMAS
    optional: int = MAX_OPTIONAL_PROPERTIES
    unions: int = MAX_UNIONS

    def form(self, schema: dict[str, Any]) -> ApiSchema | None:
        """Return the strict form of a schema, or None if there is none within the limits."""
        form = strict_form(schema, ANTHROPIC)
        if form is None:
            return None
        optional, of_unions = optional_properties(form.schema), unions(form.schema)
        if self.schemas < 1 or optional > self.optional or of_unions > self.unions:
            return None
        self.schemas -= 1
        self.optional -= optional
        self.unions -= of_unions
        return form


def _body(prompt: Prompt, sent: SentSchemas, model: str, issuer: str) -> tuple[dict[str, Any], str]:
    """Return the body of a request, and the digest of the conversation that its answer continues."""
    if prompt.way == "decision":
        system, messages = _decision_messages(prompt)
    else:
        system, messages = prompt.instructions or "", []
    body: dict[str, Any] = {"model": model, "cache_control": {"type": "ephemeral"}}
    if system:
        body["system"] = system
    if sent.tools:
        body["tools"] = [_tool(tool) for tool in sent.tools]
    forces = _can_force(model, prompt.effort)
    conversation = _Conversation(issuer, sent.names)
    conversation.note([system, body.get("tools")])
    if prompt.way == "decision":
        conversation.messages = messages
    else:
        for turn in steps_of(prompt.turns):
            conversation.add(turn)
        for note in notes_of(prompt, sent, names_tools=True, forces=forces):
            conversation.say([{"type": "text", "text": note}])
        if sent.tools:
            body["tool_choice"] = _tool_choice(prompt, sent, forces=forces)
    body["messages"] = conversation.messages
    config: dict[str, Any] = {}
    if sent.answer_format is not None:
        config["format"] = {"type": "json_schema", "schema": sent.answer_format}
    body |= _thinking(model, prompt.effort, prompt.max_tokens, config)
    if config:
        body["output_config"] = config
    return body, conversation.digest()


def _decision_messages(prompt: Prompt) -> tuple[str, list[dict[str, Any]]]:
    messages = [dict(message) for message in prompt.messages]
    system = messages.pop(0)["content"] if messages and messages[0]["role"] == "system" else ""
    return system, messages


def _tool(tool: SentTool) -> dict[str, Any]:
    described = {"name": tool.name, "description": tool.description, "input_schema": tool.schema}
    return {**described, "strict": True} if tool.strict else described


def _can_force(model: str, effort: Effort | None) -> bool:
    """Return whether a call can be forced, without the end of thinking that was asked for."""
    if _NO_FORCE.match(model):
        return False
    is_quiet = _QUIET.match(model) is not None
    return effort == "none" or (is_quiet and effort is None)


def _tool_choice(prompt: Prompt, sent: SentSchemas, *, forces: bool) -> dict[str, Any]:
    choice = choice_of(prompt)
    if choice == "answer" and sent.answer_tool is None:
        return {"type": "none"}
    if choice == "answer" and forces:
        return {"type": "tool", "name": sent.answer_tool, "disable_parallel_tool_use": True}
    single = {"disable_parallel_tool_use": True} if prompt.max_calls == 1 else {}
    # With the tool for the answer among the tools, `any` would allow the answer too: the check rejects it.
    return {"type": "any" if choice == "call" and forces else "auto", **single}


def _thinking(
    model: str, effort: Effort | None, max_tokens: int, config: dict[str, Any]
) -> dict[str, Any]:
    """Return the field `thinking` for an effort, and add the effort to `config`."""
    if effort is None:
        return {}
    if effort == "none":
        if _ALWAYS_THINKS.match(model):
            config["effort"] = "low"
            return {}
        kind = "between_tools" if _BETWEEN_TOOLS.match(model) else "disabled"
        return {} if _BUDGETED.match(model) else {"thinking": {"type": kind}}
    if _BUDGETED.match(model):
        budget = min(THINKING_TOKENS[effort], max_tokens // 2)
        if budget < MIN_THINKING_TOKENS:
            return {}
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}
    config["effort"] = _effort(model, effort)
    return {"thinking": {"type": "adaptive"}}


def _effort(model: str, effort: Effort) -> str:
    if effort == "minimal":
        return "low"
    if effort == "xhigh" and _HIGHEST_IS_MAX.match(model):
        return "high"
    if effort in ("xhigh", "max") and _HIGHEST_IS_HIGH.match(model):
        return "high"
    return effort


class _Conversation:
    """The messages of a request. `issuer` is whose signatures may be sent back.

    Models bind their thoughts to all that is before them. So thoughts are sent back only if nothing of it
    changed since, which a digest of all blocks tells.
    """

    def __init__(self, issuer: str, names: Mapping[str, str]) -> None:
        self.messages: list[dict[str, Any]] = []
        self._issuer = issuer
        self._names = names
        self._hash = hashlib.sha256()

    def add(self, turn: Turn | Step) -> None:
        """Add a turn."""
        if isinstance(turn, Step):
            self._add_step(turn)
        elif isinstance(turn, UserTurn):
            self.say([{"type": "text", "text": turn.text or " "}])
        elif isinstance(turn, AnswerTurn):
            self._append("assistant", [{"type": "text", "text": turn.text}])
        elif isinstance(turn, ResultsTurn):
            for result in turn.results:
                self.say([{"type": "text", "text": f"{result.tool}: {result.content}"}])

    def say(self, blocks: list[dict[str, Any]]) -> None:
        """Add blocks of the user."""
        self._append("user", blocks)

    def digest(self) -> str:
        """Return the digest of the conversation so far."""
        return self._hash.hexdigest()[:32]

    def note(self, value: object) -> None:
        """Add a part of the conversation to its digest."""
        self._hash.update(json.dumps(value, sort_keys=True).encode())

    def _append(self, role: str, blocks: list[dict[str, Any]]) -> None:
        for block in blocks:
            self.note([role, block])
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": role, "content": blocks})

    def _add_step(self, step: Step) -> None:
        calls = step.turn.calls
        blocks = self._own_blocks(step)
        if blocks is None:
            ids = [safe_id(call.call_id) for call in calls]
            blocks = [
                {
                    "type": "tool_use",
                    "id": own,
                    "name": self._names.get(call.tool, call.tool),
                    "input": call.arguments,
                }
                for own, call in zip(ids, calls, strict=True)
            ]
        else:
            ids = [block["id"] for block in blocks if block.get("type") == "tool_use"]
        self._append("assistant", blocks)
        self.say([_result(own, result) for own, result in zip(ids, step.results, strict=True)])

    def _own_blocks(self, step: Step) -> list[dict[str, Any]] | None:
        """Return the blocks that the model itself wrote, if it is the same one and can read them."""
        opaque = step.turn.opaque
        if opaque is None or opaque.issuer != self._issuer:
            return None
        try:
            kept = json.loads(opaque.content)
            blocks: list[dict[str, Any]] = kept["blocks"]
            names = [block["name"] for block in blocks if block["type"] == "tool_use"]
            is_bound = kept["prefix"] == self.digest()
        except (ValueError, LookupError, TypeError):
            return None
        if len(names) != len(step.turn.calls):
            return None
        return blocks if is_bound else [b for b in blocks if b["type"] == "tool_use"]


def _result(own_id: str, result: PromptResult) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": own_id, "content": result.content}
    return {**block, "is_error": True} if result.is_error else block


@dataclass
class MessagesAnswer(HostedAnswer):
    """Reads the events of a stream of messages. `prefix` is the digest of what the answer continues."""

    prefix: str = ""
    blocks: list[dict[str, Any]] = field(default_factory=list)

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Add an event. Return its text. Raises `AnswerAborted` for an error."""
        self.is_reasoning = self.is_alive = False
        kind = chunk.get("type")
        if kind == "error" or (kind is None and error_in(chunk)):
            raise_stream_error(chunk.get("error") or chunk)
        if kind == "message_start":
            message = chunk.get("message") or {}
            self.model = str(message.get("model") or "")
            self._count(message.get("usage"))
        elif kind == "content_block_start":
            return self._start(dict(chunk.get("content_block") or {}))
        elif kind == "content_block_delta":
            return self._delta(chunk.get("delta") or {})
        elif kind == "message_delta":
            self._end(chunk.get("delta") or {})
            self._count(chunk.get("usage"))
        elif kind == "ping":
            self.is_alive = True
        return ""

    def opaque_content(self) -> str | None:
        """Return the blocks of the answer, if the API needs some of them back."""
        tool = self.restoration.answer_tool
        blocks = [dict(block) for block in self.blocks if block.get("name") != tool or not tool]
        calls = iter([call for call in self.calls if call.name != tool])
        for block in blocks:
            if block["type"] == "tool_use":
                block["input"] = _input_of(next(calls))
        kept = [b for b in blocks if b["type"] != "text" or b.get("text", "").strip()]
        if not any(block["type"] == "tool_use" for block in kept):
            return None
        return json.dumps({"prefix": self.prefix, "blocks": kept}, separators=(",", ":"))

    def _start(self, block: dict[str, Any]) -> str:
        self.is_alive = True
        kind = block.get("type")
        if kind == "tool_use":
            self.calls.append(StreamedCall(str(block.get("id")), str(block.get("name"))))
            block = {key: block[key] for key in ("type", "id", "name") if key in block}
        elif kind in ("thinking", "redacted_thinking"):
            self.note_thoughts(str(block.get("thinking") or ""))
        elif kind != "text":
            return ""
        self.blocks.append(block)
        text = block.get("text") if kind == "text" else ""
        if text:
            self.texts.append(text)
        return self.note_piece(text or "")

    def _delta(self, delta: Mapping[str, Any]) -> str:
        kind = delta.get("type")
        block = self.blocks[-1] if self.blocks else {}
        if kind == "text_delta":
            text = str(delta.get("text") or "")
            self.texts.append(text)
            block["text"] = block.get("text", "") + text
            return self.note_piece(text)
        if kind == "input_json_delta" and self.calls:
            text = str(delta.get("partial_json") or "")
            self.calls[-1].arguments += text
            return self.note_piece(text)
        if kind == "thinking_delta":
            text = str(delta.get("thinking") or "")
            block["thinking"] = block.get("thinking", "") + text
            self.note_thoughts(text)
        elif kind == "signature_delta":
            block["signature"] = block.get("signature", "") + str(delta.get("signature") or "")
            self.is_alive = True
        return ""

    def _end(self, delta: Mapping[str, Any]) -> None:
        reason = delta.get("stop_reason")
        if not reason:
            return
        self.finish_reason = str(reason)
        if reason == "refusal":
            details = delta.get("stop_details") or {}
            category = details.get("category") or "no category"
            self.refusal = ": ".join(filter(None, (category, details.get("explanation"))))
        if reason == "model_context_window_exceeded":
            raise AnswerAborted(
                "reached the end of the model's context", ModelFailure.CONTEXT_OVERFLOW
            )

    def _count(self, usage: object) -> None:
        """Add the counts of an event. The input is in three parts, and output counts are cumulative."""
        if not isinstance(usage, Mapping):
            return
        fresh = count_in(usage.get("input_tokens"))
        read = count_in(usage.get("cache_read_input_tokens"))
        written = count_in(usage.get("cache_creation_input_tokens"))
        if fresh is not None:
            self.counts["prompt_tokens"] = fresh + (read or 0) + (written or 0)
        details = usage.get("output_tokens_details")
        thoughts = (
            count_in(details.get("thinking_tokens")) if isinstance(details, Mapping) else None
        )
        counted = {
            "cached_prompt_tokens": read,
            "cache_write_tokens": written,
            "completion_tokens": count_in(usage.get("output_tokens")),
            "reasoning_tokens": thoughts,
        }
        self.counts |= {name: count for name, count in counted.items() if count is not None}


def _input_of(call: StreamedCall) -> Any:
    try:
        value = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
