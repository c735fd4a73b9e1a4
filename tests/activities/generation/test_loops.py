import json
import random

import pytest
from outlast_activities.generation.loops import (
    BLANK_CHARACTERS,
    BLANK_TOKENS,
    LoopWatch,
    is_looping,
)

from outlast.errors import ModelFailure
from outlast.model_server import LOOP_TOKENS


def cut_at(pieces: list[str], loop_tokens: int = LOOP_TOKENS) -> tuple[int, ModelFailure | None]:
    """Return after how many pieces a watch cuts, and why."""
    watch = LoopWatch(loop_tokens)
    for count, piece in enumerate(pieces, 1):
        failure = watch.add(piece)
        if failure is not None:
            return count, failure
    return len(pieces), None


@pytest.mark.parametrize("blank", ["\n", " ", "\t", "\n      ", " \r\n"])
def test_white_space_is_cut_within_64_tokens(blank: str) -> None:
    start = ['{"', "answer", '":']
    count, failure = cut_at([*start, *[blank] * 500])
    assert failure is ModelFailure.WHITESPACE_LOOP
    assert count - len(start) <= BLANK_TOKENS <= 64


def test_white_space_in_large_pieces_is_cut_by_its_characters() -> None:
    count, failure = cut_at(["{", *[" " * 64] * 100])
    assert failure is ModelFailure.WHITESPACE_LOOP
    assert (count - 1) * 64 <= BLANK_CHARACTERS + 64


@pytest.mark.parametrize(
    "period",
    [["a"], ["0", ",", " "], ["pyd", "antic", " ", "and", " "], ['{"x":1', "},"]],
    ids=["letter", "list", "words", "objects"],
)
def test_a_repetition_is_cut_within_tens_of_tokens(period: list[str]) -> None:
    start = ["a", " text", " that", " begins", " well", ": "]
    count, failure = cut_at([*start, *period * 200])
    assert failure is ModelFailure.REPETITION_LOOP
    assert count - len(start) <= LOOP_TOKENS + 16


def test_more_patience_lets_more_repetition_pass() -> None:
    zeros = ["0", ","] * 50
    assert cut_at(zeros)[1] is ModelFailure.REPETITION_LOOP
    assert cut_at(zeros, 4 * LOOP_TOKENS)[1] is None


def test_pretty_printed_json_is_no_loop() -> None:
    value = {"rows": [{"name": f"n{at}", "value": at * 7919 % 1000} for at in range(60)]}
    deep: object = "x"
    for _ in range(40):
        deep = {"k": deep}
    for text in (json.dumps(value, indent=4), json.dumps(deep, indent=4)):
        assert cut_at([text[at : at + 4] for at in range(0, len(text), 4)])[1] is None


def test_a_loop_of_sentences_is_cut_after_six_of_them() -> None:
    sentence = ["The", " package", " is", " safe", " and", " it", " is", " well", " kept", ". "]
    sentence += [" I", " have", " looked", " at", " it", " and", " found", " it", " good", ". "]
    count, failure = cut_at([*map(str, range(30)), *sentence * 50])
    assert failure is ModelFailure.REPETITION_LOOP
    assert count <= 30 + 7 * len(sentence)


def test_five_equal_rows_are_no_loop() -> None:
    row = ['{"ok"', ": true", ', "count"', ": 0", *(f', "f{at}": {at}' for at in range(12)), "}, "]
    varied = [f'"{at}"' for at in range(80)]
    assert cut_at([*varied, *row * 5, *varied])[1] is None


def test_random_text_is_no_loop() -> None:
    dice = random.Random(7)
    pieces = ["".join(dice.choices("abcdefgh ", k=3)) for _ in range(3_000)]
    assert cut_at(pieces)[1] is None


@pytest.mark.parametrize(
    ("text", "least", "looping"),
    [
        ("", 0, False),
        ("abc", 3, False),
        ("ab" * 6, 12, True),
        ("ab" * 5, 10, False),
        ("x" * 100, 100, True),
        ("ab" * 50 + "c", 20, False),
        ("0, " * 60, 100, True),
        ("new text and then " + "0, " * 60, 100, True),
        ("new text and then " + "0, " * 60, 190, False),
    ],
)
def test_a_text_loops_when_its_end_repeats(text: str, least: int, looping: bool) -> None:
    assert is_looping(text, least) is looping
