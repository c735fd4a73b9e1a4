"""The nearest known name in an error message."""

from outlast.text.hints import MAX_KNOWN_BYTES, hint


def test_thousands_of_known_names_are_cut() -> None:
    known = [f"{number}-{'x' * 500}" for number in range(20_000)]
    assert len(hint("a", known).encode()) <= MAX_KNOWN_BYTES + len("known: ")


def test_few_names_are_all_shown() -> None:
    assert hint("zzz", ["one", "two"]) == "known: one, two"
    assert hint("tow", ["one", "two"]) == "did you mean 'two'?"
    assert hint("zzz", []) == "known: none"
