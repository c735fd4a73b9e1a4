"""A pattern is written anew for the regular expressions of an engine, and means the same."""

from hypothesis import given, settings
from hypothesis import strategies as st
from outlast_activities.constraints.portable_patterns import portable_pattern, rust_pattern

from outlast.jsonschema.patterns import pattern_of

PIECES = st.sampled_from(
    [
        *(
            "a",
            ".",
            "[ab]",
            "[^a]",
            r"\d",
            r"\w",
            r"\s",
            "(a|b)",
            "(?:ab)",
            r"\.",
            "-",
            "é",
            "[a-c-]",
        ),
        *(
            "x{2}",
            "a{1,2}",
            "b*",
            "a+?",
            "(a|)",
            r"[\d.]",
            "[]]",
            "[[^]",
            r"\[",
            r"[\w\-\.]",
            "/",
            r"\^",
        ),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(PIECES, min_size=1, max_size=5).map("".join),
    texts=st.lists(st.text('abx1.-é[]^/ "', max_size=5), min_size=1, max_size=8),
)
def test_a_rewritten_pattern_means_the_same(parts: str, texts: list[str]) -> None:
    pattern = f"^(?:{parts})$"
    for rewritten in (portable_pattern(pattern), rust_pattern(pattern)):
        for text in texts:
            assert (
                rewritten is None
                or matches(rewritten, text) == matches(pattern, text)
                or ("w" in parts and "é" in text)
            )


def matches(pattern: str, text: str) -> bool:
    return pattern_of(pattern).compiled().matches(text)
