"""The text of an answer that is read piece by piece equals the answer."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outlast_activities.generation.answer_text import MAX_HEAD_CHARACTERS, AnswerText
from outlast_activities.generation.decision_text import decision_value


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(places)]


def shown(pieces: list[str], *, is_prose: bool = False) -> str:
    reader = AnswerText(is_prose=is_prose)
    return "".join(map(reader.add, pieces))


CUTS = st.lists(st.integers(0, 400))
HEADS = st.sampled_from(
    ["", " \n", "```json\n", "Here it is: ", '<think>{"answer":"no"}</think>', "[THINK]a[/THINK] "]
)


@given(st.text(), HEADS, st.booleans(), CUTS)
def test_text_in_json_is_shown_as_it_will_be_read(
    answer: str, head: str, ascii_only: bool, cuts: list[int]
) -> None:
    text = head + json.dumps({"answer": answer}, ensure_ascii=ascii_only) + "<|im_end|>"
    assert shown(pieces_of(text, cuts)) == answer


@given(st.text(), CUTS)
def test_prose_is_shown_without_white_space_around_it(answer: str, cuts: list[int]) -> None:
    assert shown(pieces_of(answer, cuts), is_prose=True) == answer.strip()


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a\ud83d", "\ude00 b"], "a😀 b"),
        (["a\ud83d", "b"], "a\ufffdb"),
        (["\ude00", "a"], "\ufffda"),
    ],
)
def test_half_a_character_of_prose_is_joined_or_replaced(pieces: list[str], text: str) -> None:
    assert shown(pieces, is_prose=True) == text


@given(st.text(), CUTS)
def test_halves_of_characters_are_joined(text: str, cuts: list[int]) -> None:
    written = '{"answer":"' + "".join(f"\\u{unit:04x}" for unit in _units(text)) + '"}'
    assert shown(pieces_of(written, cuts)) == decision_value(written)["answer"]


def _units(text: str) -> list[int]:
    data = text.encode("utf-16-be")
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


@pytest.mark.parametrize(
    "text",
    [
        '{"tool_calls":[{"tool":"answer","arguments":{"answer":"no"}}]}',
        '{"answer":{"text":"no"}}',
        '{"answer":17}',
        '{"other":"no"}',
        "no",
        '<think>{"answer":"no"}',
    ],
)
def test_nothing_else_is_shown(text: str) -> None:
    assert shown([text]) == shown(list(text)) == ""


def test_a_long_text_before_an_answer_ends_the_search() -> None:
    assert shown(["x" * (MAX_HEAD_CHARACTERS + 1), '{"answer":"no"}']) == ""


def test_what_is_not_json_ends_the_text() -> None:
    assert shown(['{"answer":"a\\x', 'b"}']) == "a"
    assert shown(['{"answer":"a\\u12g4', 'b"}']) == "a"
    assert shown(['{"answer":"a\\ud83d"}']) == "a\ufffd"
