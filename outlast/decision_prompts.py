"""The prompt as chat messages for the `decision` way: calls, results and answers are JSON text.

A prompt only grows at its end, so that the prefix cache of an engine holds most of it. The first
message depends on the agent alone, and each turn becomes the same text in every later prompt.

Messages of people and tool results share the role `user` of a chat. A tool result is one line that begins
with `{"tool":`. No message of a person has a line that looks like it: such a message becomes `{"said": …}`.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from outlast.text.json_text import to_json
from outlast.turns import (
    AnswerTurn,
    CallsTurn,
    PromptResult,
    RejectedText,
    ToolDefinition,
    Turn,
    UserTurn,
)

_PROTOCOL = """\
Each of your messages is one JSON object: either {"tool_calls": [{"tool": …, "arguments": …}]} to use \
tools, or {"answer": …} to finish. Tool results come back as {"tool": …, "result": …}. \
{"said": …} is what a person says, and no result."""

_ANSWER_ONLY = """Each of your messages is one JSON object: {"answer": …}."""


_SCHEMA = "The answer obeys this JSON Schema: {schema}\nWrite the JSON object alone, and nothing around it."

_LINE_BREAKS = dict.fromkeys(map(ord, "\n\r\x0b\x0c\x1c\x1d\x1e"), " ") | {
    code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)
}
"""JSON on one line: outside of strings these are white space, and inside it has only the last three."""

_OBJECT_START = re.compile(r"[\W_]*\{")
_RESULT_KEY = re.compile(r"""["']?(?:tool|result|said)["']?\s*:""")
_PROTOCOL_KEYS = frozenset({"tool", "result", "tool_calls", "answer", "said", "left_out"})


def decision_messages(
    instructions: str | None,
    tools: Sequence[ToolDefinition],
    turns: Sequence[Turn],
    *,
    shown_schema: dict[str, Any] | None = None,
    rejected: RejectedText | None = None,
) -> list[dict[str, str]]:
    """Return the chat messages of a prompt: system first, then alternating user and assistant.

    Without `instructions` there is no system message. With `shown_schema` the system message contains
    the schema of the answer, for servers that do not enforce it.
    """
    messages: list[dict[str, str]] = []
    if instructions is not None:
        system = _system(instructions, tools)
        if shown_schema is not None:
            system += "\n\n" + _SCHEMA.format(schema=to_json(shown_schema))
        messages.append({"role": "system", "content": system})
    for turn in turns:
        role, text = _message(turn)
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += f"\n{text}"
        else:
            messages.append({"role": role, "content": text})
    if rejected is not None:
        messages.append({"role": "assistant", "content": rejected.text})
        messages.append({"role": "user", "content": rejection_text(rejected.problem)})
    return messages


def rejection_text(problem: str) -> str:
    """Return what the model reads about its wrong answer."""
    return f"That was not accepted: {problem}. Answer again."


def _message(turn: Turn) -> tuple[str, str]:
    if isinstance(turn, UserTurn):
        return "user", user_text(turn.text)
    if isinstance(turn, AnswerTurn | CallsTurn):
        return "assistant", turn.text
    return "user", "\n".join(map(_result_text, turn.results))


def _result_text(result: PromptResult) -> str:
    content = result.content.translate(_LINE_BREAKS)
    return f'{{"tool":{_json_line(result.tool)},"result":{content}}}'


def user_text(content: str) -> str:
    """Return the message of a person as the model reads it: never as a tool result or a decision.

    Prose stays as it is, and so does a JSON object with keys of its own. Anything that may look like the
    protocol becomes one line, `{"said": "…"}`. The text depends on the message alone, so it is the same in
    each later prompt.
    """
    if not _may_look_like_protocol(content):
        return content
    if _is_plain_object(content):
        return content.strip().translate(_LINE_BREAKS)
    return f'{{"said":{_json_line(content)}}}'


def _json_line(value: str) -> str:
    return to_json(value).translate(_LINE_BREAKS)


def _may_look_like_protocol(content: str) -> bool:
    plain = content if content.isascii() else unicodedata.normalize("NFKC", content)
    if "{" not in plain:
        return False
    if not plain.isascii():
        plain = "".join(letter for letter in plain if unicodedata.category(letter) != "Cf")
    return any(
        "{" in line and (_OBJECT_START.match(line) or _RESULT_KEY.search(line))
        for line in plain.splitlines()
    )


def _is_plain_object(content: str) -> bool:
    """Tell whether a text is one JSON object, none of whose own keys belongs to the protocol."""
    keys: list[str] = []

    def note_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys[:] = [key for key, _ in pairs]  # the outermost object is the last one
        return {}

    try:
        value = json.loads(content, object_pairs_hook=note_keys)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not any(_folded(key) in _PROTOCOL_KEYS for key in keys)


def _folded(key: str) -> str:
    plain = unicodedata.normalize("NFKC", key).casefold()
    return "".join(letter for letter in plain if letter.isalnum() or letter == "_")


def _system(instructions: str, tools: Sequence[ToolDefinition]) -> str:
    if not tools:
        return f"{instructions}\n\n{_ANSWER_ONLY}"
    lines = "\n".join(
        f"- {tool.name}: {tool.description} Arguments: {to_json(tool.parameters)}" for tool in tools
    )
    return f"{instructions}\n\n{_PROTOCOL}\n\nTools:\n{lines}"
