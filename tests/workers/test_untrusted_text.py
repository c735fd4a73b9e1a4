"""Each place that shows the text of models, users, tools and starters shows it whole and inert."""

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from http import HTTPStatus
from types import SimpleNamespace
from typing import cast

import pytest
import structlog
from outlast_activities.notify import _text
from outlast_workers.callback.links import Link, Links
from outlast_workers.callback.page import CallbackPage
from outlast_workers.settings import Settings
from outlast_workers.telemetry import start_telemetry
from outlast_workflows.display_text import (
    call_summary,
    details,
    last_messages,
    pause_text,
    timer_summary,
)
from pydantic import JsonValue
from temporalio.client import Client

from outlast.contracts.human import PendingRequest, hash_of
from outlast.contracts.messages import Decision, ToolCall
from outlast.contracts.results import AgentStatus, Progress
from outlast.contracts.usage import Usage
from outlast.decide_commands import decide_command, decide_update_id, outlast_command
from outlast.terminal.inbox import Inbox, InboxEntry, UnreachableRun, inbox_lines
from outlast.terminal.request_text import printable, request_lines
from outlast.text.safe_text import decoded
from outlast.transcripts import decision_message, user_message
from tests.outlast.text.hostile_texts import HOSTILE
from tests.outlast.text.test_safe_text import ACTIVE, ACTIVE_IN_CHAT, assert_seen

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHORT = {name: text for name, text in HOSTILE.items() if len(text) < 500}
hostile = pytest.mark.parametrize("text", SHORT.values(), ids=SHORT.keys())


def request_with(text: str, **fields: object) -> PendingRequest:
    """Return a request in which everything that a stranger writes is the text."""
    arguments: dict[str, JsonValue] = {"note": text, "list": [text, 1]}
    given: dict[str, object] = {
        "request_id": "2.1",
        "tool": "refund",
        "arguments": arguments,
        "arguments_hash": hash_of(arguments),
        "audience": text,
        "quorum": 2,
        "approved_by": [text],
        "edited_by": text or None,
        "agent": text,
        "user_message": text,
        "tool_description": text,
        "effect": "write",
        "opened_at": NOW,
        "expires_at": NOW + timedelta(hours=1),
    }
    return PendingRequest.model_validate(given | fields)


def question_with(text: str, **fields: object) -> PendingRequest:
    return request_with(
        text, kind="question", question=text, answer_schema={"const": text}, **fields
    )


def progress_with(*pending: PendingRequest, text: str, status: AgentStatus) -> Progress:
    return Progress(
        agent=text,
        status=status,
        doing=text,
        turn=1,
        max_turns=2,
        tool_calls=1,
        usage=Usage(),
        pending=list(pending),
    )


def outside_of_code(markdown: str) -> tuple[str, list[str]]:
    """Return Markdown with its code replaced by marks, and the code blocks."""
    blocks: list[str] = []

    def block(match: re.Match[str]) -> str:
        blocks.append(match.group(2))
        return f"<{match.group(1)} block>"

    rest = re.sub(r"(?ms)^```(\w+)\n(.*?)\n```$", block, markdown)
    return re.sub(r"`[^`\n]+`", "<code>", rest), blocks


@hostile
def test_the_details_of_the_ui(text: str) -> None:
    def shown(words: str) -> str:
        pending = (request_with(words), question_with(words))
        return details(progress_with(*pending, text=words, status="waiting_for_human"), words)

    rest, blocks = outside_of_code(shown(text))
    # Optional parts are there for an empty text too, or not at all.
    assert rest == outside_of_code(shown("x" if text else text))[0]
    assert json.loads(blocks[0]) == request_with(text).arguments
    question = next(block for block in blocks if decoded(block) == text)
    assert json.loads(blocks[blocks.index(question, 3) + 1]) == {"answer": {"const": text}}
    assert_seen(shown(text), keep="\n")


@hostile
def test_a_conversation_in_the_details(text: str) -> None:
    messages = [user_message(text), decision_message(Decision(answer=text))]
    progress = progress_with(text="x", status="waiting_for_message")
    rest, (block,) = outside_of_code(
        details(progress, "run", last_messages(messages, is_conversation=True))
    )
    assert "The last 2 messages" in rest
    said, answered = block.split("\n")
    if "…" not in block:
        assert decoded(said.removeprefix("user:  ")) == text
        assert decoded(answered.removeprefix("agent: ")) == text
    answer = last_messages(messages, is_conversation=False)
    rest, (block,) = outside_of_code(details(progress, "run", answer))
    assert decoded(block) == text


@hostile
def test_summaries_in_the_timeline(text: str) -> None:
    call = ToolCall(tool="refund", arguments={"note": text})
    for summary in (
        call_summary(call),
        timer_summary(request_with(text), "expires"),
        timer_summary(question_with(text), "sends a reminder"),
    ):
        assert_seen(summary)
        assert not ACTIVE.search(summary)
        assert len(summary.encode()) <= 200
    assert_seen(pause_text(text, text))


@hostile
@pytest.mark.parametrize("decision", ["approve", "deny", "edit", "answer"])
def test_commands_to_copy(text: str, decision: str) -> None:
    request = request_with(text)
    for command in (
        decide_command(text, request, decision),
        outlast_command(text, request, decision),
        decide_command(text, request_with(text, signers=[text]), decision),
    ):
        assert_seen(command, keep="\n")
        assert "`" not in command
    payload = re.search(r"(?s)--input \\\n '(\{.*\})'$", decide_command("r", request, decision))
    assert payload is not None
    assert "'" not in payload.group(1)
    sent = json.loads(payload.group(1))
    assert sent["arguments_hash"] == request.arguments_hash
    if decision == "edit":
        assert sent["arguments"] == request.arguments


@hostile
def test_the_terminal(text: str) -> None:
    def lines(words: str) -> list[str]:
        shown = request_lines(words, request_with(words), now=NOW)
        inbox = Inbox((InboxEntry(words, question_with(words)),), (UnreachableRun(words, words),))
        return shown + inbox_lines(inbox, now=NOW, audience=words, width=100)

    shown = lines(text)
    assert len(shown) == len(lines("x" if text else text))
    for line in shown:
        assert_seen(line)
        assert decoded(printable(line)) == decoded(line)
    assert f"    note: {json.dumps(text)}" in [_as_ascii_json(line) for line in shown]


def _as_ascii_json(line: str) -> str:
    name, _, value = line.partition(": ")
    try:
        return f"{name}: {json.dumps(json.loads(value))}"
    except ValueError:
        return line


@hostile
def test_the_text_of_a_notice(text: str) -> None:
    for request in (request_with(text), question_with(text)):
        shown = _text(request, text, text)
        assert_seen(shown)
        assert not ACTIVE_IN_CHAT.search(shown)


class Elements(HTMLParser):
    """Collects the tags and the texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.texts: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.texts.setdefault(tag, []).append("")

    def handle_data(self, data: str) -> None:
        if self.tags and data:
            self.texts[self.tags[-1][0]][-1] += data


@hostile
def test_the_decision_page(text: str) -> None:
    page = CallbackPage(
        cast("Client", SimpleNamespace(namespace="default")), Links("a secret of many letters")
    )

    def elements(pending: PendingRequest, words: str) -> Elements:
        response = page._page(HTTPStatus.OK, words, pending=pending, link=Link(words, words, "2.1"))
        parser = Elements()
        parser.feed(bytes(response.body).decode())
        return parser

    words = "x" if text else text
    for build in (request_with, question_with):
        for signers in ([], ["ann"]):
            shown = elements(build(text, signers=signers), text)
            assert shown.tags == elements(build(words, signers=signers), words).tags
            for texts in shown.texts.values():
                for each in texts:
                    assert_seen(each, keep="\n")
    approval = elements(request_with(text), text)
    assert json.loads(approval.texts["pre"][0]) == request_with(text).arguments
    if text.strip():
        quote = approval.texts["blockquote"][0]
        assert decoded(quote.strip("\n")).strip() == text.strip()


@pytest.fixture
def console() -> Iterator[Callable[[str], str]]:
    """Return what a log line shows in a terminal, and in JSON."""
    root = logging.getLogger()
    handlers, level, configured = root.handlers[:], root.level, structlog.get_config()

    def logged(text: str) -> str:
        out = io.StringIO()
        start_telemetry(Settings(log_format="console"), stream=out)
        structlog.get_logger("test").warning("run.started", workflow_id=text, by=[text])
        logging.getLogger("other").warning("failed: %s", text)
        return out.getvalue()

    yield logged
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)


@hostile
def test_log_lines_in_a_terminal(text: str, console: Callable[[str], str]) -> None:
    lines = console(text).splitlines()
    assert len(lines) == 2
    for line in lines:
        assert_seen(line)


def test_the_same_decision_has_the_same_id() -> None:
    request = request_with("x")
    first: dict[str, JsonValue] = {"request_id": "2.1", "decision": "approve", "by": "ann"}
    assert decide_update_id(first, request) == decide_update_id(
        dict(reversed(first.items())), request
    )
    others: list[dict[str, JsonValue]] = [
        first | {"by": "bo"},
        first | {"decision": "deny"},
        first | {"comment": "\ud800"},
    ]
    ids = {decide_update_id(other, request) for other in [first, *others]}
    voided = request.model_copy(update={"approved_by": []})
    assert len({*ids, decide_update_id(first, voided)}) == 5
