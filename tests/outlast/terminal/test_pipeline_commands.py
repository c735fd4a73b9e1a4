"""`outlast pipeline check` and `graph`, in this process."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from outlast.terminal.cli import run_command

VALID = """
document: {dsl: '1.0.3', namespace: demo, name: hello, version: '1.0.0'}
do:
  - greet:
      set: {text: '${ "Hello \\(.name)" }', on: no, at: 2026-11-27}
  - ask:
      call: agent
      with: {agent: writer, input: '${ .text }'}
"""


def command(tmp_path: Path, verb: str, text: str, name: str = "p.yaml") -> tuple[int, Path]:
    file = tmp_path / name
    file.write_text(text)
    return run_command(["pipeline", verb, str(file)]), file


def test_check_prints_what_is_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = command(tmp_path, "check", VALID)
    assert status == 0
    assert capsys.readouterr().out == "demo/hello 1.0.0 is valid: 2 tasks; calls agent writer\n"


def test_check_prints_each_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, file = command(tmp_path, "check", VALID.replace("call: agent", "call: agnt"))
    assert status == 1
    problem = "/do/1/ask/call: unknown function 'agnt'; did you mean 'agent'?"
    assert capsys.readouterr().err == f"{file}: {problem}\n"


def test_graph_prints_mermaid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = command(tmp_path, "graph", VALID)
    assert status == 0
    assert 'n2["ask: agent writer"]' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x 1\nb: *x", "line 2: an alias"),
        ("a: 1\na: 2", "line 2: the key 'a' stands twice"),
        ("? [1]\n: 2", "a key is not a text"),
        ("a: !!binary aGk=", "the tag"),
        ("a: !thing 1", "the tag"),
        ("[[[", "neither JSON nor YAML"),
        ("{" * 3_000, "neither JSON nor YAML"),
        ("- " * 3_000, "neither JSON nor YAML"),
    ],
)
def test_a_file_that_is_no_document_is_rejected_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    status, _ = command(tmp_path, "check", text)
    error = capsys.readouterr().err
    assert status == 1
    assert reason in error
    assert error.count("\n") == 1


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["pipeline", "check", str(tmp_path / "none.json")]) == 1
    assert "none.json cannot be read" in capsys.readouterr().err


def test_the_input_of_a_run_is_told_from_a_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, file = command(tmp_path, "check", '{"pipeline": {"do": []}}', "nightly.json")
    assert status == 1
    reason = "this is the input of a run; the document is its field 'pipeline'"
    assert capsys.readouterr().err == f"outlast: {file}: {reason}\n"


def test_a_wrong_condition_is_one_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = "[{a: {when: '.x ==', then: end}}, {b: {then: end}}]"
    text = VALID[: VALID.index("  - greet")] + f"  - choose: {{switch: {cases}}}\n"
    status, _ = command(tmp_path, "check", text)
    error = capsys.readouterr().err
    assert status == 1
    assert "/do/0/choose/switch/0/a/when" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", [("run", "scout", "-"), ("pipeline", "check", "-")])
def test_a_closed_stdin_is_one_line(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert run_command(words) == 1
    reason = "stdin is closed, so - cannot be read; give a file or a text"
    assert capsys.readouterr().err == f"outlast: {reason}\n"


@pytest.mark.parametrize("words", [("run", "scout", "-"), ("pipeline", "check", "-")])
def test_a_stdin_that_is_no_text_is_one_line(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert run_command(words) == 1
    assert capsys.readouterr().err == "outlast: stdin is not text in UTF-8\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_output_on_a_full_disk_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(VALID)
    words = [sys.executable, "-m", "outlast.terminal.cli", "pipeline", "check", str(file)]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        silent = subprocess.run(words, stdout=full, stderr=full, text=True, check=False)
    reason = "the output cannot be written: No space left on device"
    assert (ended.returncode, ended.stderr) == (1, f"outlast: {reason}\n")
    assert silent.returncode == 1
