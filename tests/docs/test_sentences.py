"""The documentation is in plain English: short sentences, and no idiom that readers stumble over.

`python -m tests.docs.test_sentences docs/steering.md …` lists what a page (by default: all) should change.
"""

import re
import sys
from pathlib import Path

import pytest

from tests.docs.prose import ROOT, is_long, pages, sentences, table_sentences

SHARE_OF_LONG = 0.02
"""The largest share of long sentences, over all pages."""

IDIOM = (
    r"\bfor ever\b",
    r"\bheld against\b",
    r"\b(go|goes|going) by\b",
    r"\b(whoever|whomever)\b",
    r"\bof (which|whom|whose)\b",
    r"\b(is|are|was|were|be|been|being) (told|said|heard)\b",
    r"\b(said|says|say) otherwise\b",
    r"(?<![Tt]here )\b(is|are) no (?!longer\b|more\b)",
    r"\bmeans (are|is|were) (spent|left)\b",
    r"\ball the same\b",
    r"\b(so|nor) (does|do|is|are|can)\b",
    r"\bcome what may\b",
    r"\bsave for\b",
    r"[,;] for (it|they|there|some|nobody|nothing|he|she|we|you|that|this)\b",
    r"[,;] for (an?|the|each|every|no) \w+ (is|are|was|has|may|can|does|would)\b",
    r"^Of [a-z]+",
    r"^Who\b.*[^?]$",
    r"^(What|Whatever|Whichever)\b.*[^?]$",
)
"""Patterns of sentences that a reader of English as a second language reads twice."""


def long_sentences(page: Path) -> list[str]:
    """Return the sentences of a page that are too long."""
    return [sentence for sentence in sentences((ROOT / page).read_text()) if is_long(sentence)]


def idioms(page: Path) -> list[str]:
    """Return the sentences of a page that use a forbidden idiom, with its pattern."""
    text = (ROOT / page).read_text()
    return [
        f"{pattern}: {sentence}"
        for sentence in (*sentences(text), *table_sentences(text))
        for pattern in IDIOM
        if re.search(pattern, sentence)
    ]


@pytest.mark.parametrize("page", pages(), ids=str)
def test_a_page_uses_no_forbidden_idiom(page: Path) -> None:
    assert idioms(page) == []


def test_less_than_two_in_a_hundred_sentences_are_long() -> None:
    checked = pages()
    total = sum(len(sentences((ROOT / page).read_text())) for page in checked)
    long = [(str(page), sentence) for page in checked for sentence in long_sentences(page)]
    assert len(long) < SHARE_OF_LONG * total, long


def test_sentences_end_at_full_stops_and_paragraphs() -> None:
    text = "# A title\n\nRun `a b. C` now. Then [wait](x.md).\n- One item\n  goes on\n- `Two`\n\n| a |\n"
    assert sentences(text) == ["Run `code` now.", "Then wait.", "One item goes on", "`code`"]


def test_thirty_words_are_not_too_many_and_thirty_one_are() -> None:
    assert not is_long("word " * 30)
    assert is_long("word " * 31)


@pytest.mark.parametrize(
    "sentence",
    [
        "Of others nothing is known.",
        "What is late is refused.",
        "Nothing waits for ever.",
        "The model is told to ask for less.",
        "A wait holds no slot, for it is Temporal that waits.",
        "That is no JSON.",
    ],
)
def test_an_idiom_is_noticed(sentence: str) -> None:
    assert any(re.search(pattern, sentence) for pattern in IDIOM)


@pytest.mark.parametrize(
    "sentence",
    ["There is no answer.", "It is no longer valid.", "What does it cost?", "Wait for a day."],
)
def test_plain_words_are_left_alone(sentence: str) -> None:
    assert not any(re.search(pattern, sentence) for pattern in IDIOM)


def main() -> None:
    """List the sentences that a page should change."""
    for page in [Path(name) for name in sys.argv[1:]] or pages():
        text = (ROOT / page).read_text()
        long = long_sentences(page)
        print(f"{page}: {len(sentences(text))} sentences, {len(long)} long")
        for line in (*long, *idioms(page)):
            print(f"    {line}")


if __name__ == "__main__":
    main()
