import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outlast_activities.constraints.portable_formats import PATTERNS
from outlast_activities.constraints.portable_patterns import portable_pattern, rust_pattern
from outlast_activities.policies.formats import FORMATS


@pytest.mark.parametrize("name", PATTERNS)
def test_every_engine_reads_the_pattern(name: str) -> None:
    portable = portable_pattern(PATTERNS[name])
    assert portable is not None
    assert rust_pattern(PATTERNS[name]) is not None


@pytest.mark.parametrize("name", PATTERNS)
@given(data=st.data())
def test_what_has_the_pattern_has_the_format(name: str, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(PATTERNS[name], fullmatch=True))
    # No pattern says in which years February has 29 days.
    if "-02-29" not in text:
        assert FORMATS[name](text)


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("date", ["2024-02-29", "1969-07-20"]),
        ("time", ["12:00:00Z", "23:59:59.123456+02:00"]),
        ("date-time", ["2024-05-01T10:00:00.5+02:00"]),
        ("duration", ["PT90M", "P1DT2H3M4.5S", "P2W", "P1Y2M", "PT1H5S"]),
        ("ipv4", ["127.0.0.1", "255.1.20.199"]),
        ("email", ["a.b+c@example.com", "me@sub.example.museum", "x@hp.com"]),
        ("email", ["m4.van.dijk@vu.nl", "a@mail.cs.ox.ac.uk", "o'neil@x.com", "ops@localhost"]),
    ],
)
def test_what_is_in_use_has_the_pattern(name: str, texts: list[str]) -> None:
    for text in texts:
        assert re.fullmatch(PATTERNS[name], text), text


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("date", ["2023-04-31", "2024-13-01", "0000-01-01"]),
        ("time", ["24:00:00Z", "12:00", f"12:00:00.{'0' * 9}Z"]),
        ("duration", ["P", "PT", "1D", "P1DT", f"P{'9' * 9}D"]),
        ("ipv4", ["256.1.1.1", "1.2.3"]),
        ("email", ["a@", "@x.de", "a b@x.de", ".a@x.de"]),
    ],
)
def test_what_is_none_or_runs_on_has_it_not(name: str, texts: list[str]) -> None:
    for text in texts:
        assert not re.fullmatch(PATTERNS[name], text), text
