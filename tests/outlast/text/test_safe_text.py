"""Untrusted text, at each place where people read it: it is all there, and nothing of it is active."""

# ruff: noqa: RUF001 the letters look alike on purpose

import json
import re
import subprocess
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlast.text.safe_text import (
    code_block,
    code_span,
    decoded,
    escaped,
    json_text,
    notice_line,
    shell_word,
    summary_line,
    visible,
    visible_line,
)
from outlast.text.texts import call_text, cut, excerpt
from tests.outlast.text.hostile_texts import BENIGN, HOSTILE

ENOUGH = 10_000_000

hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
anything = st.text(
    st.one_of(
        st.characters(), st.sampled_from("\\`<[]()*@\u202e\u200b\n\ud800аоАЅ5n0ux:/.שא\u0301")
    ),
    max_size=80,
)


def assert_seen(shown: str, *, keep: str = "") -> None:
    """Assert that a person sees each character, and takes none for another one."""
    for letter in shown.replace(keep, "") if keep else shown:
        assert letter.isprintable(), ascii(letter)
        assert unicodedata.category(letter) not in ("Cf", "Cc", "Cs", "Zl", "Zp"), ascii(letter)
        if letter.isdecimal():
            assert letter.isascii(), ascii(letter)


def assert_exact(text: str) -> None:
    """Assert everything that holds for any text."""
    assert_seen(visible(text), keep="\n")
    assert decoded(visible(text)) == text
    line = visible_line(text)
    assert_seen(line)
    assert decoded(line) == text
    for value in (text, {text: [text, {"a": text}]}):
        for indent in (None, 1):
            shown = json_text(value, indent=indent)  # type: ignore[arg-type]  # text is JSON
            assert json.loads(shown) == value
            assert_seen(shown, keep="\n")
    assert decoded(escaped(line)) == text
    for inert in (summary_line, notice_line):
        shown = inert(line, ENOUGH)
        assert decoded(shown) == text
        assert_seen(shown)


@hostile
def test_a_hostile_text_is_shown_whole(text: str) -> None:
    assert_exact(text)


@given(anything)
@settings(max_examples=400, deadline=None)
def test_any_text_is_shown_whole(text: str) -> None:
    assert_exact(text)


@pytest.mark.parametrize("text", BENIGN)
def test_the_text_of_people_stays_readable(text: str) -> None:
    assert visible(text) == visible_line(text) == cut(text, 200) == text
    assert json_text(text) == f'"{text}"'


ACTIVE = re.compile(r"[`<]|\]\(|\S://|\*\*|~~|www\.|mailto:", re.IGNORECASE)
ACTIVE_IN_CHAT = re.compile(ACTIVE.pattern + r"|[@>*|&~\[\]]|\w\.[a-z]{2}", re.IGNORECASE)


@hostile
def test_a_line_for_the_ui_and_for_chats_has_no_markup(text: str) -> None:
    line = visible_line(text)
    assert not ACTIVE.search(summary_line(line, ENOUGH))
    assert not ACTIVE_IN_CHAT.search(notice_line(line, ENOUGH))


@hostile
def test_code_of_markdown_ends_where_it_should(text: str) -> None:
    span = code_span(visible_line(text))
    assert span.count("`") == 2
    assert span[0] == span[-1] == "`"
    first, *body, last = "\n".join(code_block(visible(text), most=ENOUGH)).split("\n")
    assert (first, last) == ("```text", "```")
    assert "`" not in "".join(body)


@hostile
@pytest.mark.parametrize("most", [4, 20, 120])
def test_a_cut_is_marked_and_splits_nothing(text: str, most: int) -> None:
    line = visible_line(text)
    for shown in (
        visible_line(text, most),
        summary_line(line, most),
        notice_line(line, most),
        cut(text, most),
    ):
        assert len(shown.encode()) <= most
        assert_seen(shown)
    shown = visible_line(text, most)
    if shown != line:
        assert shown.endswith("…")
        assert text.startswith(decoded(shown.removesuffix("…")))


@hostile
def test_a_shell_reads_the_very_word(text: str) -> None:
    if "\0" in text or len(text) > 10_000 or not is_encodable(text):
        pytest.skip("no word of a command")
    word = shell_word(text)
    assert_seen(word)
    assert "`" not in word
    # The UTF-8 locale that each terminal of today has: in another one, bash keeps \u escapes.
    printed = subprocess.run(
        [
            "/bin/bash",
            "-c",
            f"printf %s {word}" if not text.startswith("-") else f"printf -- %s {word}",
        ],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert printed.stdout == text.encode()


def is_encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


@hostile
def test_a_call_is_one_line_whose_values_cannot_pretend(text: str) -> None:
    shown = call_text("refund", {"order_id": text, "amount_usd": 10_000}, 400)
    assert_seen(shown)
    inside = shown.removeprefix("refund(order_id=").removesuffix(", amount_usd=10000)")
    assert shown == f"refund(order_id={inside}, amount_usd=10000)"
    if not inside.startswith('"'):
        assert not set(inside) & set(",()=")


def test_an_excerpt_has_both_ends() -> None:
    assert excerpt("short", 10) == "short"
    shown = excerpt("a" * 50 + "z" * 50, 30)
    assert shown.startswith("a" * 20 + " … ")
    assert shown.endswith("z" * 10)


def test_deep_json_is_shown() -> None:
    value: object = 1
    for _ in range(500):
        value = [value]
    assert json.loads(json_text(value, indent=1)) == value  # type: ignore[arg-type]  # a list


def test_a_huge_text_takes_no_time() -> None:
    for letter in ("x", "\u202e", "é", "\\", "(", "а", "\n"):
        text = letter * 300_000
        assert len(visible_line(text, 100).encode()) <= 100
        assert len(summary_line(text, 100).encode()) <= 100
