"""Price files: each price has a date and a source, and an old one gives a warning."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from outlast_workers.plan.price_list import (
    MAX_AGE_DAYS,
    PriceList,
    read_prices,
    shipped_prices,
    stale,
)

from outlast.errors import NotReady

DAY = date(2026, 11, 1)


def prices_of(tmp_path: Path, text: str) -> PriceList:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    return PriceList(read_prices([file]))


def test_the_shipped_prices_are_valid_and_none_is_from_the_future() -> None:
    prices = shipped_prices().prices
    assert len(prices) > 15
    assert all(price.date <= date(2026, 11, 27) for price in prices.values())
    assert all(price.usd > 0 or price.tiers for price in prices.values())


def test_a_used_price_that_is_too_old_gives_a_warning(tmp_path: Path) -> None:
    prices = prices_of(tmp_path, f'[gpu]\nusd = 2\ndate = {DAY}\nsource = "a page"\n')
    last_day = DAY + timedelta(days=MAX_AGE_DAYS)
    assert prices.hourly("gpu") == 2
    assert stale(prices, last_day) is None
    warning = stale(prices, last_day + timedelta(days=1))
    assert warning is not None
    assert warning.startswith("1 price is older than 90 days: gpu (2026-11-01); check them")


def test_all_prices_that_are_too_old_are_one_line() -> None:
    prices = shipped_prices()
    for name in ("lambda.gb", "aws.postgres"):
        assert prices.usd(name) > 0
    warning = stale(prices, date(2030, 1, 1))
    assert warning is not None
    assert "\n" not in warning
    assert "2 prices are older than 90 days: aws.postgres (2025-06-15), lambda.gb (" in warning


def test_an_unused_price_gives_no_warning(tmp_path: Path) -> None:
    prices = prices_of(tmp_path, f'[gpu]\nusd = 2\ndate = {DAY}\nsource = "a page"\n')
    assert stale(prices, date(2030, 1, 1)) is None


def test_prices_are_converted_to_hours(tmp_path: Path) -> None:
    prices = prices_of(
        tmp_path, f'[gpu]\nusd = 0.001\nper = "second"\ndate = {DAY}\nsource = "x"\n'
    )
    assert prices.hourly("gpu") == pytest.approx(3.6)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[gpu]\nusd = 2\nsource = "x"', "prices.toml: gpu: date: is required"),
        ("[gpu]\nusd = 2\ndate = 2026-11-01", "prices.toml: gpu: source: is required"),
        (
            '[gpu]\nusd = -2\ndate = 2026-11-01\nsource = "x"',
            "gpu: usd: -2: input should be greater",
        ),
        ('[gpu]\nusd = inf\ndate = 2026-11-01\nsource = "x"', "gpu: usd: inf: input should be"),
        ('[gpu]\nusd = 2\nper = "week"\ndate = 2026-11-01\nsource = "x"', "gpu: per: 'week'"),
        ('[gpu]\nprice = 2\ndate = 2026-11-01\nsource = "x"', "gpu: price: unknown field"),
        ("gpu = [", "prices.toml: is not TOML"),
    ],
)
def test_a_wrong_price_is_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(NotReady) as raised:
        prices_of(tmp_path, text)
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_price_is_named_with_the_nearest() -> None:
    with pytest.raises(NotReady, match=r"no price 'node.A10'; did you mean 'node.A10G'\?"):
        shipped_prices().changed({"node.A10": 1.0}, day=DAY)
