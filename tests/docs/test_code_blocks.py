"""The code blocks of all pages: what they import, set, run and send exists, as it is written.

Other tests run whole examples. This one finds what a block that nobody runs can get wrong.
"""

import ast
import contextlib
import importlib
import io
import re
import shlex
import textwrap
import tomllib
from typing import Any

import pytest
from outlast_workers.__main__ import main as run_worker_command
from outlast_workers.plan.workload import Workload
from outlast_workers.settings import Settings

from outlast.pipelines.documents import check_document
from outlast.terminal.arguments import parse_arguments
from outlast.terminal.pipeline_files import from_yaml
from tests.docs.prose import ROOT, pages

FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)

BLOCKS = [
    (str(page), kind, textwrap.dedent(text))
    for page in pages()
    for _, kind, text in FENCE.findall((ROOT / page).read_text())
]

OUTLAST = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(outlast .*)$")
"""A line that calls the command, after a prompt, variables and the folder of an environment."""

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


def outlast_commands() -> list[Any]:
    """Return the lines of all shell blocks that call `outlast`."""
    lines = [
        (page, line)
        for page, kind, text in BLOCKS
        if kind in ("sh", "bash", "console")
        for line in text.replace("\\\n", " ").splitlines()
    ]
    found = [(page, OUTLAST.match(line)) for page, line in lines]
    return [pytest.param(match[1], id=f"{page}: {match[1][:40]}") for page, match in found if match]


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


@pytest.mark.parametrize("line", outlast_commands())
def test_the_command_line_takes_each_outlast_command(line: str) -> None:
    assert error_of(words_of(line)) == ""


@pytest.mark.parametrize(
    "line",
    ["outlast run desk Hello --limit 1", "outlast worker dev --roles", "outlast wach r1"],
)
def test_a_wrong_command_is_noticed(line: str) -> None:
    assert error_of(words_of(line))


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
