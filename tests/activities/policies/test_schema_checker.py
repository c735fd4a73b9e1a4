import pytest
from outlast_activities.policies.schema_checker import SchemaChecker


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("date", "2024-02-29", "2023-02-29"),
        ("date", "2024-02-29", "tomorrow"),
        ("date", "2024-02-29", "1700000000"),
        ("time", "10:11:12Z", "25:00:00"),
        ("date-time", "2024-01-31T10:11:12Z", "2024-01-31T10:71:12Z"),
        ("date-time", "2024-01-31T10:11:12+02:00", "31.1.2024"),
        ("duration", "P1DT2H", "a day"),
        ("duration", "PT5S", "5"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
        ("uuid", "12345678123456781234567812345678", "x"),
        ("email", "ada@example.org", "ada at example.org"),
        ("uri", "https://example.org/x", "example"),
        ("ipv4", "127.0.0.1", "127.0.0.256"),
        ("ipv6", "::1", "127.0.0.1"),
    ],
)
def test_a_text_of_a_wrong_format_is_a_problem(form: str, good: str, bad: str) -> None:
    checker = SchemaChecker()
    schema = {"type": "string", "format": form}
    assert checker.problem(good, schema, key=form) is None
    assert checker.problem(bad, schema, key=form) == f"{bad!r} is not a {form!r}"


@pytest.mark.parametrize("form", ["binary", "path", "of-our-own"])
def test_an_unknown_format_is_not_a_problem(form: str) -> None:
    assert SchemaChecker().problem("x", {"type": "string", "format": form}, key="") is None


def test_a_format_says_nothing_of_what_is_no_text() -> None:
    assert SchemaChecker().problem(7, {"format": "date"}, key="") is None
