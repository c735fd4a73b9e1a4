"""A fake of Anthropic's Messages API, version 2026-10-21. It refuses what the service refuses.

Requests are validated with the types of `anthropic` 2.14, and with rules. Sources of the rules, as of
2026-11: [guide] Anthropic's guides to structured outputs, extended thinking and tool use; [sdk] docstrings
of the SDK; [profile] the profiles of pydantic-ai 2.68 ("verified live"); [issue] public issues, as
`tests.fakes.schema_rules` names them.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from tests.fakes.anthropic_answer import AnswerWriter
from tests.fakes.media_rules import MAX_BASE64, media_problem
from tests.fakes.plausible import plausible
from tests.fakes.schema_rules import (
    anthropic_input_problem,
    anthropic_problem,
    anthropic_size_problem,
)
from tests.fakes.sdk_types import problem_of, validator
from tests.fakes.service import (
    NO_ANSWER,
    Answered,
    FakeService,
    Play,
    Received,
    Refused,
    required_tool,
)

VERSION = "2026-10-21"
MAX_STRICT_TOOLS = 20
MAX_MARKERS = 4


@dataclass(frozen=True)
class Model:
    """What a model accepts [profile]."""

    thinking: frozenset[str]
    thinks: bool
    forced: bool
    bound: bool
    efforts: tuple[str, ...] = ("low", "medium", "high", "xhigh", "max")


MODELS = {
    "claude-opus-5-5": Model(frozenset({"adaptive"}), thinks=True, forced=False, bound=True),
    "claude-sonnet-5-5": Model(
        frozenset({"adaptive", "between_tools"}), thinks=True, forced=False, bound=True
    ),
    "claude-haiku-5-5": Model(
        frozenset({"adaptive", "disabled"}), thinks=True, forced=True, bound=True
    ),
    "claude-sonnet-4-6": Model(
        frozenset({"enabled", "adaptive", "disabled"}),
        thinks=False,
        forced=True,
        bound=False,
        efforts=("low", "medium", "high", "max"),
    ),
    "claude-haiku-4-5": Model(
        frozenset({"enabled"}), thinks=False, forced=True, bound=False, efforts=()
    ),
}


class FakeAnthropic(FakeService):
    """Serves `/v1/messages`, `/v1/messages/count_tokens` and `/v1/models/…`."""

    sdk = "anthropic"
    seal = "only the service knows it"

    def answer(self, request: Received) -> Answered:
        if request.headers.get("x-api-key") != self.key:
            raise Refused("invalid x-api-key", status=401, type="authentication_error")
        if request.headers.get("anthropic-version") != VERSION:
            raise Refused("anthropic-version: header is required")
        if request.body is None:
            return self._model(request.path.rpartition("/")[2])
        body = request.body
        if request.path.endswith("/count_tokens"):
            self._validate(body, "message_count_tokens_params", "MessageCountTokensParams")
            self._check(body)
            return Answered(body={"input_tokens": len(json.dumps(body)) // 4})
        self._validate(body, "message_create_params", "MessageCreateParamsStreaming")
        self._check(body)
        play = self.next_play(body)
        if play.error is not None:
            status, error, headers = play.error
            return Answered(status, error, {"request-id": "req_1", **headers})
        return self._stream(body, play)

    def refusal(self, refused: Refused) -> Answered:
        error = {
            "type": refused.details.get("type", "invalid_request_error"),
            "message": refused.message,
        }
        return Answered(refused.status, {"type": "error", "error": error, "request_id": "req_1"})

    def _model(self, name: str) -> Answered:
        model = MODELS.get(name)
        if model is None:
            raise Refused(f"model: {name}", status=404, type="not_found_error")
        kinds = ("enabled", "adaptive", "disabled", "between_tools")
        thinking = {kind: {"supported": kind in model.thinking} for kind in kinds}
        capabilities = {
            "structured_outputs": {"supported": True},
            "image_input": {"supported": True},
            "pdf_input": {"supported": True},
            "thinking": {"supported": True, "types": thinking},
        }
        body = {"id": name, "type": "model", "max_input_tokens": 1_000_000}
        return Answered(body={**body, "max_tokens": 128_000, "capabilities": capabilities})

    # Rules

    def _validate(self, body: Any, module: str, name: str) -> None:
        adapter = validator("anthropic.types", f"anthropic.types.{module}", name)
        problem = problem_of(adapter, body)
        if problem is not None:
            raise Refused(f"{problem[0]}: {problem[1]}")

    def _check(self, body: Any) -> None:
        model = MODELS.get(body["model"])
        if model is None:
            raise Refused(f"model: {body['model']}", status=404, type="not_found_error")
        for name in ("temperature", "top_p", "top_k"):
            if name in body:  # [guide] removed in this version
                raise Refused(f"{name}: Extra inputs are not permitted")
        if json.dumps(body).count('"cache_control"') > MAX_MARKERS:  # [guide]
            raise Refused("A maximum of 4 blocks with cache_control may be provided.")
        problem = media_problem(body["messages"], max_base64=MAX_BASE64)
        if problem is not None:
            raise Refused(f"messages: {problem}")
        self._check_thinking(body, model)
        self._check_schemas(body)
        self._check_choice(body, model)
        self._check_messages(body, model)

    @staticmethod
    def _check_thinking(body: Any, model: Model) -> None:
        thinking = body.get("thinking") or {}
        kind = thinking.get("type")
        if kind is not None and kind not in model.thinking:  # [profile]
            raise Refused(f"thinking.type: '{kind}' is not supported on this model.")
        if (
            kind == "enabled" and not 1_024 <= thinking["budget_tokens"] < body["max_tokens"]
        ):  # [sdk]
            raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`.")
        effort = (body.get("output_config") or {}).get("effort")
        if effort is not None and effort not in model.efforts:  # [profile]
            raise Refused(f"output_config.effort: '{effort}' is not supported on this model.")
        if effort in ("xhigh", "max") and kind in ("disabled", "between_tools"):  # [profile]
            raise Refused("This effort is not allowed with thinking disabled.")

    @staticmethod
    def _check_schemas(body: Any) -> None:
        strict = [tool["input_schema"] for tool in body.get("tools", []) if tool.get("strict")]
        for index, tool in enumerate(body.get("tools", [])):
            problem = anthropic_input_problem(tool["input_schema"])
            if problem is None and tool.get("strict"):
                problem = anthropic_problem(tool["input_schema"])
            if problem is not None:
                raise Refused(f"tools.{index}.custom.{problem}")
        names = [tool["name"] for tool in body.get("tools", [])]
        if len(set(names)) < len(names):
            raise Refused("tools: Tool names must be unique.")
        output = (body.get("output_config") or {}).get("format")
        if output is not None:
            problem = anthropic_problem(output["schema"])
            if problem is not None:
                raise Refused(f"output_config.format.schema: {problem}")
            strict.append(output["schema"])
        problem = anthropic_size_problem(strict)
        if problem is not None:
            raise Refused(problem)
        if sum(bool(tool.get("strict")) for tool in body.get("tools", [])) > MAX_STRICT_TOOLS:
            raise Refused("Too many strict tools: the maximum is 20.")

    @staticmethod
    def _check_choice(body: Any, model: Model) -> None:
        choice = body.get("tool_choice")
        if choice is None:
            return
        if not body.get("tools"):  # [issue] anthropic-sdk: the service's own words
            raise Refused("tool_choice may only be specified while providing tools.")
        if choice["type"] in ("any", "tool"):
            if not model.forced:  # [profile]
                raise Refused(f"tool_choice '{choice['type']}' is not supported on this model.")
            if (body.get("thinking") or {}).get("type") == "enabled":  # [guide]
                raise Refused("Thinking may not be enabled when tool_choice forces tool use.")
        names = [tool["name"] for tool in body["tools"]]
        if choice["type"] == "tool" and choice["name"] not in names:
            raise Refused(f"Tool '{choice['name']}' not found in provided tools")

    def _check_messages(self, body: Any, model: Model) -> None:
        messages = body["messages"]
        if not messages:
            raise Refused("messages: at least one message is required")
        if messages[-1]["role"] == "assistant":  # [sdk]
            raise Refused("This model does not support assistant message prefill.")
        for index, message in enumerate(messages):
            blocks = _blocks(message)
            for number, block in enumerate(blocks):
                if block["type"] == "text" and not block["text"]:
                    raise Refused(
                        f"messages.{index}.content.{number}.text: text content blocks must be non-empty"
                    )
            if message["role"] == "assistant":
                self._check_thoughts(body, index, blocks, model)
                following = messages[index + 1] if index + 1 < len(messages) else None
                _check_results(index, blocks, following)
            else:
                before = _blocks(messages[index - 1]) if index else []
                _check_orphans(index, blocks, before)

    def _check_thoughts(self, body: Any, index: int, blocks: list[Any], model: Model) -> None:
        """Thinking must be unmodified, of this model, before its call, and bound to its prefix [guide]."""
        seen_call = False
        for number, block in enumerate(blocks):
            seen_call = seen_call or block["type"] == "tool_use"
            if block["type"] != "thinking":
                continue
            where = f"messages.{index}.content.{number}"
            prefix = _prefix(body, index) if model.bound else ""
            if block["signature"] != self._signature(body["model"], block["thinking"], prefix):
                unbound = self._signature(body["model"], block["thinking"], "")
                kept = block["signature"].split(".")[0] == unbound.split(".")[0]
                if model.bound and kept:  # [profile]
                    raise Refused(f"{where}: The block is bound to a different conversation.")
                raise Refused(f"{where}: Invalid `signature` in `thinking` block")
            if seen_call:
                raise Refused(f"{where}: thinking blocks must come before tool_use blocks")

    def _signature(self, model: str, thoughts: str, prefix: str) -> str:
        own = hashlib.sha256(f"{self.seal}{model}{thoughts}".encode()).hexdigest()[:24]
        return f"{own}.{hashlib.sha256(prefix.encode()).hexdigest()[:24]}"

    # Answers

    def _stream(self, body: Any, play: Play) -> Answered:
        writer = AnswerWriter(body)
        if self._thinks(body) or play.thoughts:
            thoughts = play.thoughts or "I weigh what to do."
            model = MODELS[body["model"]]
            prefix = _prefix(body, len(body["messages"])) if model.bound else ""
            writer.think(thoughts, self._signature(body["model"], thoughts, prefix))
        if play.stream_error is not None:
            writer.text('{"answer":')
            writer.events.append(("error", {"type": "error", "error": play.stream_error}))
            return Answered(events=writer.events)
        reason = self._write(body, play, writer)
        if play.cut:
            return Answered(events=writer.events[:-2], is_cut=True)
        details = None
        if play.refusal:
            reason = "refusal"
            details = {"type": "refusal", "category": play.refusal, "explanation": "I cannot help."}
        if play.truncated:
            reason = "max_tokens"
        writer.end(play.finish or reason, details)
        return Answered(events=writer.events, headers={"request-id": "req_1"})

    def _write(self, body: Any, play: Play, writer: "AnswerWriter") -> str:
        tools = {tool["name"]: tool for tool in body.get("tools", [])}
        choice = (body.get("tool_choice") or {"type": "auto"})["type"]
        output = (body.get("output_config") or {}).get("format")
        if play.text is not None or play.refusal:
            writer.text(play.text or "I will")
            return "end_turn"
        calls = list(play.calls)
        if play.plausible and choice != "tool":
            names = [name for name in tools if name != "final_answer"]
            name = required_tool(body["messages"][-1], names, forced=choice == "any")
            calls = [(name, plausible(tools[name]["input_schema"], self.random))] if name else []
        if calls and choice != "none":
            for name, arguments in calls:
                writer.call(name, arguments)
            return "tool_use"
        answer = None if play.answer is NO_ANSWER else {"answer": play.answer}
        if answer is None:
            schema = output["schema"] if output else tools["final_answer"]["input_schema"]
            answer = plausible(schema, self.random)
        if output is not None:
            writer.text(json.dumps(answer)[: 12 if play.truncated else None])
            return "end_turn"
        writer.call("final_answer", answer)
        return "tool_use"

    @staticmethod
    def _thinks(body: Any) -> bool:
        kind = (body.get("thinking") or {}).get("type")
        choice = (body.get("tool_choice") or {"type": "auto"})["type"]
        if choice in ("any", "tool"):  # [profile] a forced choice ends thinking
            return False
        return kind in ("adaptive", "enabled") or (kind is None and MODELS[body["model"]].thinks)


def _blocks(message: Any) -> list[Any]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _prefix(body: Any, index: int) -> str:
    """Return what the thoughts of a message are bound to: all that is before it."""
    before = [[message["role"], _blocks(message)] for message in body["messages"][:index]]
    return json.dumps([body.get("system"), body.get("tools"), before], sort_keys=True)


def _check_results(index: int, blocks: list[Any], following: Any) -> None:
    """Each call needs its result in the next message, before other content [guide]."""
    ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
    if not ids:
        return
    after = _blocks(following) if following is not None else []
    answered = [block["tool_use_id"] for block in after if block["type"] == "tool_result"]
    missing = [own for own in ids if own not in answered]
    if missing:
        raise Refused(
            f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately "
            f"after: {', '.join(missing)}. Each `tool_use` block must have a corresponding "
            "`tool_result` block in the next message."
        )
    if any(block["type"] != "tool_result" for block in after[: len(ids)]):
        raise Refused(f"messages.{index + 1}: `tool_result` blocks must come first")


def _check_orphans(index: int, blocks: list[Any], before: list[Any]) -> None:
    ids = [block["id"] for block in before if block["type"] == "tool_use"]
    for number, block in enumerate(blocks):
        if block["type"] == "tool_result" and block["tool_use_id"] not in ids:
            raise Refused(
                f"messages.{index}.content.{number}: unexpected `tool_use_id` found in `tool_result` "
                f"blocks: {block['tool_use_id']}. Each `tool_result` block must have a corresponding "
                "`tool_use` block in the previous message."
            )
