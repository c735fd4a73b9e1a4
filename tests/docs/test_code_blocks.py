"""The code blocks of all pages: what they import, set, run and send exists, as it is written.

Other tests run whole examples. This one finds what a block that nobody runs can get wrong.
"""

import ast
import contextlib
import importlib
import io
import re
import shlex
import subprocess
import textwrap
import tomllib
from functools import cache
from typing import Any

import pytest
from outlast_workers.__main__ import main as run_worker_command
from outlast_workers.plan.workload import Workload
from outlast_workers.settings import Settings

from outlast.pipelines.documents import check_document
from outlast.terminal.arguments import parse_arguments
from outlast.terminal.pipeline_files import from_yaml
from tests.conftest import binary
from tests.docs.prose import ROOT, pages

FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)

BLOCKS = [
    (str(page), kind, textwrap.dedent(text))
    for page in pages()
    for _, kind, text in FENCE.findall((ROOT / page).read_text())
]

OUTLAST = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(outlast .*)$", re.MULTILINE)
"""A line that calls the command, after a prompt, variables and the folder of an environment."""

TEMPORAL = re.compile(r"^(?:\$ )?temporal ((?:[a-z][a-z-]* )+)((?:[^'\n|]|'[^']*')*)", re.MULTILINE)
"""A call of the stock CLI: its subcommand, and the rest, in which JSON may have several lines."""

INLINE = re.compile(r"(?<!`)`(outlast (?:--\w|[a-z])[^`\n]*)`(?!`)")
"""A command inside a sentence. It may lack arguments, and names a part of its options."""

REAL_VALUES = {
    "whsec_…": "whsec_" + "A" * 32,
    "…": "x" * 32,
    "s3://my-bucket": "file:///tmp",  # S3 needs a package that the tests have not
    "[http.secrets": '[http]\nhosts = ["api.example.com"]\n\n[http.secrets',  # of the block above it
}
"""What stands for the parts of TOML that a reader replaces."""


def of_kind(*kinds: str) -> list[Any]:
    """Return the blocks of these languages, as parameters of a test."""
    return [pytest.param(text, id=page) for page, kind, text in BLOCKS if kind in kinds]


def calls_of(command: re.Pattern[str]) -> list[Any]:
    """Return what shell blocks call, without the ends of lines that go on."""
    shells = of_kind("sh", "bash", "console")
    found = [(each.id, command.findall(each.values[0].replace("\\\n", " "))) for each in shells]
    return [
        pytest.param(call, id=f"{page}: {str(call)[:40]}")
        for page, calls in found
        for call in calls
    ]


@cache
def said_by_temporal(*words: str) -> str:
    """Return what the stock CLI prints."""
    command = [binary("temporal"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def words_of(line: str) -> list[str]:
    """Return the words of a command, without the redirection of its output."""
    words = shlex.split(line, comments=True)[1:]
    return words[: words.index(">")] if ">" in words else words


def error_of(words: list[str]) -> str:
    """Return what the command line says about these words, or nothing if it takes them.

    `--help` ends a command of workers before it starts anything, but not before its choices are checked.
    """
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            if words[0] == "worker":
                run_worker_command([*words[1:], "--help"])
            parse_arguments(words)
        except SystemExit as ended:
            return said.getvalue() if ended.code else ""
    return ""


@pytest.mark.parametrize("line", calls_of(OUTLAST))
def test_the_command_line_takes_each_outlast_command(line: str) -> None:
    assert error_of(words_of(line)) == ""


@pytest.mark.parametrize(
    "line",
    ["outlast run desk Hello --limit 1", "outlast worker dev --roles", "outlast wach r1"],
)
def test_a_wrong_command_is_noticed(line: str) -> None:
    assert error_of(words_of(line))


def inline_commands() -> list[Any]:
    """Return the commands inside the sentences and tables of all pages."""
    return [
        pytest.param(command, id=f"{page}: {command}")
        for page in pages()
        for command in sorted(set(INLINE.findall(FENCE.sub("", (ROOT / page).read_text()))))
    ]


def unknown_words_of(command: str) -> list[str]:
    """Return the subcommand or the options of a command that its `--help` does not have."""
    words = [word for word in command.split()[1:] if word != "…"]
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()):
        try:
            if words[0] == "worker":
                run_worker_command([*words[1:2], "--help"])
            parse_arguments([*words[: 2 if words[0] == "pipeline" else 1], "--help"])
        except SystemExit as ended:
            if ended.code:
                return words[:2]
    known = set(re.findall(r"--[a-z-]+", shown.getvalue()))
    return [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]


@pytest.mark.parametrize("command", inline_commands())
def test_each_command_inside_a_sentence_exists(command: str) -> None:
    assert unknown_words_of(command) == []


@pytest.mark.parametrize("command", ["outlast result r1", "outlast worker run --gate x"])
def test_a_command_that_does_not_exist_is_noticed(command: str) -> None:
    assert unknown_words_of(command)


@pytest.mark.parametrize("call", calls_of(TEMPORAL))
def test_the_temporal_cli_has_each_subcommand_and_option(call: tuple[str, str]) -> None:
    subcommand, rest = call
    said = said_by_temporal(*subcommand.split(), "--help")
    options = {word.partition("=")[0] for word in shlex.split(rest, comments=True)}
    known = re.findall(r"--?[a-z-]+", said + said_by_temporal("options"))
    assert f"temporal {subcommand}" in said.partition("Usage:")[2]
    assert {each for each in options if each.startswith("-")} <= set(known)


@pytest.mark.parametrize("text", of_kind("python"))
def test_each_name_that_python_imports_from_outlast_exists(text: str) -> None:
    tree = compile(text, "page", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("outlast"):
            module = importlib.import_module(str(node.module))
            assert [each.name for each in node.names if not hasattr(module, each.name)] == []


@pytest.mark.parametrize("text", of_kind("toml"))
def test_each_toml_block_is_valid(text: str) -> None:
    for shown, real in REAL_VALUES.items():
        text = text.replace(shown, real)
    table = tomllib.loads(text)
    if "concurrent_runs" in table:
        Workload(**table)
    elif "project" not in table:
        Settings(**table)


@pytest.mark.parametrize("text", [each for each in of_kind("yaml") if "dsl:" in each.values[0]])
def test_each_pipeline_in_yaml_is_valid(text: str) -> None:
    check_document(from_yaml(text))
