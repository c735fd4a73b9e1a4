"""A fake of OpenAI's own chat completions. It refuses what the service refuses.

Requests are validated with the types of `openai` 3, and with rules. Sources of the rules, as of 2026-11:
[guide] OpenAI's guides to structured outputs, function calling and reasoning; [issue] BerriAI/litellm#34569
(tools with reasoning), langchain-ai/langchainjs#11020 (calls without results); [profile] the profiles of
pydantic-ai 2.68 ("verified live"). The tables of models are those of `fake_openai_responses`.
"""

import json
import re
from typing import Any

from tests.fakes.fake_openai_responses import MODELS
from tests.fakes.media_rules import media_problem
from tests.fakes.plausible import plausible
from tests.fakes.schema_rules import openai_problem
from tests.fakes.sdk_types import problem_of, validator
from tests.fakes.service import (
    NO_ANSWER,
    Answered,
    OpenAIErrors,
    Play,
    Received,
    Refused,
    pieces,
    required_tool,
)

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
NO_TOOLS_WITH_REASONING = re.compile(r"gpt-(5\.[4-9]|6)")
SAMPLING = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
)


class FakeOpenAIChat(OpenAIErrors):
    """Serves `/v1/chat/completions` and `/v1/models`."""

    sdk = "openai"

    def answer(self, request: Received) -> Answered:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            raise Refused("Incorrect API key provided.", status=401, code="invalid_api_key")
        if request.body is None:
            entries = [{"id": name, "object": "model", "owned_by": "openai"} for name in MODELS]
            name = request.path.rpartition("/")[2]
            if name == "models":
                return Answered(body={"object": "list", "data": entries})
            return Answered(body=next(entry for entry in entries if entry["id"] == name))
        if not request.path.endswith("/chat/completions"):
            raise Refused(f"Invalid URL (POST {request.path})", status=404)
        self._validate(request.body)
        self._check(request.body)
        play = self.next_play(request.body)
        if play.error is not None:
            return Answered(*play.error)
        return self._stream(request.body, play)

    # Rules

    @staticmethod
    def _validate(body: Any) -> None:
        package = "openai.types.chat"
        adapter = validator(
            package, f"{package}.completion_create_params", "CompletionCreateParamsStreaming"
        )
        problem = problem_of(adapter, body)
        if problem is not None:
            where, why = problem
            if "Extra inputs" in why:
                raise Refused(f"Unrecognized request argument supplied: {where}")
            raise Refused(f"Invalid value for '{where}': {why}")

    def _check(self, body: Any) -> None:
        name = body["model"]
        model = MODELS.get(name)
        if model is None:
            raise Refused(f"The model `{name}` does not exist.", status=404, code="model_not_found")
        effort = body.get("reasoning_effort")
        if effort is not None and effort not in model.efforts:  # [profile]
            raise Refused(f"Unsupported value: '{effort}'", code="unsupported_value")
        reasons = effort not in (None, "none") or (effort is None and model.reasons)
        if "max_tokens" in body and model.efforts:  # [guide]
            raise Refused(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                "'max_completion_tokens' instead.",
                param="max_tokens",
                code="unsupported_parameter",
            )
        refused = [field for field in SAMPLING if field in body]
        if refused and reasons:  # [profile]
            raise Refused(
                f"Unsupported parameter: '{refused[0]}' is not supported with this model.",
                code="unsupported_parameter",
            )
        if body.get("tools") and reasons and NO_TOOLS_WITH_REASONING.match(name):  # [issue]
            raise Refused(
                f"Function tools with reasoning_effort are not supported for {name} in "
                "/v1/chat/completions. To use function tools, use /v1/responses or set "
                "reasoning_effort to 'none'.",
                param="reasoning_effort",
            )
        self._check_tools(body)
        self._check_format(body)
        _check_messages(body["messages"])

    @staticmethod
    def _check_tools(body: Any) -> None:
        tools = body.get("tools")
        if tools == []:  # [issue] langchain#37184
            raise Refused("Invalid 'tools': empty array.")
        names = [tool["function"]["name"] for tool in tools or []]
        for tool in tools or []:
            function = tool["function"]
            if not NAME.fullmatch(function["name"]):  # [guide]
                raise Refused("Invalid 'tools[0].function.name': string does not match pattern.")
            problem = openai_problem(function["parameters"]) if function.get("strict") else None
            if problem is not None:
                raise Refused(
                    f"Invalid schema for function '{function['name']}': {problem}",
                    code="invalid_function_parameters",
                )
        choice = body.get("tool_choice")
        if choice is not None and not tools:
            raise Refused("'tool_choice' is only allowed when 'tools' are specified.")
        if "parallel_tool_calls" in body and not tools:
            raise Refused("'parallel_tool_calls' is only allowed when 'tools' are specified.")
        wanted: list[str] = []
        if isinstance(choice, dict):
            listed = choice.get("allowed_tools", {}).get("tools", [choice])
            wanted = [entry["function"]["name"] for entry in listed]
        if set(wanted) - set(names):
            raise Refused("Tool choice not found in 'tools' parameter.")

    @staticmethod
    def _check_format(body: Any) -> None:
        form = body.get("response_format") or {}
        if form.get("type") == "json_object" and "json" not in json.dumps(body["messages"]).lower():
            raise Refused("'messages' must contain the word 'json' in some form.")
        if form.get("type") == "json_schema" and form["json_schema"].get("strict"):
            problem = openai_problem(form["json_schema"]["schema"])
            if problem is not None:
                raise Refused(
                    f"Invalid schema for response_format '{form['json_schema']['name']}': {problem}",
                    param="response_format",
                    code="invalid_json_schema",
                )

    # Answers

    def _stream(self, body: Any, play: Play) -> Answered:
        events: list[tuple[str | None, Any]] = [(None, _chunk(body, {"role": "assistant"}))]
        if play.stream_error is not None:
            return Answered(events=[*events, (None, {"error": play.stream_error})])
        deltas, reason = self._deltas(body, play)
        events += [(None, _chunk(body, delta)) for delta in deltas]
        if play.cut:
            return Answered(events=events, is_cut=True)
        reason = play.finish or ("length" if play.truncated else reason)
        events.append((None, _chunk(body, {}, reason)))
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {
                "prompt_tokens": 100,
                "completion_tokens": len(deltas) + 8,
                "total_tokens": 108 + len(deltas),
                "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20},
                "completion_tokens_details": {"reasoning_tokens": 8},
            }
            events.append((None, {**_chunk(body, {}), "choices": [], "usage": usage}))
        return Answered(events=events)

    def _deltas(self, body: Any, play: Play) -> tuple[list[Any], str]:
        if play.refusal:
            return [{"refusal": piece} for piece in pieces(play.refusal)], "stop"
        tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools", [])}
        form = (body.get("response_format") or {}).get("json_schema")
        if play.text is not None:
            return [{"content": piece} for piece in pieces(play.text)], "stop"
        choice = body.get("tool_choice")
        calls = list(play.calls)
        if play.plausible and not isinstance(choice, dict):
            names = [name for name in tools if name != "final_answer"]
            forced = choice == "required" and "final_answer" not in tools
            name = required_tool(body["messages"], names, forced=forced)
            calls = [(name, plausible(tools[name]["parameters"], self.random))] if name else []
        if calls and choice != "none":
            return _call_deltas(body, calls), "tool_calls"
        answer = None if play.answer is NO_ANSWER else {"answer": play.answer}
        if answer is None:
            schema = form["schema"] if form else tools["final_answer"]["parameters"]
            answer = plausible(schema, self.random)
        if form:
            text = json.dumps(answer)[: 12 if play.truncated else None]
            return [{"content": piece} for piece in pieces(text)], "stop"
        return _call_deltas(body, [("final_answer", answer)]), "tool_calls"


def _chunk(body: Any, delta: Any, reason: str | None = None) -> Any:
    choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
    }


def _call_deltas(body: Any, calls: Any) -> list[Any]:
    deltas: list[Any] = []
    for index, (name, arguments) in enumerate(calls):
        own = f"call_{len(body['messages'])}_{index}"
        function = {"name": name, "arguments": ""}
        first = {"index": index, "id": own, "type": "function", "function": function}
        deltas.append({"tool_calls": [first]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
            for piece in pieces(json.dumps(arguments))
        ]
    return deltas


def _check_messages(messages: list[Any]) -> None:
    """Each call needs its tool message right after it, and each tool message its call [issue]."""
    problem = media_problem(messages)
    if problem is not None:
        raise Refused(problem, code="invalid_image")
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                raise Refused(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
                    "message with 'tool_calls'."
                )
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            break
        waiting = [call["id"] for call in message.get("tool_calls") or []]
    if waiting:
        raise Refused(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to "
            f"each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(waiting)}"
        )
