"""A fake of the Gemini API. It refuses what the service refuses, and ignores what the service ignores.

Requests are validated with the types of `google-genai` 3.6, and with rules. Sources of the rules, as of
2026-11: [guide] Google's guides to function calling, structured output and thought signatures; [sdk]
docstrings of the SDK; [profile] the profiles of pydantic-ai 2.68 ("verified live").
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tests.fakes.media_rules import MAX_INLINE, media_problem
from tests.fakes.plausible import plausible
from tests.fakes.schema_rules import gemini_problem
from tests.fakes.sdk_types import installed
from tests.fakes.service import (
    NO_ANSWER,
    Answered,
    FakeService,
    Play,
    Received,
    Refused,
    required_tool,
)

DUMMY = base64.b64encode(b"skip_thought_signature_validator").decode()
NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")


@dataclass(frozen=True)
class Model:
    """What a model accepts [profile]."""

    levels: tuple[str, ...] = ()
    budget: bool = False
    can_stop: bool = False
    format_with_tools: bool = True


MODELS = {
    "gemini-3.5-flash": Model(("MINIMAL", "LOW", "MEDIUM", "HIGH")),
    "gemini-3.1-pro": Model(("LOW", "MEDIUM", "HIGH")),
    "gemini-3-pro": Model(("LOW", "HIGH")),
    "gemini-2.5-flash": Model(budget=True, can_stop=True, format_with_tools=False),
    "gemini-2.5-pro": Model(budget=True, format_with_tools=False),
}


class FakeGemini(FakeService):
    """Serves `/v1beta/models/…` with `:streamGenerateContent` and `:countTokens`."""

    base_path = "/v1beta"
    sdk = "google.genai"
    seal = "only the service knows it"

    def is_prompt(self, request: Received) -> bool:
        return ":streamGenerateContent" in request.path

    def answer(self, request: Received) -> Answered:
        if request.headers.get("x-goog-api-key") != self.key:
            raise Refused(
                "API key not valid. Please pass a valid API key.",
                kind="INVALID_ARGUMENT",
                reason="API_KEY_INVALID",
            )
        name, _, method = request.path.split("?")[0].rpartition("/")[2].partition(":")
        model = MODELS.get(name)
        if model is None:
            raise Refused(
                f"models/{name} is not found for API version v1beta", status=404, kind="NOT_FOUND"
            )
        if request.body is None:
            described = {"name": f"models/{name}", "version": "001", "thinking": True}
            return Answered(body={**described, "inputTokenLimit": 1_048_576})
        body = request.body
        if method == "countTokens":
            body = dict(body["generateContentRequest"])
            assert body.pop("model") == f"models/{name}"
            self._check(body, name, model)
            return Answered(body={"totalTokens": len(json.dumps(body)) // 4})
        self._check(body, name, model)
        play = self.next_play(body)
        if play.error is not None:
            return Answered(*play.error)
        return Answered(events=self._chunks(body, name, play), is_cut=play.cut)

    def refusal(self, refused: Refused) -> Answered:
        error: dict[str, Any] = {
            "code": refused.status,
            "message": refused.message,
            "status": refused.details.get("kind", "INVALID_ARGUMENT"),
        }
        if "reason" in refused.details:
            info = "type.googleapis.com/google.rpc.ErrorInfo"
            error["details"] = [{"@type": info, "reason": refused.details["reason"]}]
        return Answered(refused.status, {"error": error})

    # Rules

    def _check(self, body: Any, name: str, model: Model) -> None:
        self._validate(body)
        config = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        declared = [d for t in body.get("tools", []) for d in t.get("functionDeclarations", [])]
        names = [declaration["name"] for declaration in declared]
        self._check_tools(declared, names, config)
        generation = body.get("generationConfig") or {}
        schema = generation.get("responseJsonSchema")
        if schema is not None:
            if "responseSchema" in generation:
                raise Refused("Only one of response_schema and response_json_schema may be set.")
            if generation.get("responseMimeType") != "application/json":
                raise Refused("responseJsonSchema requires the mime type application/json.")
            problem = gemini_problem(schema)
            if problem is not None:
                raise Refused(problem)
            if declared and not model.format_with_tools:  # [profile]
                raise Refused(
                    "Function calling with a response mime type: 'application/json' is unsupported"
                )
        self._check_thinking(generation.get("thinkingConfig") or {}, model)
        problem = media_problem(body["contents"])
        if problem is None and len(json.dumps(body)) > MAX_INLINE:
            problem = "Request payload size exceeds the limit: 20971520 bytes."
        if problem is not None:
            raise Refused(problem)
        self._check_contents(body["contents"], name, model)

    @staticmethod
    def _validate(body: Any) -> None:
        types = installed("google.genai.types")
        known = {
            "contents": types.Content,
            "systemInstruction": types.Content,
            "tools": types.Tool,
            "toolConfig": types.ToolConfig,
            "generationConfig": types.GenerationConfig,
        }
        for field, value in body.items():
            if field not in known:
                raise Refused(
                    f'Invalid JSON payload received. Unknown name "{field}": Cannot find field.'
                )
            for part in value if isinstance(value, list) else [value]:
                try:
                    known[field].model_validate(part)
                except ValidationError as error:
                    first = error.errors()[0]
                    where = ".".join(map(str, first["loc"]))
                    raise Refused(f"Invalid value at '{field}.{where}': {first['msg']}") from None

    @staticmethod
    def _check_tools(declared: list[Any], names: list[str], config: Any) -> None:
        for declaration in declared:
            if not NAME.fullmatch(declaration["name"]):  # [sdk]
                raise Refused(f"Invalid function name: {declaration['name']}")
            if "parameters" in declaration and "parametersJsonSchema" in declaration:  # [sdk]
                raise Refused("Only one of parameters and parameters_json_schema may be set.")
            if declaration["parametersJsonSchema"].get("type") != "object":
                raise Refused("parameters schema should be of type OBJECT.")
        if len(set(names)) < len(names):
            raise Refused("Duplicate function declaration found")
        allowed = config.get("allowedFunctionNames")
        if allowed is not None:
            if config.get("mode") not in ("ANY", "VALIDATED"):  # [sdk]
                raise Refused(
                    "allowed_function_names should only be set when mode is ANY or VALIDATED"
                )
            if not allowed or set(allowed) - set(names):
                raise Refused("allowed_function_names contains a function that is not declared")

    @staticmethod
    def _check_thinking(config: Any, model: Model) -> None:
        level, budget = config.get("thinkingLevel"), config.get("thinkingBudget")
        if level is not None and level not in model.levels:  # [profile]
            raise Refused(f"Thinking level {level} is not supported for this model.")
        if budget is not None and not model.budget:
            raise Refused("Thinking budget is not supported for this model.")
        if budget == 0 and not model.can_stop:  # [profile]
            raise Refused("Budget 0 is invalid. This model only works in thinking mode.")

    def _check_contents(self, contents: list[Any], name: str, model: Model) -> None:
        for index, content in enumerate(contents):
            calls = [part for part in content["parts"] if "functionCall" in part]
            answers = [part for part in content["parts"] if "functionResponse" in part]
            if calls:
                following = contents[index + 1] if index + 1 < len(contents) else {"parts": []}
                responses = [p for p in following["parts"] if "functionResponse" in p]
                if len(responses) != len(calls):  # [guide]
                    raise Refused(
                        "Please ensure that the number of function response parts is equal to the "
                        "number of function call parts of the function call turn."
                    )
                self._check_signature(index, calls[0], name, model)
            if model.budget and any("parts" in p["functionResponse"] for p in answers):  # [profile]
                raise Refused("Multimodal function responses are not supported for this model.")
            if answers and not (
                index and any("functionCall" in p for p in contents[index - 1]["parts"])
            ):
                raise Refused(
                    "Please ensure that function response turn comes immediately after a function "
                    "call turn."
                )

    def _check_signature(self, index: int, part: Any, name: str, model: Model) -> None:
        """The first call of a step needs its own signature [guide]."""
        signature = part.get("thoughtSignature")
        if signature is None and not model.budget:
            raise Refused(
                f"Function call is missing a thought_signature in functionCall parts, position {index}."
            )
        own = self._signature(name, part["functionCall"])
        if signature not in (None, DUMMY, own):
            raise Refused("Thought signature is not valid")

    def _signature(self, name: str, call: Any) -> str:
        text = json.dumps([self.seal, name, call], sort_keys=True)
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    # Answers

    def _chunks(self, body: Any, name: str, play: Play) -> list[tuple[str | None, Any]]:
        if play.stream_error is not None:
            first = self._chunk(name, [{"text": '{"answer":'}])
            return [(None, first), (None, {"error": play.stream_error})]
        if play.refusal:
            return [(None, {"promptFeedback": {"blockReason": play.refusal}, "modelVersion": name})]
        parts: list[Any] = []
        if play.thoughts:
            parts.append({"text": play.thoughts, "thought": True})
        parts += self._parts(body, name, play)
        chunks = [self._chunk(name, [part]) for part in parts]
        if not play.cut:
            reason = play.finish or ("MAX_TOKENS" if play.truncated else "STOP")
            chunks.append(self._chunk(name, [{"text": "", "thoughtSignature": DUMMY}], reason))
        return [(None, chunk) for chunk in chunks]

    @staticmethod
    def _chunk(name: str, parts: list[Any], reason: str | None = None) -> Any:
        candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": parts}}
        if reason is not None:
            candidate["finishReason"] = reason
        usage = {
            "promptTokenCount": 100,
            "cachedContentTokenCount": 30,
            "candidatesTokenCount": 9,
            "thoughtsTokenCount": 5,
            "totalTokenCount": 114,
        }
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": name}

    def _parts(self, body: Any, name: str, play: Play) -> list[Any]:
        declared = {
            d["name"]: d for t in body.get("tools", []) for d in t.get("functionDeclarations", [])
        }
        config = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        mode = config.get("mode")
        schema = (body.get("generationConfig") or {}).get("responseJsonSchema")
        if play.text is not None:
            return _texts(play.text)
        calls = list(play.calls)
        if play.plausible and mode != "NONE":
            names = config.get("allowedFunctionNames") or list(declared)
            others = [tool for tool in names if tool != "final_answer"]
            forced = mode == "ANY" and len(others) == len(names)
            tool = required_tool(body["contents"], others, forced=forced)
            if tool:
                schema_of_tool = declared[tool]["parametersJsonSchema"]
                calls = [(tool, plausible(schema_of_tool, self.random))]
        if calls and mode != "NONE" and declared:
            return self._calls(body, name, calls)
        answer = None if play.answer is NO_ANSWER else {"answer": play.answer}
        if answer is None:
            answer = plausible(
                schema or declared["final_answer"]["parametersJsonSchema"], self.random
            )
        if schema is not None:
            return _texts(json.dumps(answer)[: 12 if play.truncated else None])
        # A call comes whole or not at all.
        return [] if play.truncated else self._calls(body, name, [("final_answer", answer)])

    def _calls(self, body: Any, name: str, calls: Any) -> list[Any]:
        parts: list[Any] = []
        for number, (tool, arguments) in enumerate(calls):
            call = {"id": f"c{len(body['contents'])}{number}", "name": tool, "args": arguments}
            part: dict[str, Any] = {"functionCall": call}
            if number == 0:
                part["thoughtSignature"] = self._signature(name, call)
            parts.append(part)
        return parts


def _texts(text: str) -> list[Any]:
    half = len(text) // 2
    return [{"text": text[:half]}, {"text": text[half:]}]
