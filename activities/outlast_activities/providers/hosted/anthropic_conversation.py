"""The messages of a request to Anthropic: turns as blocks, and the thoughts that go back to their model."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from outlast.turns import AnswerTurn, PromptResult, ResultsTurn, Turn, UserTurn
from outlast_activities.providers.hosted.prompts import Step, safe_id


class Conversation:
    """The messages of a request. `issuer` is whose signatures may be sent back.

    Models bind their thoughts to all that is before them. So thoughts are sent back only if nothing of it
    changed since, which a digest of all blocks tells.
    """

    def __init__(self, issuer: str, names: Mapping[str, str]) -> None:
        self.messages: list[dict[str, Any]] = []
        self._issuer = issuer
        self._names = names
        self._hash = hashlib.sha256()

    def add(self, turn: Turn | Step) -> None:
        """Add a turn."""
        if isinstance(turn, Step):
            self._add_step(turn)
        elif isinstance(turn, UserTurn):
            self.say([{"type": "text", "text": turn.text or " "}])
        elif isinstance(turn, AnswerTurn):
            self._append("assistant", [{"type": "text", "text": turn.text}])
        elif isinstance(turn, ResultsTurn):
            for result in turn.results:
                self.say([{"type": "text", "text": f"{result.tool}: {result.content}"}])

    def say(self, blocks: list[dict[str, Any]]) -> None:
        """Add blocks of the user."""
        self._append("user", blocks)

    def digest(self) -> str:
        """Return the digest of the conversation so far."""
        return self._hash.hexdigest()[:32]

    def note(self, value: object) -> None:
        """Add a part of the conversation to its digest."""
        self._hash.update(json.dumps(value, sort_keys=True).encode())

    def _append(self, role: str, blocks: list[dict[str, Any]]) -> None:
        for block in blocks:
            self.note([role, block])
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": role, "content": blocks})

    def _add_step(self, step: Step) -> None:
        calls = step.turn.calls
        blocks = self._own_blocks(step)
        if blocks is None:
            ids = [safe_id(call.call_id) for call in calls]
            blocks = [
                {
                    "type": "tool_use",
                    "id": own,
                    "name": self._names.get(call.tool, call.tool),
                    "input": call.arguments,
                }
                for own, call in zip(ids, calls, strict=True)
            ]
        else:
            ids = [block["id"] for block in blocks if block.get("type") == "tool_use"]
        self._append("assistant", blocks)
        self.say([_result(own, result) for own, result in zip(ids, step.results, strict=True)])

    def _own_blocks(self, step: Step) -> list[dict[str, Any]] | None:
        """Return the blocks that the model itself wrote, if it is the same one and can read them."""
        opaque = step.turn.opaque
        if opaque is None or opaque.issuer != self._issuer:
            return None
        try:
            kept = json.loads(opaque.content)
            blocks: list[dict[str, Any]] = kept["blocks"]
            names = [block["name"] for block in blocks if block["type"] == "tool_use"]
            is_bound = kept["prefix"] == self.digest()
        except (ValueError, LookupError, TypeError):
            return None
        if len(names) != len(step.turn.calls):
            return None
        return blocks if is_bound else [b for b in blocks if b["type"] == "tool_use"]


def _result(own_id: str, result: PromptResult) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": own_id, "content": result.content}
    return {**block, "is_error": True} if result.is_error else block
