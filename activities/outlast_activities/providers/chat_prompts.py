"""Requests of chat completions in the ways `native` and `tools`: messages, tools, choice and fields.

The messages and the tools only grow at their end, so that a server can cache their prefix. `tool_choice`
says what a turn may do, or a note at the end where a server has no field for it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from outlast.contracts.agents import Effort
from outlast.contracts.messages import Opaque
from outlast.model_server import Prompt
from outlast.text.json_text import to_json
from outlast.turns import AnswerTurn, MediaPart, ResultsTurn, Turn, UserTurn
from outlast_activities.constraints.api_dialects import OPENAI
from outlast_activities.constraints.api_schemas import ApiSchema
from outlast_activities.constraints.constraints import constraint_for
from outlast_activities.constraints.engines import VLLM, Engine
from outlast_activities.providers.hosted.answers import Restoration
from outlast_activities.providers.hosted.prompts import (
    ANSWER_TOOL_TEXT,
    SentSchemas,
    SentTool,
    Step,
    answer_tool_name,
    choice_of,
    decision_format,
    decoding_notes,
    notes_of,
    plain_form,
    safe_id,
    safe_names,
    steps_of,
    strict_form,
)
from outlast_activities.providers.media_parts import PartSplitter
from outlast_activities.providers.profiles import Profile
from outlast_activities.providers.request_fields import response_format
from outlast_activities.providers.special_tokens import harmless

SHOWN_SCHEMA = (
    "When the work is done, answer with one JSON object alone that obeys this JSON Schema: {schema}"
)
"""Shows the schema of the answer to the model: an engine enforces it without that the model sees it."""

RESULT_MEDIA = "These are the images and files of the tool results above, in their order:"

CALL_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class ChatDialect:
    """What a request depends on besides the prompt: the service and the engine behind it."""

    profile: Profile
    engine: Engine
    is_vllm: bool

    @property
    def has_parallel_field(self) -> bool:
        """Whether the server knows `parallel_tool_calls`."""
        return self.profile.parallel or self.is_vllm or self.engine == "llama.cpp"

    @property
    def forced(self) -> str:
        """How a call can be forced."""
        return "named" if self.is_vllm else self.profile.forced


def sent_schemas(prompt: Prompt, dialect: ChatDialect) -> SentSchemas:
    """Return the schemas of an agent in the form that the server accepts, and the way back."""
    if prompt.way == "decision":
        return decision_format(prompt, OPENAI)
    names = safe_names(prompt.tools)
    tools: list[SentTool] = []
    calls: dict[str, Any] = {}
    for tool in prompt.tools:
        form, is_strict = _form(tool.parameters, dialect)
        name = names[tool.name]
        tools.append(SentTool(name, tool.description, form.schema, is_strict))
        calls[name] = (tool.name, form.restore)
    form, is_strict = _form(prompt.answer_schema, dialect)
    # A service with strict schemas rejects any other schema of an answer, so it becomes a tool.
    if prompt.way == "native" and (is_strict or dialect.profile.schema != "openai"):
        return SentSchemas(tuple(tools), names, form.schema, Restoration(calls, form.restore))
    name = answer_tool_name(names)
    tools.append(SentTool(name, ANSWER_TOOL_TEXT, form.schema, is_strict))
    return SentSchemas(tuple(tools), names, None, Restoration(calls, form.restore, name))


def _form(schema: dict[str, Any], dialect: ChatDialect) -> tuple[ApiSchema, bool]:
    """Return a schema as it is sent, and whether the server must enforce it."""
    if dialect.profile.schema == "openai":
        strict = strict_form(schema, OPENAI)
        return (strict, True) if strict is not None else (plain_form(schema), False)
    if dialect.engine in VLLM or dialect.engine in ("llama.cpp", "outlines"):
        plain = plain_form(schema)
        engine: Engine = "xgrammar" if dialect.engine in VLLM else dialect.engine
        enforced = constraint_for(plain.schema, engine).schema
        return ApiSchema({"type": "object", **enforced}, plain.restore), dialect.is_vllm
    return plain_form(schema), False


def request_body(
    prompt: Prompt, sent: SentSchemas, dialect: ChatDialect, issuer: str
) -> dict[str, Any]:
    """Return the fields of a request that depend on the way: messages, tools, choice and format."""
    if prompt.way == "decision":
        messages = with_media(prompt)
        notes = decoding_notes(prompt)
        if notes:
            messages.append({"role": "user", "content": "\n".join(notes)})
        schema = sent.answer_format or {}
        return {"messages": messages, "response_format": _format(schema, dialect)}
    choice, tools, forces = _choice(prompt, sent, dialect)
    body: dict[str, Any] = {"messages": _messages(prompt, sent, dialect, issuer, forces=forces)}
    if tools:
        body["tools"] = [_tool(tool) for tool in tools]
        body["tool_choice"] = choice
        if dialect.has_parallel_field:
            body["parallel_tool_calls"] = prompt.max_calls is None or prompt.max_calls > 1
    if sent.answer_format is not None:
        body["response_format"] = _format(sent.answer_format, dialect)
    return body


def with_media(prompt: Prompt) -> list[dict[str, Any]]:
    """Return the messages of the way `decision`, with the images and files that they name."""
    splitter = PartSplitter(prompt.media)
    return [
        {**message, "content": _content(splitter.split(message["content"]))}
        if message["role"] == "user"
        else {**message}
        for message in prompt.messages
    ]


def _content(parts: Sequence[str | MediaPart]) -> str | list[dict[str, Any]]:
    """Return the content of a message: its text, or parts if there is more than text."""
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) == len(parts):
        return "".join(texts)
    return [
        {"type": "text", "text": part} if isinstance(part, str) else _media(part) for part in parts
    ]


def _media(part: MediaPart) -> dict[str, Any]:
    if part.is_image:
        return {"type": "image_url", "image_url": {"url": part.any_url}}
    file = {"filename": part.name or "file.pdf", "file_data": part.any_url}
    return {"type": "file", "file": file}


def _format(schema: dict[str, Any], dialect: ChatDialect) -> dict[str, Any]:
    is_strict = dialect.profile.schema == "openai" or not dialect.profile.is_hosted
    return response_format(schema, is_strict=is_strict)


def _tool(tool: SentTool) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.schema,
    }
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(
    prompt: Prompt, sent: SentSchemas, dialect: ChatDialect
) -> tuple[object, tuple[SentTool, ...], bool]:
    """Return the choice for a turn, the tools beside it, and whether it is enforced."""
    wanted, tools = choice_of(prompt), sent.tools
    if wanted == "auto":
        return "auto", tools, True
    if wanted == "call":
        return ("auto", tools, False) if dialect.forced == "no" else ("required", tools, True)
    if sent.answer_tool is None:
        has_none = dialect.profile.none_choice
        return "none", tools if has_none else (), True
    if dialect.forced == "named":
        return {"type": "function", "function": {"name": sent.answer_tool}}, tools, True
    # The other tools are left out of this last turn, because nothing else forbids them.
    alone = tuple(tool for tool in tools if tool.name == sent.answer_tool)
    is_forced = dialect.forced == "required"
    return "required" if is_forced else "auto", alone, is_forced


def _messages(
    prompt: Prompt, sent: SentSchemas, dialect: ChatDialect, issuer: str, *, forces: bool
) -> list[dict[str, Any]]:
    conversation = _Conversation(sent, dialect, issuer, prompt.media)
    if prompt.instructions is not None:
        system = prompt.instructions
        if sent.answer_format is not None:
            system += "\n\n" + SHOWN_SCHEMA.format(schema=to_json(sent.answer_format))
        conversation.messages.append({"role": "system", "content": system})
    for turn in steps_of(prompt.turns):
        conversation.add(turn)
    notes = notes_of(prompt, sent, names_tools=True, forces=forces)
    if notes:
        conversation.note("\n".join(notes))
    return conversation.messages


class _Conversation:
    """The messages of a request. `issuer` is whose thoughts may be sent back."""

    def __init__(
        self,
        sent: SentSchemas,
        dialect: ChatDialect,
        issuer: str,
        media: Mapping[str, MediaPart],
    ) -> None:
        self.messages: list[dict[str, Any]] = []
        self._sent = sent
        self._profile = dialect.profile
        self._issuer = issuer
        self._splitter = PartSplitter(media)

    def add(self, turn: Turn | Step) -> None:
        """Add a turn."""
        if isinstance(turn, Step):
            self._add_step(turn)
        elif isinstance(turn, UserTurn):
            self._say("user", self._parts(turn.text))
        elif isinstance(turn, AnswerTurn):
            self._say("assistant", [turn.text])
        elif isinstance(turn, ResultsTurn):
            for result in turn.results:
                self._say("user", self._parts(f"{result.tool}: {result.content}"))

    def note(self, text: str) -> None:
        """Add a note for this turn alone."""
        last = self.messages[-1] if self.messages else {}
        if last.get("role") == "tool" and not self._profile.user_after_results:
            last["content"] += f"\n\n{text}"
        else:
            self._say("user", [text])

    def _add_step(self, step: Step) -> None:
        opaque = _opaque_of(step.turn.opaque, self._issuer)
        ids = opaque.get("ids") or []
        if len(ids) != len(step.turn.calls) or not all(ids) or len(set(ids)) < len(ids):
            ids = [self._call_id(call.call_id, n) for n, call in enumerate(step.turn.calls)]
        calls = [
            {
                "id": call_id,
                "type": "function",
                "function": {
                    "name": self._sent.names.get(call.tool, call.tool),
                    "arguments": to_json(call.arguments),
                },
            }
            for call_id, call in zip(ids, step.turn.calls, strict=True)
        ]
        message: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": calls}
        if self._profile.requires_thoughts:
            message[self._profile.thoughts] = ""
        message |= opaque.get("thoughts") or {}
        self.messages.append(message)
        media: list[MediaPart] = []
        for call_id, result in zip(ids, step.results, strict=True):
            parts = self._parts(result.content)
            text = "".join(part for part in parts if isinstance(part, str))
            media += [part for part in parts if isinstance(part, MediaPart)]
            self.messages.append({"role": "tool", "tool_call_id": call_id, "content": text})
        if media:
            # A result is text here, so what it shows follows in a message.
            self._say("user", [RESULT_MEDIA, *media])

    def _say(self, role: str, parts: Sequence[str | MediaPart]) -> None:
        """Add a text. Templates want roles that alternate, so texts of one role are one message."""
        last = self.messages[-1] if self.messages else {}
        content = _content(parts)
        if last.get("role") != role or "tool_calls" in last:
            self.messages.append({"role": role, "content": content})
        elif isinstance(content, str) and isinstance(last["content"], str):
            last["content"] += f"\n\n{content}"
        else:
            last["content"] = [*_as_parts(last["content"]), *_as_parts(content)]

    def _parts(self, text: str) -> list[str | MediaPart]:
        """Return a text, and the images and files that it is the first to name."""
        parts = self._splitter.split(text)
        return [self._text(part) if isinstance(part, str) else part for part in parts]

    def _text(self, text: str) -> str:
        return harmless(text) if self._profile.open_weights else text

    def _call_id(self, call_id: str, number: int) -> str:
        characters = self._profile.call_id_characters
        plain = safe_id(call_id or str(number))
        if not characters:
            return plain
        value = int.from_bytes(hashlib.sha256(plain.encode()).digest())
        letters: list[str] = []
        for _ in range(characters):
            value, place = divmod(value, len(CALL_ID_LETTERS))
            letters.append(CALL_ID_LETTERS[place])
        return "".join(letters)


def _as_parts(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _opaque_of(opaque: Opaque | None, issuer: str) -> Mapping[str, Any]:
    if opaque is None or opaque.issuer != issuer:
        return {}
    try:
        content = json.loads(opaque.content)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def effort_fields(dialect: ChatDialect, effort: Effort | None) -> dict[str, Any]:
    """Return the fields that say how much the model thinks."""
    profile = dialect.profile
    effort = profile.nearest_effort(effort)
    if effort is None:
        return {}
    is_on = effort != "none"
    match profile.effort_field:
        case "reasoning":
            return {"reasoning": {"effort": effort} if is_on else {"enabled": False}}
        case "thinking":
            return {"thinking": {"type": "enabled" if is_on else "disabled"}}
        case "enable_thinking":
            return {"enable_thinking": is_on}
    if not is_on and (dialect.is_vllm or dialect.engine == "llama.cpp"):
        return {"chat_template_kwargs": {"enable_thinking": False}}
    return {"reasoning_effort": effort}
