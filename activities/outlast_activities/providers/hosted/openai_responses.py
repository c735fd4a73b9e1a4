"""OpenAI's Responses API, without state at the service. Azure serves it too.

Sources: the types of `openai` 3.57, OpenAI's guides to structured outputs, function calling and reasoning
of November 2026, and, for the efforts of models, the profiles of pydantic-ai 2.68.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from outlast.contracts.agents import Effort
from outlast.model_server import Prompt, ServerFacts, ServerOptions
from outlast.turns import AnswerTurn, CallsTurn, MediaPart, Turn, UserTurn
from outlast_activities.constraints.api_dialects import OPENAI
from outlast_activities.providers.finish_reasons import finish_reason_in
from outlast_activities.providers.hosted.answers import (
    HostedAnswer,
    StreamedCall,
)
from outlast_activities.providers.hosted.prompts import (
    SchemaCache,
    SentSchemas,
    SentTool,
    Step,
    choice_of,
    notes_of,
    safe_id,
    steps_of,
)
from outlast_activities.providers.hosted.server import ApiRequest, HostedServer, PreparedPrompt
from outlast_activities.providers.media_parts import MediaLimits, PartSplitter
from outlast_activities.providers.streams import raise_error
from outlast_activities.providers.token_counts import count_in

AZURE = ".azure.com"
"""The end of the host of an Azure resource."""

MIN_OUTPUT_TOKENS = 16
"""The least `max_output_tokens` that the service accepts."""

EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_MODELS: tuple[tuple[str, tuple[Effort, ...]], ...] = (
    (r"gpt-(3|4)|chatgpt-4|gpt-5-chat", ()),
    (r"gpt-5-pro", ("high",)),
    (r"gpt-5\.\d-pro", ("medium", "high", "xhigh")),
    (r"gpt-5\.\d-chat", ("medium",)),
    (r"gpt-5(-|$)", ("minimal", "low", "medium", "high")),
    (r"gpt-5\.1", ("none", "low", "medium", "high")),
    (r"gpt-5\.[2-5]", ("none", "low", "medium", "high", "xhigh")),
    (r"gpt-6-astra|gpt-6\.1-sol", ("low", "medium", "high", "xhigh", "max")),
    (r"gpt-5\.6|gpt-6", ("none", "low", "medium", "high", "xhigh", "max")),
    (r"", ("low", "medium", "high")),
)
"""The efforts of models by the beginning of their names, as of 2026-10. Without any they do not reason."""

TEXT = ("response.output_text.delta", "response.function_call_arguments.delta")
THOUGHTS = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
ENDS = ("response.completed", "response.incomplete", "response.failed")


MEDIA = MediaLimits(max_parts=500, max_part_bytes=20_000_000, max_total_bytes=50_000_000)
"""OpenAI's limits until 2026-04; newer ones are larger."""


def connect(options: ServerOptions, facts: ServerFacts | None) -> HostedServer:
    """Return the adapter of a server."""
    return HostedServer(OpenAIResponses(options.url), options, facts)


class OpenAIResponses:
    """Implements `HostedApi`.

    Azure does not describe deployments, by whose names models are called there: it only lists models.
    """

    name = "openai-responses"
    key_header = "authorization"
    url_end = "/v1"
    schemas = OPENAI
    media = MEDIA
    headers: Mapping[str, str] = {}

    def __init__(self, url: str) -> None:
        self._is_azure = str(urlsplit(url).hostname).endswith(AZURE)
        self._schemas = SchemaCache()

    def prepare(self, prompt: Prompt, model: str, issuer: str) -> PreparedPrompt:
        """Return the request for a prompt. Raises `ModelError` if the API has no form for it."""
        sent = self._sent(prompt)
        body = _body(prompt, sent, model, issuer)
        body |= {
            "max_output_tokens": max(prompt.max_tokens, MIN_OUTPUT_TOKENS),
            "stream": True,
            "stream_options": {"include_obfuscation": False},
            "store": False,
        }
        if _efforts(model):
            body["include"] = ["reasoning.encrypted_content"]
        if prompt.session:
            # It sends the prompts of a run to the same cache.
            body["prompt_cache_key"] = hashlib.sha256(prompt.session.encode()).hexdigest()[:32]
        answer = ResponsesAnswer(sent.restoration, prompt.text_bytes)
        return PreparedPrompt(ApiRequest("/responses", body), answer)

    def model_path(self, model: str) -> str:
        """Return the path of a model's description."""
        return "/models" if self._is_azure else f"/models/{quote(model, safe='')}"

    def facts(self, model: str, description: Mapping[str, Any]) -> ServerFacts:
        """Return the facts of a model. The service describes its name alone."""
        return ServerFacts(
            engine="openai",
            version=None,
            model=str(description.get("id") or model),
            context_tokens=None,
            constrained=True,
            ways=("native", "tools", "decision"),
            supports_effort=bool(_efforts(model)),
            images=True,
            files=True,
        )

    def count_request(self, prompt: Prompt, model: str, issuer: str) -> ApiRequest | None:
        """Return the request that counts the tokens of a prompt."""
        return ApiRequest(
            "/responses/input_tokens", _body(prompt, self._sent(prompt), model, issuer)
        )

    def counted_tokens(self, body: Mapping[str, Any]) -> object:
        """Return the count in the answer to `count_request`."""
        return body.get("input_tokens")

    def _sent(self, prompt: Prompt) -> SentSchemas:
        return self._schemas.get(prompt, OPENAI)


def _efforts(model: str) -> tuple[Effort, ...]:
    return next(efforts for pattern, efforts in _MODELS if re.match(pattern, model))


def nearest_effort(effort: Effort, accepted: tuple[Effort, ...]) -> Effort:
    """Return the accepted effort that is nearest to the requested one."""
    wanted = EFFORTS.index(effort)
    return min(accepted, key=lambda other: abs(EFFORTS.index(other) - wanted))


def _body(prompt: Prompt, sent: SentSchemas, model: str, issuer: str) -> dict[str, Any]:
    """Return the fields of a request that also count as its prompt."""
    items: list[dict[str, Any]] = []
    splitter = PartSplitter(prompt.media)
    body: dict[str, Any] = {"model": model, "input": items}
    if prompt.way == "decision":
        for message in prompt.messages:
            role, text = message["role"], message["content"]
            content = _content(text, splitter) if role == "user" else text
            items.append({"role": role, "content": content})
    else:
        body["instructions"] = prompt.instructions or ""
        for turn in steps_of(prompt.turns):
            items += _items(turn, sent, issuer, splitter)
        items += [
            {"role": "developer", "content": note}
            for note in notes_of(prompt, sent, names_tools=False, forces=True)
        ]
    if sent.tools:
        body["tools"] = [_tool(tool) for tool in sent.tools]
        body["tool_choice"] = _tool_choice(prompt, sent)
        body["parallel_tool_calls"] = prompt.max_calls != 1
    if sent.answer_format is not None:
        form = {"type": "json_schema", "name": "decision", "strict": True}
        body["text"] = {"format": {**form, "schema": sent.answer_format}}
    accepted = _efforts(model)
    if prompt.effort is not None and accepted:
        body["reasoning"] = {"effort": nearest_effort(prompt.effort, accepted)}
    return body


def _tool(tool: SentTool) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.schema,
        "strict": tool.strict,
    }


def _tool_choice(prompt: Prompt, sent: SentSchemas) -> str | dict[str, Any]:
    choice = choice_of(prompt)
    if choice == "answer":
        return {"type": "function", "name": sent.answer_tool} if sent.answer_tool else "none"
    names = [sent.names[tool.name] for tool in prompt.allowed_tools]
    if choice == "auto" and sent.answer_tool:
        names.append(sent.answer_tool)
    mode = "required" if choice == "call" or sent.answer_tool else "auto"
    if len(names) == len(sent.tools):
        return mode
    listed = [{"type": "function", "name": name} for name in names]
    return {"type": "allowed_tools", "mode": mode, "tools": listed}


def _content(text: str, splitter: PartSplitter) -> str | list[dict[str, Any]]:
    """Return a text, as parts if it is the first to name images or files."""
    parts = splitter.split(text)
    if len(parts) == 1:
        return text
    return [
        {"type": "input_text", "text": part} if isinstance(part, str) else _media(part)
        for part in parts
    ]


def _media(part: MediaPart) -> dict[str, Any]:
    if part.is_image:
        return {"type": "input_image", "image_url": part.any_url, "detail": "auto"}
    if part.url:
        return {"type": "input_file", "file_url": part.url}
    name = part.name or "file.pdf"
    return {"type": "input_file", "filename": name, "file_data": part.any_url}


def _items(
    turn: Turn | Step, sent: SentSchemas, issuer: str, splitter: PartSplitter
) -> list[dict[str, Any]]:
    """Return the items of a turn."""
    if isinstance(turn, Step):
        return _step_items(turn, sent, issuer, splitter)
    if isinstance(turn, UserTurn):
        return [{"role": "user", "content": _content(turn.text, splitter)}]
    if isinstance(turn, AnswerTurn | CallsTurn):
        return [{"role": "assistant", "content": turn.text}]
    contents = [_content(f"{r.tool}: {r.content}", splitter) for r in turn.results]
    return [{"role": "user", "content": content} for content in contents]


def _step_items(
    step: Step, sent: SentSchemas, issuer: str, splitter: PartSplitter
) -> list[dict[str, Any]]:
    calls = step.turn.calls
    items = _own_items(step, issuer)
    if items is None:
        items = [
            {
                "type": "function_call",
                "call_id": safe_id(call.call_id),
                "name": sent.names.get(call.tool, call.tool),
                "arguments": json.dumps(call.arguments),
            }
            for call in calls
        ]
    ids = [item["call_id"] for item in items if item["type"] == "function_call"]
    results = [
        {
            "type": "function_call_output",
            "call_id": own,
            "output": _content(result.content, splitter),
        }
        for own, result in zip(ids, step.results, strict=True)
    ]
    return [*items, *results]


def _own_items(step: Step, issuer: str) -> list[dict[str, Any]] | None:
    """Return the items that the model itself wrote, if it is the same one and can read them."""
    opaque = step.turn.opaque
    if opaque is None or opaque.issuer != issuer:
        return None
    try:
        items: list[dict[str, Any]] = json.loads(opaque.content)
        calls = [item["call_id"] for item in items if item["type"] == "function_call"]
    except (ValueError, LookupError, TypeError):
        return None
    return items if len(calls) == len(step.turn.calls) else None


@dataclass
class ResponsesAnswer(HostedAnswer):
    """Reads the events of a stream of a response. `items` are its complete output."""

    items: list[dict[str, Any]] = field(default_factory=list)
    _by_index: dict[object, StreamedCall] = field(default_factory=dict)

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Add an event. Return its text. Raises `AnswerAborted` for an error."""
        self.is_reasoning = self.is_alive = False
        kind = str(chunk.get("type") or "")
        if kind == "error" or "error" in chunk:
            raise_error(chunk.get("error") or chunk)
        if kind == "response.output_item.added":
            self._start(chunk.get("item") or {}, chunk.get("output_index"))
        elif kind in TEXT:
            return self._text(chunk, str(chunk.get("delta") or ""))
        elif kind in THOUGHTS:
            self.note_thoughts(str(chunk.get("delta") or ""))
        elif kind == "response.refusal.delta":
            self.note_refusal(str(chunk.get("delta") or ""))
        elif kind == "response.output_item.done":
            self._done(dict(chunk.get("item") or {}))
        elif kind in ENDS:
            self._end(chunk.get("response") or {})
        self.is_alive = not self.is_reasoning
        return ""

    def opaque_content(self) -> str | None:
        """Return the items of the answer, but those of the tool for the answer."""
        kept: list[dict[str, Any]] = []
        pending: list[dict[str, Any]] = []
        for item in self.items:
            if item["type"] == "reasoning":
                pending = [item]  # the service rejects it without the item that follows
            elif item.get("name") and item.get("name") == self.restoration.answer_tool:
                pending = []
            else:
                kept += [*pending, item]
                pending = []
        if not any(item["type"] == "function_call" for item in kept):
            return None
        return json.dumps(kept, separators=(",", ":"))

    def _start(self, item: Mapping[str, Any], index: object) -> None:
        if item.get("type") == "function_call":
            call = StreamedCall(str(item.get("call_id")), str(item.get("name")))
            self.calls.append(call)
            self.note_kept(call.name)
            self._by_index[index] = call

    def _text(self, chunk: Mapping[str, Any], piece: str) -> str:
        if chunk["type"] == TEXT[0]:
            self.texts.append(piece)
        elif call := self._by_index.get(chunk.get("output_index")):
            call.arguments += piece
        return self.note_piece(piece)

    def _done(self, item: dict[str, Any]) -> None:
        kind = item.get("type")
        if kind == "reasoning":
            self.reasoning_pieces += 1
        if kind in ("reasoning", "function_call", "message"):
            self.items.append(item)
            self.note_kept(item)
        if kind == "message" and item.get("phase") == "commentary":
            self.texts.clear()  # a preamble is no part of the answer

    def _end(self, response: Mapping[str, Any]) -> None:
        self.model = str(response.get("model") or "")
        self._count(response.get("usage"))
        if response.get("error"):
            raise_error(response["error"])
        details = response.get("incomplete_details") or {}
        reason = details.get("reason") or response.get("status")
        self.finish_reason = finish_reason_in(reason) or "completed"

    def _count(self, usage: object) -> None:
        if not isinstance(usage, Mapping):
            return
        sent, made = usage.get("input_tokens_details"), usage.get("output_tokens_details")
        counted = {
            "prompt_tokens": count_in(usage.get("input_tokens")),
            "cached_prompt_tokens": count_in((sent or {}).get("cached_tokens")),
            "cache_write_tokens": count_in((sent or {}).get("cache_write_tokens")),
            "completion_tokens": count_in(usage.get("output_tokens")),
            "reasoning_tokens": count_in((made or {}).get("reasoning_tokens")),
        }
        self.counts |= {name: count for name, count in counted.items() if count is not None}
