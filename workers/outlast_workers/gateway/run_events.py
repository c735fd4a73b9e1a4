"""Events of a run: the entries of its transcript, its human requests and its end, for clients over HTTP.

| type | data |
| --- | --- |
| `message` | `text` of a person |
| `tool_call` | `call`, `tool`, `arguments` |
| `tool_result` | `call`, `tool`, `result`; `decided` if a person decided |
| `answer` | `answer` |
| `compaction` | `entries`: the model no longer sees the tool results of so many first entries |
| `usage` | `usage`: what the turn used |
| `request_opened` | `request`: the pending request |
| `request_settled` | `request_id` |
| `waiting` | `text`: what the run waits for, other than a person |
| `run_ended` | `status`, `output`, `stop_reason`, `usage`, or `error` |
| `turn` | `turn`: the model begins to write its next decision |
| `reasoning` | nothing: the model thinks |
| `text` | `text`: more of the answer that the model writes |
| `text_reset` | `reason`: the text of the open answer begins anew, or is no answer |

The last four come from the hub, and not from the transcript. Without a hub there are none. `compaction` and
`usage` come before the tool calls or the answer of their turn.

A `call` is `ENTRY.NUMBER`: the entry of the decision, and the number of the call in it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import JsonValue

from outlast.client.waiting import Waiting
from outlast.contracts.messages import Message
from outlast.contracts.results import AgentResult
from outlast.errors import RunFailed

OF_TURN = frozenset({"compaction", "usage"})
"""Events of a turn, before the events of its entry."""

LIVE = frozenset({"turn", "reasoning", "text", "text_reset"})
"""Events of an answer that a model still writes."""


@dataclass(frozen=True)
class RunEvent:
    """One event. `position` is the number of transcript entries that a client has seen after it.

    `open` is the attempt of the next entry, and how many characters of its text the client has seen.
    `entry` is the number of the event's own entry, if the client has not seen all of that entry after it.
    """

    type: str
    position: int
    data: dict[str, JsonValue]
    open: tuple[int, int] | None = None
    entry: int | None = None

    @property
    def id(self) -> str:
        """The place after the event, at which a client can continue. Empty if the event moves nobody.

        What a run waits for can come in the middle of a text: its position alone would forget that text.
        A client that has seen an event of a turn still lacks the entry of that turn.
        """
        if self.open is None and (not self.is_durable or self.type in OF_TURN):
            return ""
        if self.open is None or not self.open[1]:
            return str(self.position)
        return f"{self.position}.{self.open[0]}.{self.open[1]}"

    @property
    def is_durable(self) -> bool:
        """Whether the event is part of the transcript, and not only true for now."""
        return self.type not in {"request_opened", "waiting", *LIVE}

    def is_news(self, after: int) -> bool:
        """Return whether a client that has seen the position `after` lacks the event."""
        entry = self.position if self.entry is None else self.entry
        return entry > after or self.type == "run_ended" or not self.is_durable

    def json(self) -> dict[str, JsonValue]:
        """Return the event as one JSON object."""
        return {"type": self.type, "position": self.position, **self.data}


@dataclass
class EventReader:
    """Turns the entries of `Run.stream` into events. It starts at the first entry of a transcript."""

    position: int = 0
    decision: int = 0
    """The entry of the last decision with tool calls."""
    trimmed: int = 0
    """The first entries whose tool results the model no longer sees."""
    waiting: dict[str, RunEvent] = field(default_factory=dict)
    """What the run waits for now: the events of open requests, by request id, or one other event."""

    def read(self, entry: Message | Waiting) -> Iterator[RunEvent]:
        """Yield the events of one entry."""
        if isinstance(entry, Waiting):
            yield from self._waiting(entry)
            return
        self.position += 1
        self.waiting.pop("", None)
        if entry.role == "user":
            yield self._event("message", text=entry.content or "")
        elif entry.role == "assistant":
            yield from self._turn(entry)
            yield from self._decision(json.loads(entry.content or "{}"))
        else:
            yield from self._result(entry)

    def _turn(self, entry: Message) -> Iterator[RunEvent]:
        if entry.trimmed is not None and entry.trimmed > self.trimmed:
            self.trimmed = entry.trimmed
            yield self._event("compaction", entries=entry.trimmed)
        if entry.usage is not None:
            yield self._event("usage", usage=entry.usage.model_dump(mode="json"))

    def _decision(self, decision: dict[str, JsonValue]) -> Iterator[RunEvent]:
        calls = decision.get("tool_calls")
        if not isinstance(calls, list):
            yield self._event("answer", answer=decision.get("answer"))
            return
        self.decision = self.position - 1
        for number, call in enumerate(calls, 1):
            fields = call if isinstance(call, dict) else {}
            # A client that has lost the later calls of a decision reads all of them again.
            position = self.position if number == len(calls) else self.position - 1
            yield RunEvent(
                "tool_call",
                position,
                {
                    "call": f"{self.decision}.{number}",
                    "tool": fields.get("tool"),
                    "arguments": fields.get("arguments"),
                },
                entry=self.position,
            )

    def _result(self, entry: Message) -> Iterator[RunEvent]:
        call_id = entry.call_id or ""
        if self.waiting.pop(call_id, None) is not None:
            yield self._event("request_settled", request_id=call_id)
        data: dict[str, JsonValue] = {
            "call": self.call(call_id),
            "tool": entry.tool,
            "result": _value(entry.content),
        }
        if entry.decided:
            data["decided"] = entry.decided
        yield RunEvent("tool_result", self.position, data)

    def _waiting(self, entry: Waiting) -> Iterator[RunEvent]:
        request = entry.request
        if request is None:
            event = self._event("waiting", text=entry.content)
        else:
            shown = request.model_dump(mode="json")
            event = self._event("request_opened", call=self.call(request.request_id), request=shown)
        self.waiting[request.request_id if request else ""] = event
        yield event

    def call(self, call_id: str) -> str:
        """Return the `call` of a call id of the workflow, `TURN.NUMBER`."""
        return f"{self.decision}.{call_id.rpartition('.')[2]}"

    def ended(self, result: AgentResult | RunFailed) -> RunEvent:
        """Return the last event of a run."""
        if isinstance(result, RunFailed):
            return self._event(
                "run_ended", status="failed", error=result.message, error_type=result.cause_type
            )
        return self._event(
            "run_ended",
            status=result.status,
            output=result.output_json,
            stop_reason=result.stop_reason,
            usage=result.usage.model_dump(mode="json"),
        )

    def _event(self, kind: str, **data: JsonValue) -> RunEvent:
        return RunEvent(kind, self.position, data)


def _value(content: str | None) -> JsonValue:
    try:
        value: JsonValue = json.loads(content or "null")
    except ValueError:
        return content
    return value
