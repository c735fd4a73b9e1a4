"""The agent loop that most people write first.

The workflow keeps the list of messages and hands all of it to the model activity, every turn. The
rest is ordinary care: pydantic models, one shared HTTP client, retries left to Temporal.
"""

import json
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from openai import AsyncOpenAI

    from bench.workload import INSTRUCTIONS, QUESTION, page_size, text_of


class ModelCall(BaseModel):
    """Everything that the model is to see."""

    instructions: str
    messages: list[dict[str, str]]
    tools: list[dict[str, Any]]


class ModelReply(BaseModel):
    """A decision as the model wrote it."""

    content: str
    prompt_tokens: int
    completion_tokens: int


class ToolRun(BaseModel):
    """A call of one tool."""

    tool: str
    arguments: dict[str, Any]


class NaiveInput(BaseModel):
    """Which size of result the tool returns, and whether the run stays open after its answer."""

    result_size: int
    max_turns: int
    stay_open: bool = False


class NaiveActivities:
    """Calls the model and the tools."""

    def __init__(self, base_url: str) -> None:
        self._client = AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0)

    @activity.defn
    async def call_model(self, call: ModelCall) -> ModelReply:
        """Ask the model for its next decision."""
        messages: Any = [{"role": "system", "content": call.instructions}, *call.messages]
        completion = await self._client.chat.completions.create(
            model="scripted", messages=messages, response_format=_decision_format(call.tools)
        )
        usage = completion.usage
        return ModelReply(
            content=completion.choices[0].message.content or "",
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
        )

    @activity.defn
    async def call_tool(self, run: ToolRun) -> str:
        """Return a page of text of the size in the tool's name."""
        return text_of(page_size(run.tool))


def _decision_format(tools: list[dict[str, Any]]) -> Any:
    calls = [_closed(tool={"const": tool["name"]}, arguments=tool["parameters"]) for tool in tools]
    tool_calls = {"type": "array", "minItems": 1, "items": {"anyOf": calls}}
    schema = {"anyOf": [_closed(tool_calls=tool_calls), _closed(answer={"type": "string"})]}
    return {
        "type": "json_schema",
        "json_schema": {"name": "decision", "strict": True, "schema": schema},
    }


def _closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _tool_schema(result_size: int) -> dict[str, Any]:
    return {
        "name": f"read_{result_size}",
        "description": "Read one page of the archive.",
        "parameters": _closed(page={"type": "integer", "description": "the number of the page"}),
    }


@workflow.defn
class NaiveLoop:
    """Asks, acts, and remembers everything, until there is an answer; returns the turns it took."""

    def __init__(self) -> None:
        self._finished = False

    @workflow.run
    async def run(self, given: NaiveInput) -> int:
        """Run the loop."""
        tools = [_tool_schema(given.result_size)]
        messages = [{"role": "user", "content": QUESTION}]
        timeout = timedelta(minutes=1)
        for turn in range(1, given.max_turns + 1):
            reply = await workflow.execute_activity_method(
                NaiveActivities.call_model,
                ModelCall(instructions=INSTRUCTIONS, messages=messages, tools=tools),
                start_to_close_timeout=timeout,
            )
            messages.append({"role": "assistant", "content": reply.content})
            decision = json.loads(reply.content)
            if "answer" in decision:
                if given.stay_open:
                    await workflow.wait_condition(lambda: self._finished)
                return turn
            for call in decision["tool_calls"]:
                result = await workflow.execute_activity_method(
                    NaiveActivities.call_tool, ToolRun(**call), start_to_close_timeout=timeout
                )
                messages.append({"role": "user", "content": result})
        return given.max_turns

    @workflow.signal
    def finish(self) -> None:
        """Let a run end that stayed open."""
        self._finished = True
