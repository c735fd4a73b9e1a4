"""The sentences of the documentation, without code, tables, links and headings."""

import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]

LONG_WORDS = 30
"""A sentence of more words than this is long."""

_CODE_BLOCK = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->|<img[^>]*>", re.DOTALL)
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_CODE = re.compile(r"`+[^`]+`+")
_END = re.compile(r"(?<=[.!?])[)\"*]*\s+(?=[A-Z`\"*(\d])")
_ITEM = re.compile(r"\s*(?:[-*]|\d+\.)\s+")


def pages() -> list[Path]:
    """Return the pages whose sentences are checked, as paths relative to the repository."""
    found = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*/README.md")]
    return sorted(page.relative_to(ROOT) for page in found)


def sentences(text: str) -> list[str]:
    """Return the sentences of a page. A code span counts as one word."""
    for pattern in (_CODE_BLOCK, _COMMENT, _IMAGE):
        text = pattern.sub("\n\n", text)
    return _sentences(_paragraphs(text))


def table_sentences(text: str) -> list[str]:
    """Return the sentences in the cells of a page's tables."""
    rows = [line.strip(" |") for line in text.splitlines() if line.lstrip().startswith("|")]
    return _sentences(cell for row in rows for cell in row.split(" | "))


def is_long(sentence: str) -> bool:
    """Return whether a sentence has more words than a hurried reader follows."""
    return len([word for word in sentence.split() if re.search(r"\w", word)]) > LONG_WORDS


def _sentences(paragraphs: Iterable[str]) -> list[str]:
    plain = (_CODE.sub("`code`", _LINK.sub(r"\1", paragraph)) for paragraph in paragraphs)
    return [
        sentence
        for paragraph in plain
        for sentence in _END.split(" ".join(paragraph.split()))
        if sentence
    ]


def _paragraphs(text: str) -> list[str]:
    """Return paragraphs and list items; headings and tables are left out."""
    found = [""]
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith(("#", "|")):
            found.append("")
        elif item := _ITEM.match(line):
            found.append(line[item.end() :])
        else:
            found[-1] += " " + line
    return found
