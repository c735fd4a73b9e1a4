"""A run as lines for a terminal: its turns, tool calls and results, and what it waits for."""

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from outlast.client.waiting import Waiting, decide_command_line, request_summary
from outlast.contracts.media import with_labels
from outlast.contracts.messages import Message
from outlast.contracts.results import AgentResult
from outlast.terminal.request_text import duration_text
from outlast.text.texts import call_text, cut

LABEL_WIDTH = 10
"""Columns of the label of a line, such as `turn 12`."""

MIN_TEXT_BYTES = 60
"""Bytes of the text of a line in a very narrow terminal."""


class RunView:
    """Returns the lines of one run. `connection` is added to the commands that a person copies."""

    def __init__(self, run_id: str, *, connection: str = "") -> None:
        self.run_id = run_id
        self._connection = connection
        self._turn = 0
        columns = shutil.get_terminal_size((110, 24)).columns
        self._text_bytes = max(MIN_TEXT_BYTES, columns - LABEL_WIDTH - 2)

    def lines(self, entry: Message | Waiting) -> list[str]:
        """Return the lines of one entry of the stream of the run."""
        if isinstance(entry, Waiting):
            return self._labelled("waits", self.waiting_lines(entry), is_cut=False)
        content = with_labels(entry.content or "")
        if entry.role == "user":
            return self._labelled("input" if self._turn == 0 else "message", [content])
        if entry.role == "tool":
            return self._labelled("", [f"{entry.tool} -> {content}"])
        self._turn += 1
        return self._labelled(f"turn {self._turn}", decision_texts(content))

    def waiting_lines(self, entry: Waiting) -> list[str]:
        """Return what the run waits for, and the commands that decide it, each on a line."""
        request = entry.request
        if request is None:
            connection = self._connection if entry.called_run else ""
            return [entry.content.removeprefix("waits ") + connection]
        left = duration_text(request.expires_at - datetime.now(UTC))
        verbs = ("answer", "deny") if request.kind == "question" else ("approve", "deny")
        commands = [
            decide_command_line(request, self.run_id, verb) + self._connection for verb in verbs
        ]
        return [f"{request_summary(request)}, expires in {left}:", *commands]

    def _labelled(self, label: str, texts: Sequence[str], *, is_cut: bool = True) -> list[str]:
        labels = [label, *[""] * (len(texts) - 1)]
        return [
            f"{name:<{LABEL_WIDTH}}{cut(text, self._text_bytes) if is_cut else text}"
            for name, text in zip(labels, texts, strict=True)
        ]


def decision_texts(content: str) -> list[str]:
    """Return a decision of the model: one text for each tool call, or its answer."""
    try:
        decision: Any = json.loads(content)
        calls = decision.get("tool_calls") or ()
        if not calls:
            answer = decision.get("answer")
            text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
            return [f"answers {text}"]
        return [
            "calls " + call_text(call["tool"], call["arguments"], len(content)) for call in calls
        ]
    except (ValueError, AttributeError, KeyError, TypeError):
        return [content]


def result_line(result: AgentResult) -> str:
    """Return the status of a run that has ended, and what it used."""
    reason = f" ({result.stop_reason})" if result.stop_reason else ""
    cost = f", {result.usage.cost_usd:g} USD" if result.usage.cost_usd else ""
    return (
        f"{result.status}{reason} after {_count(result.turns, 'turn')}, "
        f"{_count(result.tool_calls, 'tool call')}, {_count(result.usage.tokens, 'token')}{cost}"
    )


def compensation_lines(result: AgentResult) -> list[str]:
    """Return the compensations of a run that did not complete, one line each."""
    return [
        f"{step.outcome.replace('_', ' ')}: {step.tool} (call {step.call_id})"
        + (f": {step.detail}" if step.detail else "")
        for step in result.compensations
    ]


def failed_call_lines(result: AgentResult) -> list[str]:
    """Return the calls that people approved, and that failed then, one line each."""
    return [
        f"approved, and failed: {each.tool} (call {each.request_id}): {each.call_error}"
        for each in result.decisions
        if each.call_error
    ]


def price_lines(result: AgentResult) -> list[str]:
    """Return a warning if a limit on dollars could not apply, because nothing was counted."""
    if result.usage.cost_usd or not result.usage.tokens:
        return []
    reason = "the workers have no price for the model, or it is free"
    return [f"outlast: warning: limits.max_cost_usd had no effect: {reason}"]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
