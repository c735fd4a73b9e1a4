from datetime import UTC, datetime, timedelta

import pytest

from activities.providers.failures import MAX_RETRY_AFTER, retry_after

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("", None),
        ("5", timedelta(seconds=5)),
        (" 0.5 ", timedelta(seconds=0.5)),
        ("-3", timedelta(0)),
        ("86400", MAX_RETRY_AFTER),
        ("inf", MAX_RETRY_AFTER),
        ("1e400", MAX_RETRY_AFTER),
        ("1e15", MAX_RETRY_AFTER),
        ("nan", None),
        ("soon", None),
        ("Tue, 24 Nov 2026 12:00:30 GMT", timedelta(seconds=30)),
        ("Tue, 24 Nov 2026 11:00:00 GMT", timedelta(0)),
        ("Tue, 24 Nov 2099 12:00:00 GMT", MAX_RETRY_AFTER),
        ("Tue, 99 Nov 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(header: str, wait: timedelta | None) -> None:
    assert retry_after({"retry-after": header}, NOON) == wait


def test_no_header_asks_for_no_wait() -> None:
    assert retry_after({}, NOON) is None
