"""Spans of a worker's activities: `chat` for prompts, `execute_tool` for tool calls, `notify` for notices.

They hold no text of prompts, results or errors, unless the worker records content. Without a collector,
the API of OpenTelemetry does nothing.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from temporalio import activity
from temporalio.exceptions import ApplicationError

from outlast.contracts.generation import Tokens
from outlast.contracts.notices import NotifyInput
from outlast.errors import ModelError
from outlast.model_server import Completion, Prompt
from outlast.text.texts import cut
from outlast_activities.attempt_protocol import waited_s
from outlast_activities.telemetry import conventions as names
from outlast_activities.telemetry.metrics import ActivityMetrics
from outlast_activities.telemetry.run_traces import wait_span
from outlast_activities.telemetry.waits import CURRENT_TASK

MAX_CONTENT_BYTES = 65_536
"""Bytes of one attribute with content. More is cut off, because collectors reject large spans."""

MAX_ERROR_TYPE_BYTES = 100
"""Bytes of `error.type`, which is also a label of metrics."""

Attributes = dict[str, Any]


@dataclass(frozen=True)
class ModelTarget:
    """Where the prompts of a model server go, as spans name it."""

    provider: str = "unknown"
    address: str | None = None
    port: int | None = None
    server: str = ""

    def attributes(self) -> Attributes:
        """Return the attributes that spans and metrics have in common."""
        known = {
            names.PROVIDER: self.provider,
            names.SERVER_ADDRESS: self.address,
            names.SERVER_PORT: self.port,
        }
        return {name: value for name, value in known.items() if value is not None}


@dataclass(frozen=True)
class ChatCall:
    """One prompt, as its span describes it. `number` is its number in the attempt."""

    target: ModelTarget
    agent: str
    model: str | None
    prompt: Prompt
    number: int
    turn: int


class ChatSpan:
    """The span of one prompt, with the tokens that it used."""

    def __init__(self, span: Span, *, records_content: bool) -> None:
        self._span = span
        self._records_content = records_content
        self.tokens = Tokens()
        self.response_model: str | None = None
        self._outcome: Attributes = {}

    def complete(self, completion: Completion) -> None:
        """Add what the model answered."""
        self.tokens = completion.tokens
        self.response_model = completion.model
        self._outcome[names.RESPONSE_MODEL] = completion.model
        self._outcome[names.FINISH_REASONS] = [completion.finish_reason]
        if self._records_content:
            self._outcome[names.OUTPUT_MESSAGES] = _output_messages(completion)

    def end(self) -> None:
        """Set the attributes that are known at the end, all at once."""
        self._span.set_attributes({**self._outcome, **_usage(self.tokens)})


UNKNOWN_TARGET = ModelTarget()
"""The target of a server that nobody described, as in tests."""


class ActivitySpans:
    """Makes the spans of the activities of one worker, and records their durations and tokens."""

    def __init__(
        self, *, records_content: bool = False, metrics: ActivityMetrics | None = None
    ) -> None:
        self._records_content = records_content
        self.metrics = metrics or ActivityMetrics()
        self._tracer = trace.get_tracer(names.SCOPE, schema_url=names.SCHEMA_URL)

    @contextmanager
    def chat(self, call: ChatCall) -> Iterator[ChatSpan]:
        """Make the span of one prompt, and record its duration and tokens."""
        common = {names.OPERATION: names.CHAT, **call.target.attributes()}
        if call.model is not None:
            common[names.REQUEST_MODEL] = call.model
        attributes = {
            **common,
            **_attempt_attributes(),
            names.AGENT_NAME: call.agent,
            names.OUTPUT_TYPE: "json",
            names.REQUEST_MAX_TOKENS: call.prompt.max_tokens,
            names.TURN: call.turn,
            names.PROMPT_NUMBER: call.number,
        }
        if call.target.server:
            attributes[names.MODEL_SERVER] = call.target.server
        if self._records_content:
            attributes |= _prompt_content(call.prompt)
        name = f"{names.CHAT} {call.model}" if call.model else names.CHAT
        began = time.perf_counter()
        try:
            with self._span(name, SpanKind.CLIENT, attributes, common) as span:
                chat = ChatSpan(span, records_content=self._records_content)
                try:
                    yield chat
                except ModelError as error:
                    chat.tokens = Tokens.model_validate(error.tokens)
                    raise
                finally:
                    chat.end()
                    self._record_tokens(common, chat)
        finally:
            self.metrics.record_operation(time.perf_counter() - began, common)

    @contextmanager
    def tool(self, name: str, arguments: bytes) -> Iterator["ToolSpan"]:
        """Make the span of one attempt of a tool call, and record its duration."""
        info = activity.info()
        labels: Attributes = {}
        attributes = {
            names.OPERATION: names.EXECUTE_TOOL,
            names.TOOL_NAME: name,
            names.TOOL_TYPE: "function",
            names.TOOL_CALL_ID: info.activity_id,
            names.IS_LOCAL: info.is_local,
            **_attempt_attributes(),
        }
        if self._records_content:
            attributes[names.TOOL_ARGUMENTS] = _content(arguments.decode(errors="replace"))
        began = time.perf_counter()
        span_name = f"{names.EXECUTE_TOOL} {name}"
        try:
            with self._span(span_name, SpanKind.INTERNAL, attributes, labels) as span:
                yield ToolSpan(span, records_content=self._records_content)
        finally:
            seconds, failure = time.perf_counter() - began, labels.get(names.ERROR_TYPE, "")
            self.metrics.record_tool(seconds, tool=name, error_type=failure)

    @contextmanager
    def notice(self, notice: NotifyInput) -> Iterator[None]:
        """Make the span of one attempt to send a notice, with a link to the span of the wait."""
        attributes = {
            names.REQUEST_ID: notice.request_id,
            names.AUDIENCE: notice.audience,
            names.NOTICE_REASON: notice.reason,
            **_attempt_attributes(),
        }
        run = trace.get_current_span().get_span_context()
        links = [Link(wait_span(run, notice.request_id))] if run.is_valid else []
        name = f"{names.NOTIFY} {notice.audience}"
        with self._span(name, SpanKind.PRODUCER, attributes, {}, links):
            yield

    def _span(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        labels: Attributes,
        links: Sequence[Link] = (),
    ) -> AbstractContextManager[Span]:
        span = self._tracer.start_span(name, kind=kind, attributes=attributes, links=links)
        return current_span(span, labels)

    def _record_tokens(self, common: Attributes, chat: ChatSpan) -> None:
        tokens, model = chat.tokens, chat.response_model
        if tokens.total:
            labels = {**common, names.RESPONSE_MODEL: model} if model else common
            self.metrics.record_tokens(tokens.prompt_tokens, tokens.completion_tokens, labels)


@contextmanager
def current_span(span: Span, labels: Attributes) -> Iterator[Span]:
    """Make a span the current one, and end it. An error adds `error.type` to it and to `labels`.

    The text of the error is left out, because it may hold content.
    """
    # Not `start_as_current_span`, whose two more context managers cost a tenth of a span.
    token = otel_context.attach(trace.set_span_in_context(span))
    try:
        yield span
    except BaseException as error:
        labels[names.ERROR_TYPE] = error_type(error)
        span.set_attribute(names.ERROR_TYPE, labels[names.ERROR_TYPE])
        span.set_status(StatusCode.ERROR)
        raise
    finally:
        otel_context.detach(token)
        span.end()


class ToolSpan:
    """The span of one attempt of a tool call."""

    def __init__(self, span: Span, *, records_content: bool) -> None:
        self._span = span
        self._records_content = records_content

    def complete(self, result: bytes) -> None:
        """Add the result, if the worker records content."""
        if self._records_content:
            self._span.set_attribute(names.TOOL_RESULT, _content(result.decode(errors="replace")))


def error_type(error: BaseException) -> str:
    """Return the class of an error: of few values, and without a text that may hold content."""
    if isinstance(error, asyncio.CancelledError):
        if not activity.in_activity():
            return "cancelled"
        details = activity.cancellation_details()
        if details is not None and details.worker_shutdown:
            return "worker_shutdown"
        return "cancelled" if activity.is_cancelled() else "timeout"
    if isinstance(error, ModelError):
        return str(error.kind)
    kind = error.type if isinstance(error, ApplicationError) and error.type else None
    return cut(kind or type(error).__name__, MAX_ERROR_TYPE_BYTES)


def _attempt_attributes() -> Attributes:
    if not activity.in_activity():
        return {}
    info = activity.info()
    attributes: Attributes = {
        names.CONVERSATION: info.workflow_id or "",
        names.WORKFLOW_ID: info.workflow_id or "",
        names.WORKFLOW_RUN_ID: info.workflow_run_id or "",
        names.ACTIVITY_ID: info.activity_id,
        names.ATTEMPT: info.attempt,
    }
    if task := CURRENT_TASK.get():
        attributes[names.TASK] = task
    if not info.is_local:
        attributes[names.QUEUE_WAIT_S] = round(waited_s(), 3)
    return attributes


def _usage(tokens: Tokens) -> Attributes:
    if not tokens.total:
        return {}
    usage: Attributes = {
        names.INPUT_TOKENS: tokens.prompt_tokens,
        names.OUTPUT_TOKENS: tokens.completion_tokens,
    }
    if tokens.cached_prompt_tokens:
        usage[names.CACHED_TOKENS] = tokens.cached_prompt_tokens
    if tokens.reasoning_tokens:
        usage[names.REASONING_TOKENS] = tokens.reasoning_tokens
    return usage


def _prompt_content(prompt: Prompt) -> Attributes:
    messages = [_message(each["role"], each["content"]) for each in prompt.messages]
    system = [part for each in messages if each["role"] == "system" for part in each["parts"]]
    others = [each for each in messages if each["role"] != "system"]
    return {
        names.SYSTEM_INSTRUCTIONS: _content(json.dumps(system)),
        names.INPUT_MESSAGES: _content(json.dumps(others)),
    }


def _output_messages(completion: Completion) -> str:
    message = _message("assistant", completion.text)
    return _content(json.dumps([{**message, "finish_reason": completion.finish_reason}]))


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _content(text: str) -> str:
    data = text.encode(errors="replace")
    return (
        text if len(data) <= MAX_CONTENT_BYTES else data[:MAX_CONTENT_BYTES].decode(errors="ignore")
    )
