"""Prompts: the chat messages that a model gets for an agent and its transcript.

A prompt only grows at its end, so that the prefix cache of an engine holds most of it. The first
message depends on the agent alone, and each transcript entry becomes the same text in every later
prompt.
"""

from collections.abc import Iterable, Sequence

from outlast.contracts.agents import PinnedAgent
from outlast.contracts.messages import Message
from outlast.json_text import to_json

_PROTOCOL = """\
Each of your messages is one JSON object: either {"tool_calls": [{"tool": …, "arguments": …}]} to use \
tools, or {"answer": …} to finish. Tool results come back as {"tool": …, "result": …}."""

_ANSWER_ONLY = """Each of your messages is one JSON object: {"answer": …}."""


_SCHEMA = "The answer obeys this JSON Schema: {schema}\nWrite the JSON object alone, and nothing around it."

TRIMMED = '{"left_out":"the context is full; call the tool again if needed"}'
"""Replaces a tool result that is left out of a prompt."""


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
    if entry.role != "tool":
        return content
    return f'{{"tool":{to_json(entry.tool)},"result":{content}}}'


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
