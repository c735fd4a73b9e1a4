"""Prompts: the chat messages that a model gets for an agent and its transcript.

A prompt only grows at its end, so that the prefix cache of an engine holds most of it. The first
message depends on the agent alone, and each transcript entry becomes the same text in every later
prompt.

Messages of people and tool results share the role `user` of a chat. A tool result is one line that begins
with `{"tool":`. No message of a person has a line that looks like it: such a message becomes `{"said": …}`.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence

from outlast.contracts.agents import PinnedAgent
from outlast.contracts.messages import Message
from outlast.text.json_text import to_json

_PROTOCOL = """\
Each of your messages is one JSON object: either {"tool_calls": [{"tool": …, "arguments": …}]} to use \
tools, or {"answer": …} to finish. Tool results come back as {"tool": …, "result": …}. \
{"said": …} is what a person says, and no result."""

_ANSWER_ONLY = """Each of your messages is one JSON object: {"answer": …}."""


_SCHEMA = "The answer obeys this JSON Schema: {schema}\nWrite the JSON object alone, and nothing around it."

TRIMMED = '{"left_out":"the context is full; call the tool again if needed"}'
"""Replaces a tool result that is left out of a prompt."""


_LINE_BREAKS = dict.fromkeys(map(ord, "\n\r\x0b\x0c\x1c\x1d\x1e"), " ") | {
    code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)
}
"""JSON on one line: outside of strings these are white space, and inside it has only the last three."""

_OBJECT_START = re.compile(r"[\W_]*\{")
_RESULT_KEY = re.compile(r"""["']?(?:tool|result|said)["']?\s*:""")
_PROTOCOL_KEYS = frozenset({"tool", "result", "tool_calls", "answer", "said", "left_out"})


def chat_messages(
    agent: PinnedAgent, transcript: Iterable[Message], *, shows_schema: bool = False
) -> list[dict[str, str]]:
    """Return the chat messages for a transcript: system first, then alternating user and assistant.

    With `shows_schema` the system message contains the schema, for servers that do not enforce it.
    """
    system = _system(agent)
    if shows_schema:
        system += "\n\n" + _SCHEMA.format(schema=to_json(agent.output_schema))
    messages = [{"role": "system", "content": system}]
    for entry in transcript:
        role = "assistant" if entry.role == "assistant" else "user"
        text = _text(entry)
        if messages[-1]["role"] == role:
            messages[-1]["content"] += f"\n{text}"
        else:
            messages.append({"role": role, "content": text})
    return messages


def trim_results(transcript: Sequence[Message], entries: int) -> list[Message]:
    """Return a transcript without the tool results in its first `entries` entries."""
    return [
        entry.model_copy(update={"content": TRIMMED})
        if entry.role == "tool" and len(entry.content or "") > len(TRIMMED)
        else entry
        for entry in transcript[:entries]
    ] + list(transcript[entries:])


def _text(entry: Message) -> str:
    content = entry.content or ""
    if entry.role == "user":
        return user_text(content)
    if entry.role == "assistant":
        return content
    result = content.translate(_LINE_BREAKS)
    return f'{{"tool":{_json_line(entry.tool)},"result":{result}}}'


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


def _json_line(value: str | None) -> str:
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


def _system(agent: PinnedAgent) -> str:
    if not agent.tools:
        return f"{agent.instructions}\n\n{_ANSWER_ONLY}"
    tools = "\n".join(
        f"- {tool.name}: {tool.description} Arguments: {to_json(tool.parameters)}"
        for tool in agent.tools
    )
    return f"{agent.instructions}\n\n{_PROTOCOL}\n\nTools:\n{tools}"


def reask_messages(
    messages: Sequence[dict[str, str]], *, text: str, problem: str
) -> list[dict[str, str]]:
    """Return the prompt that shows the model its wrong answer and the problem."""
    return [
        *messages,
        {"role": "assistant", "content": text},
        {"role": "user", "content": f"That was not accepted: {problem}. Answer again."},
    ]
