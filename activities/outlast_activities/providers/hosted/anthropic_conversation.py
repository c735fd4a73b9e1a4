"""The messages of a request to Anthropic: turns as blocks, and the thoughts that go back to their model."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from outlast.turns import AnswerTurn, MediaPart, PromptResult, ResultsTurn, Turn, UserTurn
from outlast_activities.providers.hosted.prompts import Step, safe_id
from outlast_activities.providers.media_parts import PartSplitter


class Conversation:
    """The messages of a request. `issuer` is whose signatures may be sent back.

    Models bind their thoughts to all that is before them. So thoughts are sent back only if nothing of it
    changed since, which a digest of all blocks tells.
    """

    def __init__(
        self, issuer: str, names: Mapping[str, str], media: Mapping[str, MediaPart]
    ) -> None:
        self.messages: list[dict[str, Any]] = []
        self._issuer = issuer
        self._names = names
        self._splitter = PartSplitter(media)
        self._hash = hashlib.sha256()

    def add(self, turn: Turn | Step) -> None:
        """Add a turn."""
        if isinstance(turn, Step):
            self._add_step(turn)
        elif isinstance(turn, UserTurn):
            self.say(self._blocks(turn.text or " "))
        elif isinstance(turn, AnswerTurn):
            self._append("assistant", [{"type": "text", "text": turn.text}])
        elif isinstance(turn, ResultsTurn):
            for result in turn.results:
                self.say(self._blocks(f"{result.tool}: {result.content}"))

    def add_text(self, role: str, text: str) -> None:
        """Add a message of the way `decision`."""
        is_user = role == "user"
        self._append(role, self._blocks(text) if is_user else [{"type": "text", "text": text}])

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
        pairs = zip(ids, step.results, strict=True)
        self.say([self._result(own, result) for own, result in pairs])

    def _blocks(self, text: str) -> list[dict[str, Any]]:
        """Return a text and the images and files that it is the first to name."""
        parts = self._splitter.split(text)
        return [
            {"type": "text", "text": part} if isinstance(part, str) else _media_block(part)
            for part in parts
        ]

    def _result(self, own_id: str, result: PromptResult) -> dict[str, Any]:
        blocks = self._blocks(result.content)
        content: Any = result.content if len(blocks) == 1 else blocks
        block = {"type": "tool_result", "tool_use_id": own_id, "content": content}
        return {**block, "is_error": True} if result.is_error else block

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


def _media_block(part: MediaPart) -> dict[str, Any]:
    source: dict[str, Any] = (
        {"type": "url", "url": part.url}
        if part.url
        else {"type": "base64", "media_type": part.media_type, "data": part.base64}
    )
    if part.is_image:
        return {"type": "image", "source": source}
    return {"type": "document", "source": source, **({"title": part.name} if part.name else {})}
