import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlast.jsonschema import patterns
from outlast.jsonschema.pattern_syntax import MAX_PATTERN, PatternError
from outlast.jsonschema.patterns import MAX_CACHED_PATTERNS, pattern_of

MAX_MATCH_S = 2


def matches(pattern: str, text: str) -> bool:
    return pattern_of(pattern).compiled().matches(text)


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^\p{L}+$", "Zoë", "Zoë1"),
        (r"^\P{L}+$", "12", "a"),
        (r"^\p{Script=Greek}+$", "αβγ", "abc"),
        (r"^\pL$", "é", "1"),
        (r"^(?<year>\d{4})$", "2024", "24"),
        (r"^(?P<year>\d{4})$", "2024", "24"),
        (r"^a\z", "a", "a\n"),
        (r"\Aa\Z", "a", "ba"),
        (r"^[\u{1F600}]+$", "\U0001f600", "x"),
        (r"^\uD83D\uDE00$", "\U0001f600", "x"),
        (r"^[\u00e0-\u00ff]$", "é", "e"),
        (r"^\x41\t\cJ$", "A\t\n", "A"),
        (r"^[a-z\.]+$", "a.b", "a-b"),
        (r"^[\w\-]+$", "a-b", "a b"),
        (r"^[\w-.]+$", "a-.b", "a b"),
        (r"^\/api\-\_\@\"$", '/api-_@"', "api"),
        (r"^\<a\>$", "<a>", "a"),
        ("^{a}$", "{a}", "a"),
        ("^a{,2}$", "aa", "aaa"),
        ("^[]a]$", "]", "b"),
        ("^[^]a]$", "b", "]"),
        ("^[a&&b]$", "&", "c"),
        ("^[[]$", "[", "x"),
        ("(?i)^AB$", "ab", "c"),
        ("^(?i:A)b$", "ab", "aB"),
        ("^(?s:.)$", "\n", ""),
        ("^.$", "x", "\n"),
        ("^(?!x)a", "a", "xa"),
        ("^(?!.*foo)(?=.*bar).*$", "a bar", "foo bar"),
        (r"^(?=.*[a-z])(?=.*\d).{4,}$", "abc1", "abcd"),
        (r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$", "1.5", "."),
        ("^(?=a)b?a$|^c$", "c", "b"),
        (r"^[\w.-]{1,255}$", "x" * 255, "x" * 256),
        (r"^[a-z]\w{0,500}$", "a" + "é" * 500, "a" + "é" * 501),
        (r"^\w{3,}$", "abc", "ab"),
        ("^[\ud800-\udbff]$|a", "a", "b"),
        (r"^\0$", "\0", "0"),
        ("^(\ud800|a)$", "a", "b"),
        ("^(\\ud800|a)$", "a", "b"),
    ],
)
def test_the_syntax_of_ecma_python_and_rust_is_understood(
    pattern: str, good: str, bad: str
) -> None:
    assert matches(pattern, good)
    assert not matches(pattern, bad)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"^(a|b)\1$", "a back reference"),
        (r"(?<n>a)\k<n>", "a back reference"),
        ("a(?=b)", "a look-around"),
        ("(?<=a)b", "a look-around"),
        ("(?<!a)b", "a look-around"),
        ("^(?<!a)b", "a look-around"),
        ("^(a(?!b))+$", "a look-around"),
        ("^(?=(?=a)a)a", "a look-around"),
        ("(", "unterminated group"),
        (")", "unbalanced parenthesis"),
        ("[a", "unterminated character set"),
        ("[z-a]", "a range"),
        ("a**", "a repeat of a repeat"),
        ("a{2}{3}", "a repeat of a repeat"),
        ("*a", "nothing to repeat"),
        ("^*", "nothing to repeat"),
        ("a{3,2}", "the repeat's minimum"),
        ("a\\", "a backslash at the end"),
        (r"\h", r"unknown escape \h"),
        (r"\p{Nothing}", "unknown character class"),
        (r"\p", "without the name"),
        (r"\u12", "an incomplete escape"),
        ("(?x) a", "unknown group"),
        ("(" * 60 + ")" * 60, "nested deeper"),
        ("(?i)" * 400, "nested deeper"),
        ("a" * (MAX_PATTERN + 1), "longer than"),
        ("(((a{99}){99}){99}){99}", "too large to compile"),
        (r"(\w{1,50}x){1,50}", "too large to compile"),
        ("a{100001}", "a repeat above"),
    ],
)
def test_what_no_linear_engine_matches_is_rejected_with_a_reason(pattern: str, reason: str) -> None:
    with pytest.raises(PatternError, match=".") as error:
        pattern_of(pattern)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "^(a+)+$",
            "^(a|a)*$",
            "^(a*)*$",
            "(a|aa)+$",
            "^(?!x)(a+)+$",
            "(.*)*(.*)*x$",
            "(a?){50}a{50}",
        ),
        *(r"^(\w+\s?)*$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(?i)^(a+)+$", "^(.|a)*b$", "(x+x+)+y"),
    ],
)
def test_matching_takes_linear_time(pattern: str) -> None:
    started = time.thread_time()
    for text in ("a" * 50_000 + "!", "x" * 50_000):
        matches(pattern, text)
    assert time.thread_time() - started < MAX_MATCH_S


def test_many_patterns_are_parsed_in_time_and_few_are_kept() -> None:
    started = time.thread_time()
    for number in range(200):
        pattern_of(f"(?i)[a-z]{{1,9}}{number}").compiled()
    assert time.thread_time() - started < MAX_MATCH_S
    assert len(patterns._CACHE) <= MAX_CACHED_PATTERNS


PIECES = st.sampled_from(
    [
        *(
            "a",
            "b",
            ".",
            "[ab]",
            "[^a]",
            r"\d",
            r"\w",
            r"\s",
            "(a|b)",
            "(?:ab)",
            "^",
            "$",
            r"\.",
            "-",
        ),
        *("[a-c-]", "x{2}", "a{1,2}", "b*", "a+?", "(a|)", "é", r"[\d.]", r"[\W]", "{", "}", "]"),
        *("|", "(?i:a)", r"\n", "&&", "~", "#", r"\\", '"'),
    ]
)


@settings(deadline=None, max_examples=400)
@given(
    pattern=st.lists(PIECES, min_size=1, max_size=6).map("".join),
    texts=st.lists(st.text("abx.1 é-\"\\{}]&~#'", max_size=6), min_size=1, max_size=6),
)
def test_patterns_match_as_in_python(pattern: str, texts: list[str]) -> None:
    try:
        compiled = re.compile(pattern)
        ours = pattern_of(pattern).compiled()
    except (re.error, PatternError):
        return
    for text in texts:
        assert ours.matches(text) == (compiled.search(text) is not None), (pattern, text)


@settings(deadline=None, max_examples=400)
@given(pattern=st.text("\ud800" + r"ab^$.*+?{},()[]|\dwpLuxzAZbB<>!=:-&019 é", max_size=14))
def test_an_accepted_pattern_can_be_compiled(pattern: str) -> None:
    try:
        parsed = pattern_of(pattern)
    except PatternError:
        return
    parsed.compiled().matches("ab 01é")
