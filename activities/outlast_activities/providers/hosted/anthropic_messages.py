"""Anthropic's Messages API, version 2026-10-21.

Sources: Anthropic's API reference of November 2026, and the types of its Python SDK 2.14.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from outlast.errors import ModelFailure
from outlast.model_server import Prompt, ServerFacts, ServerOptions
from outlast_activities.constraints.api_dialects import ANTHROPIC, ANTHROPIC_LIMITS
from outlast_activities.constraints.api_limits import optional_properties, unions
from outlast_activities.constraints.api_schemas import ApiSchema
from outlast_activities.providers.error_bodies import error_in
from outlast_activities.providers.finish_reasons import finish_reason_in
from outlast_activities.providers.hosted.answers import (
    HostedAnswer,
    StreamedCall,
)
from outlast_activities.providers.hosted.anthropic_conversation import Conversation
from outlast_activities.providers.hosted.anthropic_models import can_force, thinking_fields
from outlast_activities.providers.hosted.prompts import (
    SchemaCache,
    SentSchemas,
    SentTool,
    choice_of,
    notes_of,
    steps_of,
    strict_form,
)
from outlast_activities.providers.hosted.server import ApiRequest, HostedServer, PreparedPrompt
from outlast_activities.providers.media_parts import MediaLimits
from outlast_activities.providers.streams import AnswerAborted, raise_error
from outlast_activities.providers.token_counts import count_in

VERSION = "2026-10-21"
"""The version of the API. It has no sampling parameters."""


MEDIA = MediaLimits(max_parts=100, max_part_bytes=7_500_000, max_total_bytes=23_000_000)
"""Anthropic's limits: 10 MB an image and 32 MB a request in base64, 100 images with a small context."""


def connect(options: ServerOptions, facts: ServerFacts | None) -> HostedServer:
    """Return the adapter of a server."""
    return HostedServer(AnthropicMessages(), options, facts)


class AnthropicMessages:
    """Implements `HostedApi`."""

    name = "anthropic"
    key_header = "x-api-key"
    url_end = "/v1"
    schemas = ANTHROPIC
    media = MEDIA
    headers: Mapping[str, str] = {"anthropic-version": VERSION}

    def __init__(self) -> None:
        self._schemas = SchemaCache()

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
            files=capabilities.get("pdf_input", {}).get("supported", False),
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
        return self._schemas.get(prompt, ANTHROPIC, _Budget().form)


@dataclass
class _Budget:
    """What is left of the limits over all strict schemas of a request. The answer is one of them."""

    schemas: int = ANTHROPIC_LIMITS.schemas
    optional: int = ANTHROPIC_LIMITS.optional_properties
    unions: int = ANTHROPIC_LIMITS.unions

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
    body: dict[str, Any] = {"model": model, "cache_control": {"type": "ephemeral"}}
    if sent.tools:
        body["tools"] = [_tool(tool) for tool in sent.tools]
    forces = can_force(model, prompt.effort)
    conversation = Conversation(issuer, sent.names, prompt.media)
    if prompt.way == "decision":
        system = _add_decisions(conversation, prompt)
    else:
        system = prompt.instructions or ""
        conversation.note([system, body.get("tools")])
        for turn in steps_of(prompt.turns):
            conversation.add(turn)
        for note in notes_of(prompt, sent, names_tools=True, forces=forces):
            conversation.say([{"type": "text", "text": note}])
        if sent.tools:
            body["tool_choice"] = _tool_choice(prompt, sent, forces=forces)
    if system:
        body["system"] = system
    body["messages"] = conversation.messages
    config: dict[str, Any] = {}
    if sent.answer_format is not None:
        config["format"] = {"type": "json_schema", "schema": sent.answer_format}
    body |= thinking_fields(model, prompt.effort, prompt.max_tokens, config)
    if config:
        body["output_config"] = config
    return body, conversation.digest()


def _add_decisions(conversation: Conversation, prompt: Prompt) -> str:
    """Add the messages of the way `decision`, and return the text of the system."""
    system = ""
    for message in prompt.messages:
        if message["role"] == "system":
            system = message["content"]
        else:
            conversation.add_text(message["role"], message["content"])
    return system


def _tool(tool: SentTool) -> dict[str, Any]:
    described = {"name": tool.name, "description": tool.description, "input_schema": tool.schema}
    return {**described, "strict": True} if tool.strict else described


def _tool_choice(prompt: Prompt, sent: SentSchemas, *, forces: bool) -> dict[str, Any]:
    choice = choice_of(prompt)
    if choice == "answer" and sent.answer_tool is None:
        return {"type": "none"}
    if choice == "answer" and forces:
        return {"type": "tool", "name": sent.answer_tool, "disable_parallel_tool_use": True}
    single = {"disable_parallel_tool_use": True} if prompt.max_calls == 1 else {}
    # With the tool for the answer among the tools, `any` would allow the answer too: the check rejects it.
    return {"type": "any" if choice == "call" and forces else "auto", **single}


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
            raise_error(chunk.get("error") or chunk)
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
        self.note_kept(block)
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
            signature = str(delta.get("signature") or "")
            block["signature"] = block.get("signature", "") + signature
            self.note_kept(signature)
            self.is_alive = True
        return ""

    def _end(self, delta: Mapping[str, Any]) -> None:
        reason = finish_reason_in(delta.get("stop_reason"))
        if reason is None:
            return
        self.finish_reason = reason
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
