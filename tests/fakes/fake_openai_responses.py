"""A fake of OpenAI's Responses API without state. It refuses what the service refuses.

Requests are validated with the types of `openai` 3, and with rules. Sources of the rules, as of 2026-11:
[guide] OpenAI's guides to structured outputs, function calling and reasoning; [sdk] docstrings of the SDK;
[profile] the profiles of pydantic-ai 2.68 ("verified live"); [memory] widely quoted errors.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

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

TYPES = "openai.types.responses"


@dataclass(frozen=True)
class Model:
    """What a model accepts [profile]."""

    efforts: tuple[str, ...]
    reasons: bool


MODELS = {
    "gpt-6-sol": Model(("none", "low", "medium", "high", "xhigh", "max"), reasons=True),
    "gpt-6-astra": Model(("low", "medium", "high", "xhigh", "max"), reasons=True),
    "gpt-5.4": Model(("none", "low", "medium", "high", "xhigh"), reasons=False),
    "gpt-5-mini": Model(("minimal", "low", "medium", "high"), reasons=True),
    "o3": Model(("low", "medium", "high"), reasons=True),
    "gpt-4.1": Model((), reasons=False),
}


class FakeOpenAIResponses(OpenAIErrors):
    """Serves `/v1/responses`, `/v1/responses/input_tokens` and `/v1/models/…`."""

    sdk = "openai"
    seal = "only the service knows it"

    def is_prompt(self, request: Received) -> bool:
        return request.path.endswith("/responses")

    def answer(self, request: Received) -> Answered:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            raise Refused("Incorrect API key provided.", status=401, code="invalid_api_key")
        if request.body is None:
            return self._model(request.path.rpartition("/")[2])
        body = request.body
        if request.path.endswith("/input_tokens"):
            self._validate(body, "input_token_count_params", "InputTokenCountParams")
            return Answered(body={"input_tokens": len(json.dumps(body)) // 4})
        self._validate(body, "response_create_params", "ResponseCreateParamsStreaming")
        self._check(body)
        play = self.next_play(body)
        if play.error is not None:
            status, error, headers = play.error
            return Answered(status, error, {"x-request-id": "req_1", **headers})
        return self._stream(body, play)

    @staticmethod
    def _model(name: str) -> Answered:
        if name not in MODELS:
            raise Refused(
                f"The model '{name}' does not exist or you do not have access to it.",
                status=404,
                code="model_not_found",
            )
        return Answered(body={"id": name, "object": "model", "created": 1, "owned_by": "openai"})

    # Rules

    @staticmethod
    def _validate(body: Any, module: str, name: str) -> None:
        problem = problem_of(validator(TYPES, f"{TYPES}.{module}", name), body)
        if problem is not None:
            where, why = problem
            if "Extra inputs" in why:
                raise Refused(f"Unknown parameter: '{where}'.", code="unknown_parameter")
            raise Refused(f"Invalid value for '{where}': {why}")

    def _check(self, body: Any) -> None:
        self._model(body["model"])
        model = MODELS[body["model"]]
        effort = (body.get("reasoning") or {}).get("effort")
        if effort is not None and effort not in model.efforts:  # [profile]
            raise Refused(
                f"Unsupported value: '{effort}' is not supported with the '{body['model']}' model.",
                param="reasoning.effort",
                code="unsupported_value",
            )
        reasons = effort not in (None, "none") or (effort is None and model.reasons)
        for name in ("temperature", "top_p"):
            if name in body and reasons:  # [profile]
                raise Refused(
                    f"Unsupported parameter: '{name}' is not supported with this model.",
                    code="unsupported_parameter",
                )
        if (
            "reasoning.encrypted_content" in body.get("include", []) and not model.efforts
        ):  # [memory]
            raise Refused("Encrypted content is not supported with this model.", param="include")
        if body.get("max_output_tokens", 16) < 16:  # [memory]
            raise Refused("Invalid 'max_output_tokens': integer below minimum value.")
        if body.get("previous_response_id") and body.get("store") is False:
            raise Refused(
                "Previous response cannot be used for this organization due to Zero Data."
            )
        if len(body.get("prompt_cache_key") or "") > 64:  # [memory]
            raise Refused("Invalid 'prompt_cache_key': string too long.")
        self._check_schemas(body)
        self._check_choice(body)
        self._check_items(body)

    @staticmethod
    def _check_schemas(body: Any) -> None:
        if body.get("tools") == []:  # [issue] vllm and langchain#37184 report the same
            raise Refused("Invalid 'tools': empty array.")
        for tool in body.get("tools", []):
            problem = openai_problem(tool["parameters"]) if tool["strict"] else None
            root = tool["parameters"]
            if root.get("type") != "object" or root.keys() & {
                "anyOf",
                "oneOf",
                "allOf",
                "enum",
                "not",
            }:
                problem = (
                    problem
                    or "schema must have type 'object' and not have 'anyOf' at the top level."
                )
            if problem is not None:
                raise Refused(
                    f"Invalid schema for function '{tool['name']}': {problem}",
                    code="invalid_function_parameters",
                )
        output = (body.get("text") or {}).get("format")
        problem = openai_problem(output["schema"]) if output else None
        if output is not None and problem is not None:
            raise Refused(
                f"Invalid schema for response_format '{output['name']}': {problem}",
                param="text.format.schema",
                code="invalid_json_schema",
            )

    @staticmethod
    def _check_choice(body: Any) -> None:
        choice = body.get("tool_choice")
        if choice is None:
            return
        names = [tool["name"] for tool in body.get("tools", [])]
        if not names:
            raise Refused("Tool choices other than 'auto' require 'tools'.", param="tool_choice")
        wanted = []
        if isinstance(choice, dict):
            wanted = [choice["name"]] if "name" in choice else [t["name"] for t in choice["tools"]]
            if not wanted:
                raise Refused("'tool_choice.tools' must not be empty.")
        missing = [name for name in wanted if name not in names]
        if missing:
            raise Refused(f"Tool choice '{missing[0]}' not found in 'tools' parameter.")

    def _check_items(self, body: Any) -> None:
        problem = media_problem(body["input"])
        if problem is not None:
            raise Refused(problem, code="invalid_image")
        items = [item for item in body["input"] if "type" in item]
        calls = [item["call_id"] for item in items if item["type"] == "function_call"]
        outputs = [item["call_id"] for item in items if item["type"] == "function_call_output"]
        for own in calls:  # [guide]
            if own not in outputs:
                raise Refused(f"No tool output found for function call {own}.")
        for own in outputs:
            if own not in calls:
                raise Refused(f"No tool call found for function call output with call_id {own}.")
        if len(set(calls)) < len(calls):
            raise Refused("Duplicate call_id.")
        listed = body["input"]
        for index, item in enumerate(listed):
            if item.get("type") != "reasoning":
                continue
            following = listed[index + 1] if index + 1 < len(listed) else {}
            if following.get("type") not in ("function_call", "message", "reasoning"):  # [profile]
                raise Refused(
                    f"Item '{item['id']}' of type 'reasoning' was provided without its required "
                    "following item."
                )
            if item.get("encrypted_content") != self._sealed(body["model"], item["id"]):
                raise Refused(
                    f"The encrypted content for item {item['id']} could not be verified.",
                    code="invalid_encrypted_content",
                )

    def _sealed(self, model: str, item_id: str) -> str:
        return hashlib.sha256(f"{self.seal}{model}{item_id}".encode()).hexdigest()

    # Answers

    def _stream(self, body: Any, play: Play) -> Answered:
        writer = _Writer(body)
        model = MODELS[body["model"]]
        effort = (body.get("reasoning") or {}).get("effort")
        if model.efforts and (
            effort not in (None, "none") or (effort is None and model.reasons) or play.thoughts
        ):
            own = f"rs_{len(body['input'])}"
            writer.think(own, play.thoughts or "I weigh it.", self._sealed(body["model"], own))
        if play.stream_error is not None:
            writer.text('{"answer":')
            writer.event(
                "response.failed", response=writer.response("failed", error=play.stream_error)
            )
            return Answered(events=writer.events)
        if play.refusal:
            writer.refuse(play.refusal)
        else:
            self._write(body, play, writer)
        if play.cut:
            return Answered(events=writer.events, is_cut=True)
        reason = play.finish or ("max_output_tokens" if play.truncated else None)
        details = {"reason": reason} if reason else None
        status = "incomplete" if reason else "completed"
        writer.event(
            f"response.{status}", response=writer.response(status, incomplete_details=details)
        )
        return Answered(events=writer.events)

    def _write(self, body: Any, play: Play, writer: "_Writer") -> None:
        tools = {tool["name"]: tool for tool in body.get("tools", [])}
        choice = body.get("tool_choice")
        output = (body.get("text") or {}).get("format")
        if play.text is not None:
            writer.text(play.text)
        elif (calls := self._chosen_calls(body, play, tools)) and choice != "none":
            for name, arguments in calls:
                writer.call(name, arguments)
        else:
            answer = None if play.answer is NO_ANSWER else {"answer": play.answer}
            if answer is None:
                schema = output["schema"] if output else tools["final_answer"]["parameters"]
                answer = plausible(schema, self.random)
            if output is not None:
                writer.text(json.dumps(answer)[: 12 if play.truncated else None])
            else:
                writer.call("final_answer", answer)

    def _chosen_calls(self, body: Any, play: Play, tools: Any) -> list[tuple[str, Any]]:
        choice = body.get("tool_choice")
        if (
            not play.plausible
            or choice == "none"
            or (isinstance(choice, dict) and "name" in choice)
        ):
            return list(play.calls)
        names = list(tools)
        if isinstance(choice, dict):
            names = [tool["name"] for tool in choice["tools"]]
            choice = choice["mode"]
        names = [name for name in names if name != "final_answer"]
        forced = choice == "required" and "final_answer" not in tools
        name = required_tool(body["input"], names, forced=forced or _lacks_answer(body, tools))
        return [(name, plausible(tools[name]["parameters"], self.random))] if name else []


def _lacks_answer(body: Any, tools: Any) -> bool:
    """Return whether the tool for the answer exists, and may not be called."""
    choice = body.get("tool_choice")
    allowed = [tool["name"] for tool in choice["tools"]] if isinstance(choice, dict) else [*tools]
    return "final_answer" in tools and "final_answer" not in allowed


class _Writer:
    """Writes the events of one response."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self._index = -1
        self._output: list[Any] = []
        self._tokens = 0
        self._thoughts = 0
        self.events: list[tuple[str | None, Any]] = []
        self.event("response.created", response=self.response("in_progress"))

    def response(self, status: str, **fields: Any) -> Any:
        usage = {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20},
            "output_tokens": self._tokens,
            "output_tokens_details": {"reasoning_tokens": self._thoughts},
            "total_tokens": 100 + self._tokens,
        }
        return {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "status": status,
            "model": self._body["model"],
            "output": self._output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "temperature": 1.0,
            "top_p": 1.0,
            "usage": usage if status != "in_progress" else None,
            **fields,
        }

    def event(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "sequence_number": len(self.events), **fields}
        self.events.append((kind, event))

    def _item(self, started: Any, deltas: list[tuple[str, str]], done: Any, **fields: Any) -> None:
        self._index += 1
        self.event("response.output_item.added", output_index=self._index, item=started)
        for kind, piece in deltas:
            self._tokens += 1
            self.event(kind, output_index=self._index, item_id=started["id"], delta=piece, **fields)
        self.event("response.output_item.done", output_index=self._index, item=done)
        self._output.append(done)

    def think(self, own: str, thoughts: str, sealed: str) -> None:
        item = {"id": own, "type": "reasoning", "summary": [], "encrypted_content": sealed}
        self._thoughts += 8
        self._tokens += 8
        self._item({**item, "encrypted_content": sealed[:5]}, [], item)

    def _message(self, part: Any, deltas: list[tuple[str, str]], **fields: Any) -> None:
        message = {"id": f"msg_{self._index}", "type": "message", "role": "assistant"}
        started = {**message, "status": "in_progress", "content": []}
        done = {**message, "status": "completed", "content": [part]}
        self._item(started, deltas, done, content_index=0, **fields)

    def text(self, text: str) -> None:
        part = {"type": "output_text", "text": text, "annotations": []}
        deltas = [("response.output_text.delta", piece) for piece in pieces(text)]
        self._message(part, deltas, logprobs=[])

    def refuse(self, reason: str) -> None:
        deltas = [("response.refusal.delta", piece) for piece in pieces(reason)]
        self._message({"type": "refusal", "refusal": reason}, deltas)

    def call(self, name: str, arguments: Any) -> None:
        own = f"{len(self._body['input'])}_{self._index}"
        text = json.dumps(arguments)
        call = {"id": f"fc_{own}", "type": "function_call", "call_id": f"call_{own}", "name": name}
        started = {**call, "arguments": "", "status": "in_progress"}
        deltas = [("response.function_call_arguments.delta", piece) for piece in pieces(text)]
        self._item(started, deltas, {**call, "arguments": text, "status": "completed"})
