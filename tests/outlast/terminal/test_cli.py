"""The `outlast` command without a server: what it reads, and what it shows."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outlast import BadRequest
from outlast.contracts.human import PendingRequest, hash_of
from outlast.contracts.search_attributes import query_literal
from outlast.terminal.arguments import parse_arguments
from outlast.terminal.chat import resume_command
from outlast.terminal.cli import run_command
from outlast.terminal.console import is_stdin_terminal, read_line
from outlast.terminal.decisions import DecisionInput, decision_from, parse_answer, select_request
from outlast.terminal.inbox import (
    MAX_RUNS,
    Inbox,
    InboxEntry,
    UnreachableRun,
    inbox_json,
    inbox_lines,
    inbox_query,
)
from outlast.terminal.request_text import decision_lines, duration_text, printable, request_lines

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def call(**changes: Any) -> PendingRequest:
    arguments = {"order_id": "42", "amount_usd": 80}
    return PendingRequest.model_validate(
        {
            "request_id": "2.1",
            "tool": "refund",
            "arguments": arguments,
            "arguments_hash": hash_of(changes.get("arguments", arguments)),
            "audience": "leads",
            "opened_at": NOW - timedelta(minutes=3),
            "expires_at": NOW + timedelta(hours=2, minutes=5),
            **changes,
        }
    )


def question(schema: Any, text: str = "Which?") -> PendingRequest:
    return call(
        kind="question",
        tool="ask_human",
        arguments={"question": text},
        question=text,
        answer_schema=schema,
        audience="designers",
    )


def typed(*words: str) -> DecisionInput:
    decision: DecisionInput = parse_arguments(words).typed
    return decision


@pytest.mark.parametrize(
    ("words", "request_id", "answer"),
    [
        (["approve", "r2"], None, None),
        (["approve", "r2", "2.1", "--by", "ann"], "2.1", None),
        (["approve", "r2", "--by", "ann", "2.1"], "2.1", None),
        (["deny", "--by", "ann", "r2", "2.1"], "2.1", None),
        (["answer", "r2", "blue"], None, "blue"),
        (["answer", "r2", "--by", "ann", "blue"], None, "blue"),
        (["answer", "r2", "2.1", "--by", "ann", "-5"], "2.1", "-5"),
    ],
)
def test_the_request_is_optional_wherever_the_options_are(
    words: list[str], request_id: str | None, answer: str | None
) -> None:
    decision = typed(*words)
    assert (decision.run_id, decision.request_id, decision.answer) == ("r2", request_id, answer)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "required: COMMAND"),
        (["aprove", "r2"], "invalid choice: 'aprove'"),
        (["approve"], "required: RUN"),
        (["approve", "r2", "2.1", "2.2"], "outlast approve: error: unrecognized arguments: 2.2"),
        (["approve", "r2", "--bye"], "outlast approve: error: unrecognized arguments: --bye"),
        (["inbox", "r2"], "outlast inbox: error: unrecognized arguments: r2"),
        (["answer", "r2"], "required: ANSWER"),
        (["edit", "r2"], "required: --arguments"),
        (["edit", "r2", "--arguments", "{"], "--arguments: '{' is not JSON"),
        (["edit", "r2", "--arguments", "[1]"], "--arguments: '[1]' is not a JSON object"),
        (["--address", "x:1", "worker", "run"], "worker must be the first word"),
    ],
)
def test_a_wrong_command_line_exits_with_2(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(words)
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--address", "x:1", "--namespace", "n", "inbox"],
        ["inbox", "--address", "x:1", "--namespace", "n"],
        ["--address", "x:1", "inbox", "--namespace", "n"],
        ["--address", "y:2", "--namespace", "n", "inbox", "--address", "x:1"],
        ["--address=x:1", "--namespace=n", "run", "desk", "hello"],
        ["--address", "x:1", "--namespace", "n", "approve", "r2"],
    ],
)
def test_the_connection_is_named_before_or_after_the_command(words: list[str]) -> None:
    options = parse_arguments(words)
    assert (options.address, options.namespace) == ("x:1", "n")


def test_without_options_the_connection_is_that_of_the_temporal_cli() -> None:
    options = parse_arguments(["inbox"])
    assert (options.address, options.namespace) == (None, None)


@pytest.mark.parametrize("command", ["inbox", "approve", "deny", "edit", "answer"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command([command, "--help"])
    assert ended.value.code == 0
    assert "TEMPORAL_ADDRESS" in capsys.readouterr().out


def test_the_inbox_is_a_table() -> None:
    arguments = {"order_id": "42", "usd": 80}
    paying = call(tool="pay", arguments=arguments, quorum=2, approved_by=["ann"])
    inbox = Inbox(
        (
            InboxEntry("r2", paying),
            InboxEntry("a-longer-id", question({"type": "string"})),
        )
    )
    assert inbox_lines(inbox, now=NOW) == [
        "RUN          REQUEST  AUDIENCE   WAITS  EXPIRES IN  VOTES   ASKED",
        "r2           2.1      leads      3 min  2 h 5 min   1 of 2  pay(order_id=42, usd=80)",
        "a-longer-id  2.1      designers  3 min  2 h 5 min   -       Which?",
        "",
        "Decide one: outlast approve | deny | edit | answer RUN REQUEST",
    ]


def test_an_empty_inbox_says_so() -> None:
    assert inbox_lines(Inbox(()), now=NOW) == ["No request waits for a person."]
    assert inbox_lines(Inbox(()), now=NOW, audience="leads") == ["No request waits for leads."]


def test_runs_without_a_worker_and_runs_beyond_the_limit_are_listed() -> None:
    inbox = Inbox((), unreachable=(UnreachableRun("r5", "no worker"),), more=True)
    assert inbox_lines(inbox, now=NOW) == [
        "r5 cannot be queried: no worker",
        f"More than {MAX_RUNS} runs wait. Select fewer with --audience or --tenant.",
    ]
    assert inbox_json(inbox) == {
        "requests": [],
        "unanswered": [{"run": "r5", "reason": "no worker"}],
        "more": True,
    }


def test_what_is_decided_is_shown_uncut_and_exact() -> None:
    request = call(
        arguments={"order_id": "42", "note": "n" * 500, "items": [1]},
        quorum=2,
        approved_by=["ann"],
        edited_by="bo",
    )
    assert request_lines("r2", request, now=NOW) == [
        "run r2, request 2.1 for leads: waits 3 min, expires in 2 h 5 min",
        "  refund",
        '    order_id: "42"',
        f'    note: "{"n" * 500}"',
        "    items: [1]",
        "  edited by bo",
        "  approved by ann; needs 2",
    ]


def test_a_question_is_shown_with_its_lines_and_the_type_of_its_answer() -> None:
    pending_question = question({"type": "boolean"}, "Is it?\nReally?")
    assert request_lines("r2", pending_question, now=NOW)[1:] == [
        "  ask_human",
        "    | Is it?",
        "    | Really?",
        '  answer with {"type": "boolean"}',
    ]


def test_an_edit_shows_what_it_changes() -> None:
    decision_input = typed("edit", "r2", "--arguments", '{"amount_usd": 50, "note": "half"}')
    decision = decision_from(decision_input, call(), by="ann")
    assert decision_lines(decision, call()) == [
        "  edited to",
        '    order_id: "42" -> (absent)',
        "    amount_usd: 80 -> 50",
        '    note: (absent) -> "half"',
    ]


def test_what_a_model_wrote_cannot_move_the_cursor_or_turn_text_around() -> None:
    assert printable("a\x1b[2Jb\x9bc\u202ed\ne") == "a\\x1b[2Jb\\x9bc\\u202ed\\ne"
    assert printable("Grüße, 東京 “…” 😀") == "Grüße, 東京 “…” 😀"


def test_a_decision_is_bound_to_what_was_shown() -> None:
    assert decision_from(typed("approve", "r2"), call(), by="ann").model_dump(
        exclude_unset=True
    ) == {
        "request_id": "2.1",
        "decision": "approve",
        "arguments_hash": call().arguments_hash,
        "by": "ann",
        "comment": "",
    }
    unseen = decision_from(typed("approve", "r2", "9.9"), None, by="ann")
    assert (unseen.request_id, unseen.arguments_hash) == ("9.9", "unseen")
    with pytest.raises(BadRequest, match="have changed"):
        decision_from(typed("approve", "r2", "--hash", "0" * 16), call(), by="ann")


@pytest.mark.parametrize(
    ("words", "request_", "text"),
    [
        (["approve", "r2"], question({"type": "string"}), "is a question: answer or deny it"),
        (["answer", "r2", "yes"], call(), "is a call: approve, edit or deny it"),
    ],
)
def test_a_decision_that_does_not_fit_is_refused_before_it_is_sent(
    words: list[str], request_: PendingRequest, text: str
) -> None:
    with pytest.raises(BadRequest, match=text):
        decision_from(typed(*words), request_, by="ann")


def test_a_name_that_is_too_long_is_rejected_before_it_is_sent() -> None:
    with pytest.raises(BadRequest, match="by: 'a"):
        decision_from(typed("approve", "r2"), call(), by="a" * 201)


def test_an_answer_is_json_unless_text_is_asked_for() -> None:
    assert parse_answer("5", question({"type": "string"})) == "5"
    assert parse_answer("Yes", question({"type": "boolean"})) is True
    assert parse_answer("false", question({"type": "boolean"})) is False
    with pytest.raises(BadRequest, match="answer: 'maybe' is not true or false: write true or"):
        parse_answer("maybe", question({"type": "boolean"}))
    assert parse_answer("red", question({"enum": ["red"], "type": "string"})) == "red"
    assert parse_answer("5", question({"type": "integer"})) == 5
    assert parse_answer('{"a": null}', question({"type": "object"})) == {"a": None}
    with pytest.raises(BadRequest, match=r"'blue' is not JSON .* question wants {\"type\": \"obj"):
        parse_answer("blue", question({"type": "object"}))
    with pytest.raises(BadRequest, match="NaN is not a JSON number"):
        parse_answer("NaN", question({"type": "number"}))


def test_a_conversation_is_continued_with_the_options_that_were_typed() -> None:
    plain = parse_arguments(["chat", "desk"])
    assert resume_command(plain, "r2") == "outlast chat desk --id r2"
    words = ["chat", "desk", "--tenant", "acme", "--task-queue", "eu", "--address", "x:1"]
    expected = "outlast chat desk --id r2 --tenant acme --task-queue eu --address x:1"
    assert resume_command(parse_arguments(words), "r2") == expected


def test_a_closed_input_is_no_terminal_and_has_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert not is_stdin_terminal()
    assert read_line("> ") is None


def test_the_only_request_is_meant_where_none_is_named() -> None:
    one, other = call(), call(request_id="2.2")
    unnamed = typed("approve", "r2")
    assert select_request([one], unnamed) is one
    assert select_request([one, other], typed("approve", "r2", "2.2")) is other
    assert select_request([one], typed("approve", "r2", "9.9")) is None
    with pytest.raises(BadRequest, match="run 'r2' has no pending request"):
        select_request([], unnamed)
    with pytest.raises(BadRequest, match=r"name one: 2.1 \(refund, leads\), 2.2 \(refund"):
        select_request([one, other], unnamed)


def test_values_are_quoted_in_visibility_queries() -> None:
    assert query_literal("it's so", "--tenant") == "'it''s so'"
    for value in ("a\\b", 'a"b'):
        with pytest.raises(BadRequest, match=r"--tenant: .* cannot be searched for"):
            inbox_query(tenant=value)
    assert inbox_query() == (
        "WorkflowType IN ('AgentWorkflow', 'PipelineWorkflow') AND ExecutionStatus = 'Running'"
        " AND AgentStatus = 'waiting_for_human' AND AgentAudience IS NOT NULL"
    )
    assert inbox_query(audience="leads", tenant="acme").endswith(
        " AND AgentAudience = 'leads' AND AgentTenant = 'acme'"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3_600, "1 h"),
        (7_500, "2 h 5 min"),
        (86_400, "1 d"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_duration_is_written_in_its_largest_units(seconds: float, text: str) -> None:
    assert duration_text(timedelta(seconds=seconds)) == text


def test_a_profile_that_does_not_exist_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEMPORAL_PROFILE", "nope")
    assert run_command(["inbox"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line
        == "outlast: the Temporal profile (TEMPORAL_*, temporal.toml): Profile 'nope' not found"
    )
