"""A fake of hosted services with OpenAI's chat completions. It refuses what each service refuses.

Requests are validated with the types of `openai` 3, and with rules of each service. Sources of the rules in
November 2026: [openai] its guides and API reference; [service] the service's own documentation;
[profile] the profiles of pydantic-ai 2.68 ("verified live"); [memory] widely quoted errors. The rules are
written here again, and not read from the adapter's profiles, so that a wrong profile fails a test.
"""

import json
import re
from collections import deque
from typing import Any

from tests.fakes.chat_service_rules import EXTRA, SERVICES
from tests.fakes.plausible import plausible
from tests.fakes.schema_rules import openai_problem
from tests.fakes.sdk_types import problem_of, validator
from tests.fakes.service import NO_ANSWER, Answered, OpenAIErrors, Play, Received, Refused, pieces

TYPES = "openai.types.chat"


class FakeChatService(OpenAIErrors):
    """Serves `/v1/chat/completions` and `/v1/models` as one of `SERVICES`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service
        self.rules = SERVICES[service]
        self.thoughts: deque[str] = deque(maxlen=100)

    def is_prompt(self, request: Received) -> bool:
        return request.path.endswith("/chat/completions")

    def answer(self, request: Received) -> Answered:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            raise Refused("Incorrect API key provided.", status=401, code="invalid_api_key")
        if request.body is None:
            entry = {"id": self.rules.model, "object": "model", "created": 1, "owned_by": "x"}
            return Answered(body={"object": "list", "data": [entry]})
        body = request.body
        self._validate(body)
        self._check_model(body)
        self._check_tools(body)
        self._check_messages(body["messages"])
        play = self.next_play(body)
        if play.error is not None:
            return Answered(*play.error)
        return _Writer(self, body, play).answered()

    # Rules

    def _validate(self, body: Any) -> None:
        unknown = [name for name in EXTRA if name in body and name not in self.rules.extra]
        if unknown:
            raise Refused(f"Unknown parameter: '{unknown[0]}'.", code="unknown_parameter")
        plain = {name: value for name, value in body.items() if name not in EXTRA}
        plain["messages"] = [_without_thoughts(message) for message in body["messages"]]
        kind = "Streaming" if body.get("stream") else "NonStreaming"
        types = validator(
            TYPES, f"{TYPES}.completion_create_params", f"CompletionCreateParams{kind}"
        )
        problem = problem_of(types, plain)
        if problem is not None:
            raise Refused(f"Invalid value for '{problem[0]}': {problem[1]}")

    def _check_model(self, body: Any) -> None:
        rules = self.rules
        if body["model"] != rules.model:
            raise Refused("The model does not exist.", status=404, code="model_not_found")
        for name, is_known in (
            ("max_tokens", rules.max_tokens),
            ("max_completion_tokens", rules.max_completion_tokens),
        ):
            if name in body and not is_known:
                raise Refused(f"Unsupported parameter: '{name}' is not supported with this model.")
        effort = body.get("reasoning_effort")
        if effort is not None and effort not in rules.efforts:
            raise Refused(f"Unsupported value: '{effort}' is not supported.")
        reasons = effort not in (None, "none") or (effort is None and rules.reasons)
        if reasons and rules.reasons and "temperature" in body:
            raise Refused("Unsupported parameter: 'temperature' is not supported with this model.")
        if reasons and body.get("tools") and not rules.tools_while_reasoning:
            raise Refused(
                "Function tools with reasoning_effort are not supported. To use function tools, use "
                "/v1/responses or set reasoning_effort to 'none'.",
                param="reasoning_effort",
            )
        self._check_format(body)

    def _check_format(self, body: Any) -> None:
        output = body.get("response_format")
        if output is None:
            return
        if not self.rules.json_schema:
            raise Refused("This response_format type is unavailable now")
        if body.get("tools") and not self.rules.format_with_tools:
            raise Refused("tools and response_format do not go together")
        if body.get("stream") and not self.rules.format_in_stream:
            raise Refused("Streaming is not currently supported with Structured Outputs")
        named = output["json_schema"]
        problem = openai_problem(named["schema"]) if self.rules.strict_schemas else None
        if problem is not None:
            raise Refused(
                f"Invalid schema for response_format '{named['name']}': {problem}",
                code="invalid_json_schema",
            )

    def _check_tools(self, body: Any) -> None:
        tools, choice = body.get("tools"), body.get("tool_choice")
        if tools == []:
            raise Refused("Invalid 'tools': empty array.")
        if choice is not None and not tools:
            raise Refused("'tool_choice' is only allowed when 'tools' are specified.")
        functions = [tool["function"] for tool in tools or []]
        for function in functions:
            if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", function["name"]):
                raise Refused("Invalid 'tools[0].function.name'")
            schema = function["parameters"]
            problem = openai_problem(schema) if function.get("strict") else None
            if schema.get("type") != "object":
                problem = problem or "schema must have type 'object'"
            if problem is not None:
                raise Refused(f"Invalid schema for function '{function['name']}': {problem}")
        word = "named" if isinstance(choice, dict) else choice
        if word not in (None, "auto", *self.rules.forced):
            raise Refused("Thinking mode does not support this tool_choice")
        if isinstance(choice, dict):
            wanted = choice["function"]["name"]
            if wanted not in [function["name"] for function in functions]:
                raise Refused(f"Tool choice '{wanted}' not found in 'tools' parameter.")

    def _check_messages(self, messages: Any) -> None:
        waiting: list[str] = []
        before = ""
        for message in messages:
            role = message["role"]
            if role == "tool":
                if message["tool_call_id"] not in waiting:
                    raise Refused("messages with role 'tool' must be a response to 'tool_calls'.")
                waiting.remove(message["tool_call_id"])
            elif waiting:
                raise Refused(
                    "An assistant message with 'tool_calls' must be followed by tool messages "
                    "responding to each 'tool_call_id'."
                )
            if role == "user" and before == "tool" and not self.rules.user_after_tool:
                raise Refused("Unexpected role 'user' after role 'tool'")
            if message.get("tool_calls"):
                waiting = [call["id"] for call in message["tool_calls"]]
                self._check_calls(message, waiting)
            before = role
        if waiting:
            raise Refused("'tool_calls' without their tool messages.")

    def _check_calls(self, message: Any, ids: list[str]) -> None:
        if len(set(ids)) < len(ids):
            raise Refused("Duplicate tool_call_id.")
        if self.rules.nine_characters and not all(re.fullmatch("[a-zA-Z0-9]{9}", i) for i in ids):
            raise Refused("Tool call id has to be 9 characters of a-z, A-Z, 0-9.")
        for call in message["tool_calls"]:
            if not isinstance(json.loads(call["function"]["arguments"]), dict):
                raise Refused("arguments must be an object")
        if self.rules.thoughts_must_return and "reasoning_content" not in message:
            raise Refused("The reasoning_content in the thinking mode must be passed back.")
        thoughts = message.get(self.rules.thoughts_field)
        if thoughts and json.dumps(thoughts) not in self.thoughts:
            raise Refused("These thoughts are not of this service.")


def _without_thoughts(message: Any) -> Any:
    names = ("reasoning_content", "reasoning_details")
    return {name: value for name, value in message.items() if name not in names}


class _Writer:
    """Writes one answer."""

    def __init__(self, fake: FakeChatService, body: Any, play: Play) -> None:
        self._fake, self._rules = fake, fake.rules
        self._body, self._play = body, play
        self._deltas: list[dict[str, Any]] = []

    def answered(self) -> Answered:
        play = self._play
        if play.thoughts:
            self._think(play.thoughts)
        if play.stream_error is not None:
            events: list[Any] = [self._chunk(delta) for delta in self._deltas]
            return Answered(events=[(None, event) for event in [*events, play.stream_error]])
        reason = self._write()
        if not self._body.get("stream"):
            return Answered(body=self._whole(reason))
        chunks = [self._chunk(delta) for delta in self._deltas]
        if play.cut:
            return Answered(events=[(None, chunk) for chunk in chunks], is_cut=True)
        chunks.append(self._chunk({}, reason))
        if (self._body.get("stream_options") or {}).get("include_usage"):
            chunks.append({**self._chunk({}), "choices": [], "usage": self._usage()})
        return Answered(events=[(None, chunk) for chunk in chunks])

    def _think(self, thoughts: str) -> None:
        if self._rules.thoughts_field == "reasoning_details":
            whole = [{"type": "reasoning.text", "text": thoughts, "index": 0, "signature": "s"}]
            for piece in pieces(thoughts):
                part = {"type": "reasoning.text", "text": piece, "index": 0}
                self._deltas.append({"reasoning_details": [part]})
            self._deltas.append(
                {"reasoning_details": [{"type": "reasoning.text", "index": 0, "signature": "s"}]}
            )
            self._fake.thoughts.append(json.dumps(whole))
            return
        self._deltas += [{self._rules.thoughts_field: piece} for piece in pieces(thoughts)]
        self._fake.thoughts.append(json.dumps(thoughts))

    def _write(self) -> str:
        body, play = self._body, self._play
        if play.refusal:
            self._deltas += [{"refusal": piece} for piece in pieces(play.refusal)]
            return "stop"
        names = [tool["function"]["name"] for tool in body.get("tools", [])]
        output = body.get("response_format")
        if play.text is not None:
            self._deltas += [{"content": piece} for piece in pieces(play.text)]
        elif play.calls and body.get("tool_choice") != "none":
            for index, (name, arguments) in enumerate(play.calls):
                self._call(index, name, arguments)
            return play.finish or self._rules.finish_of_calls
        else:
            self._answer(output, names)
        return play.finish or ("length" if play.truncated else "stop")

    def _answer(self, output: Any, names: list[str]) -> None:
        play = self._play
        answer = {"answer": play.answer}
        if play.answer is NO_ANSWER:
            tools = {
                tool["function"]["name"]: tool["function"] for tool in self._body.get("tools", [])
            }
            schema = (
                output["json_schema"]["schema"] if output else tools["final_answer"]["parameters"]
            )
            answer = plausible(schema, self._fake.random)
        if output is None and "final_answer" in names:
            self._call(0, "final_answer", answer, cut=play.truncated)
        else:
            text = json.dumps(answer)[: 12 if play.truncated else None]
            self._deltas += [{"content": piece} for piece in pieces(text)]

    def _call(self, index: int, name: str, arguments: Any, *, cut: bool = False) -> None:
        place = {"index": index} if self._rules.has_index else {}
        head = {
            **place,
            "id": f"call{len(self._body['messages']):03}{index:02}",
            "type": "function",
        }
        if self._rules.object_arguments and not cut:
            function = {"name": name, "arguments": arguments}
            self._deltas.append({"tool_calls": [{**head, "function": function}]})
            return
        self._deltas.append({"tool_calls": [{**head, "function": {"name": name, "arguments": ""}}]})
        for piece in pieces(json.dumps(arguments))[: 1 if cut else None]:
            self._deltas.append({"tool_calls": [{**place, "function": {"arguments": piece}}]})

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self._body["model"],
            "choices": [choice],
        }

    def _whole(self, reason: str) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": None}
        for delta in self._deltas:
            for name, value in delta.items():
                message[name] = (message.get(name) or type(value)()) + value
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": self._body["model"],
            "choices": [choice],
            "usage": self._usage(),
        }

    def _usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 8 if self._play.thoughts else 0},
        }
