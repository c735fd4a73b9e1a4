"""Google's Gemini API (`generateContent`). Vertex AI has the same form.

Sources: the types of `google-genai` 3.6, Google's guides to function calling, structured output and thought
signatures of November 2026, and, for the thinking levels of models, the profiles of pydantic-ai 2.68.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from outlast.contracts.agents import Effort
from outlast.errors import ModelFailure
from outlast.model_server import Prompt, ServerFacts, ServerOptions
from outlast.turns import AnswerTurn, CallsTurn, MediaPart, PromptResult, Turn, UserTurn
from outlast_activities.constraints.api_dialects import GEMINI
from outlast_activities.providers.finish_reasons import finish_reason_in
from outlast_activities.providers.hosted.answers import (
    HostedAnswer,
    StreamedCall,
)
from outlast_activities.providers.hosted.prompts import (
    SchemaCache,
    SentSchemas,
    Step,
    choice_of,
    notes_of,
    safe_id,
    steps_of,
)
from outlast_activities.providers.hosted.server import ApiRequest, HostedServer, PreparedPrompt
from outlast_activities.providers.media_parts import MediaLimits, PartSplitter
from outlast_activities.providers.server_rules import gemini_ways, is_before_3
from outlast_activities.providers.streams import AnswerAborted, raise_error
from outlast_activities.providers.token_counts import count_in

NO_SIGNATURE = base64.b64encode(b"skip_thought_signature_validator").decode()
"""Google's documented signature for a call that another model made."""

THINKING_TOKENS: Mapping[Effort, int] = {
    "none": 0,
    "minimal": 512,
    "low": 2_048,
    "medium": 8_192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
"""The `thinkingBudget` of an effort, for models before Gemini 3."""

MIN_PRO_THINKING_TOKENS = 128
"""The least `thinkingBudget` of Gemini 2.5 Pro, which cannot stop thinking."""

_NO_MINIMAL = re.compile(r"gemini-(3\.1-pro|3\.[78]-flash|4-(argon|carbon))")
_LOW_OR_HIGH = re.compile(r"gemini-3-pro")

_WRONG_CALLS = frozenset(
    ("malformed_function_call", "unexpected_tool_call", "too_many_tool_calls", "malformed_response")
)
"""Ends of an answer in which the model wrote no valid call: the prompt is repeated."""


MEDIA = MediaLimits(max_parts=3_000, max_part_bytes=14_000_000, max_total_bytes=14_000_000)
"""Google's limits: 20 MB of inline data in base64 in a request."""


def connect(options: ServerOptions, facts: ServerFacts | None) -> HostedServer:
    """Return the adapter of a server."""
    return HostedServer(Gemini(), options, facts)


class Gemini:
    """Implements `HostedApi`."""

    name = "gemini"
    key_header = "x-goog-api-key"
    url_end = "/v1beta"
    schemas = GEMINI
    media = MEDIA
    headers: Mapping[str, str] = {}

    def __init__(self) -> None:
        self._schemas = SchemaCache()

    def prepare(self, prompt: Prompt, model: str, issuer: str) -> PreparedPrompt:
        """Return the request for a prompt. Raises `ModelError` if the API has no form for it."""
        sent = self._sent(prompt)
        body = _body(prompt, sent, model, issuer)
        answer = GeminiAnswer(sent.restoration, prompt.text_bytes)
        path = f"{self.model_path(model)}:streamGenerateContent?alt=sse"
        return PreparedPrompt(ApiRequest(path, body), answer)

    def model_path(self, model: str) -> str:
        """Return the path of a model's description."""
        return f"/models/{quote(model.removeprefix('models/'), safe='')}"

    def facts(self, model: str, description: Mapping[str, Any]) -> ServerFacts:
        """Return the facts of a model, from its description by the service."""
        version = description.get("version")
        return ServerFacts(
            engine="gemini",
            version=str(version) if version else None,
            model=str(description.get("name") or model).removeprefix("models/"),
            context_tokens=count_in(description.get("inputTokenLimit")),
            constrained=True,
            ways=gemini_ways(model),
            supports_effort=bool(description.get("thinking", True)),
            images=True,
            files=True,
        )

    def count_request(self, prompt: Prompt, model: str, issuer: str) -> ApiRequest | None:
        """Return the request that counts the tokens of a prompt."""
        body = _body(prompt, self._sent(prompt), model, issuer)
        counted = {"generateContentRequest": {"model": self.model_path(model)[1:], **body}}
        return ApiRequest(f"{self.model_path(model)}:countTokens", counted)

    def counted_tokens(self, body: Mapping[str, Any]) -> object:
        """Return the count in the answer to `count_request`."""
        return body.get("totalTokens")

    def _sent(self, prompt: Prompt) -> SentSchemas:
        return self._schemas.get(prompt, GEMINI)


def _body(prompt: Prompt, sent: SentSchemas, model: str, issuer: str) -> dict[str, Any]:
    contents: list[dict[str, Any]] = []
    splitter = PartSplitter(prompt.media)
    system = prompt.instructions
    if prompt.way == "decision":
        messages = list(prompt.messages)
        system = messages.pop(0)["content"] if messages[0]["role"] == "system" else None
        roles = {"assistant": "model"}
        for message in messages:
            role, text = roles.get(message["role"], "user"), message["content"]
            contents.append(_user(text, splitter) if role == "user" else _content(role, text))
    else:
        for turn in steps_of(prompt.turns):
            contents += _contents(turn, sent, issuer, splitter, nests=not is_before_3(model))
        notes = notes_of(prompt, sent, names_tools=False, forces=True)
        contents += [_content("user", note) for note in notes]
    generation: dict[str, Any] = {"maxOutputTokens": prompt.max_tokens}
    if sent.answer_format is not None:
        generation["responseMimeType"] = "application/json"
        generation["responseJsonSchema"] = sent.answer_format
    if prompt.effort is not None:
        generation["thinkingConfig"] = thinking_config(model, prompt.effort)
    body: dict[str, Any] = {"contents": contents, "generationConfig": generation}
    if system:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    if sent.tools:
        declared = [
            {"name": t.name, "description": t.description, "parametersJsonSchema": t.schema}
            for t in sent.tools
        ]
        body["tools"] = [{"functionDeclarations": declared}]
        body["toolConfig"] = {"functionCallingConfig": _calling(prompt, sent)}
    return body


def _calling(prompt: Prompt, sent: SentSchemas) -> dict[str, Any]:
    choice = choice_of(prompt)
    if choice == "answer":
        if sent.answer_tool is None:
            return {"mode": "NONE"}
        return {"mode": "ANY", "allowedFunctionNames": [sent.answer_tool]}
    names = [sent.names[tool.name] for tool in prompt.allowed_tools]
    if choice == "auto" and sent.answer_tool:
        names.append(sent.answer_tool)
    mode = "ANY" if choice == "call" or sent.answer_tool else "VALIDATED"
    if len(names) == len(sent.tools):
        return {"mode": mode}
    return {"mode": mode, "allowedFunctionNames": names}


def thinking_config(model: str, effort: Effort) -> dict[str, Any]:
    """Return the field `thinkingConfig` for an effort. No model of Gemini 3 can stop thinking."""
    if is_before_3(model):
        least = MIN_PRO_THINKING_TOKENS if "-pro" in model else 0
        return {"thinkingBudget": max(THINKING_TOKENS[effort], least)}
    level = {"none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM"}.get(
        effort, "HIGH"
    )
    if level == "MINIMAL" and (_NO_MINIMAL.match(model) or _LOW_OR_HIGH.match(model)):
        level = "LOW"
    if level == "MEDIUM" and _LOW_OR_HIGH.match(model):
        level = "HIGH"
    return {"thinkingLevel": level}


def _content(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


def _user(text: str, splitter: PartSplitter) -> dict[str, Any]:
    """Return a text of the user, with the images and files that it is the first to name."""
    parts = [
        {"text": part} if isinstance(part, str) else _media(part) for part in splitter.split(text)
    ]
    return {"role": "user", "parts": parts}


def _media(part: MediaPart) -> dict[str, Any]:
    if part.url:
        return {"fileData": {"fileUri": part.url, "mimeType": part.media_type}}
    return {"inlineData": {"mimeType": part.media_type, "data": part.base64}}


def _contents(
    turn: Turn | Step, sent: SentSchemas, issuer: str, splitter: PartSplitter, *, nests: bool
) -> list[dict[str, Any]]:
    """Return a turn as contents. With `nests`, images of a result are a part of it."""
    if isinstance(turn, Step):
        return _step_contents(turn, sent, issuer, splitter, nests=nests)
    if isinstance(turn, UserTurn):
        return [_user(turn.text, splitter)]
    if isinstance(turn, AnswerTurn | CallsTurn):
        return [_content("model", turn.text)]
    return [_user(f"{r.tool}: {r.content}", splitter) for r in turn.results]


def _step_contents(
    step: Step, sent: SentSchemas, issuer: str, splitter: PartSplitter, *, nests: bool
) -> list[dict[str, Any]]:
    parts = _own_parts(step, issuer)
    if parts is None:
        made: list[dict[str, Any]] = [
            {
                "functionCall": {
                    "id": safe_id(call.call_id),
                    "name": sent.names.get(call.tool, call.tool),
                    "args": call.arguments,
                }
            }
            for call in step.turn.calls
        ]
        made[0]["thoughtSignature"] = NO_SIGNATURE
        parts = made
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    results: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []
    for call, result in zip(calls, step.results, strict=True):
        media = [p for p in splitter.split(result.content) if isinstance(p, MediaPart)]
        response = _response(call, result)
        if nests and media:
            response["parts"] = [_media(part) for part in media]
        else:
            beside += [_media(part) for part in media]
        results.append({"functionResponse": response})
    return [{"role": "model", "parts": parts}, {"role": "user", "parts": [*results, *beside]}]


def _response(call: Mapping[str, Any], result: PromptResult) -> dict[str, Any]:
    try:
        value = json.loads(result.content)
    except (ValueError, RecursionError):
        value = result.content
    key = "error" if result.is_error else "result"
    response = {"name": call["name"], "response": {key: value}}
    return {"id": call["id"], **response} if call.get("id") else response


def _own_parts(step: Step, issuer: str) -> list[dict[str, Any]] | None:
    """Return the parts that the model itself wrote, if it is the same one and can read them."""
    opaque = step.turn.opaque
    if opaque is None or opaque.issuer != issuer:
        return None
    try:
        parts: list[dict[str, Any]] = json.loads(opaque.content)
        calls = [part["functionCall"]["name"] for part in parts if "functionCall" in part]
    except (ValueError, LookupError, TypeError):
        return None
    return parts if len(calls) == len(step.turn.calls) else None


@dataclass
class GeminiAnswer(HostedAnswer):
    """Reads the chunks of a stream of candidates. `parts` are those that the model needs back."""

    parts: list[dict[str, Any]] = field(default_factory=list)

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Add a chunk. Return its text. Raises `AnswerAborted` for an error."""
        self.is_reasoning = False
        self.is_alive = True
        if chunk.get("error"):
            raise_error(chunk["error"])
        self.model = str(chunk.get("modelVersion") or self.model)
        self._count(chunk.get("usageMetadata"))
        feedback = chunk.get("promptFeedback") or {}
        if feedback.get("blockReason"):
            self.refusal = f"the prompt is blocked: {feedback['blockReason']}"
        pieces = ""
        for candidate in (chunk.get("candidates") or [])[:1]:
            for part in (candidate.get("content") or {}).get("parts") or []:
                pieces += self._part(dict(part))
            self._end(candidate)
        return pieces

    def opaque_content(self) -> str | None:
        """Return the parts of the answer, but those of the tool for the answer."""
        tool = self.restoration.answer_tool
        kept = [
            part
            for part in self.parts
            if not tool or part.get("functionCall", {}).get("name") != tool
        ]
        if not any("functionCall" in part for part in kept):
            return None
        return json.dumps(kept, separators=(",", ":"))

    def _part(self, part: dict[str, Any]) -> str:
        if part.get("thought"):
            self.note_thoughts(str(part.get("text") or ""))
            return ""
        if "functionCall" in part:
            call = part["functionCall"]
            arguments = json.dumps(call.get("args") or {})
            self.calls.append(
                StreamedCall(str(call.get("id") or ""), str(call.get("name")), arguments)
            )
            self.parts.append(part)
            self.note_kept(part)
            return self.note_piece(arguments)
        text = str(part.get("text") or "")
        if text:
            self.texts.append(text)
        if text or part.get("thoughtSignature"):
            self.parts.append(part)
            self.note_kept(part)
        return self.note_piece(text)

    def _end(self, candidate: Mapping[str, Any]) -> None:
        reason = finish_reason_in(candidate.get("finishReason"))
        if reason is None:
            return
        self.finish_reason = reason
        if reason in _WRONG_CALLS:
            raise AnswerAborted(
                f"ended its answer with {reason.upper()}", ModelFailure.SCHEMA_INVALID
            )

    def _count(self, usage: object) -> None:
        """Add the counts of a chunk. Those of the candidates are without thoughts."""
        if not isinstance(usage, Mapping):
            return
        thoughts = count_in(usage.get("thoughtsTokenCount")) or 0
        prompt = count_in(usage.get("promptTokenCount")) or 0
        counted = {
            "prompt_tokens": prompt + (count_in(usage.get("toolUsePromptTokenCount")) or 0),
            "cached_prompt_tokens": count_in(usage.get("cachedContentTokenCount")) or 0,
            "completion_tokens": (count_in(usage.get("candidatesTokenCount")) or 0) + thoughts,
            "reasoning_tokens": thoughts,
        }
        self.counts |= {name: count for name, count in counted.items() if count}
