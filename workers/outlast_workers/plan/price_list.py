"""Prices from dated files: `prices/*.toml`, and the prices that a plan overrides."""

import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from outlast.contracts.base import InputModel
from outlast.errors import NotReady
from outlast.text.hints import hint
from outlast.validation import explain

FOLDER = Path(__file__).parent / "prices"

MAX_AGE_DAYS = 90
"""The warning names the prices that were read longer ago than this."""

HOURS_A_MONTH = 730.0
"""As cloud providers count a month."""

HOURS_PER = {"second": 1 / 3_600, "hour": 1.0, "month": HOURS_A_MONTH}


class ListPrice(InputModel):
    """A price, the day on which it was read, and where. Either `usd` for one unit, or `tiers`."""

    usd: float = Field(default=0.0, ge=0, le=1e6, allow_inf_nan=False)
    per: Literal["second", "hour", "month", "million", "GBh"] = "hour"
    tiers: tuple[tuple[float, float], ...] = ()
    """Millions up to which a price applies, and that price; the last one applies beyond, too."""
    date: date
    source: str = Field(min_length=1, max_length=300)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        ends = [end for end, _ in self.tiers]
        if ends != sorted(set(ends)):
            raise ValueError("the ends of tiers must rise")
        return self


class PriceList:
    """Prices by name. It remembers which prices a plan used."""

    def __init__(self, prices: Mapping[str, ListPrice]) -> None:
        self.prices = dict(prices)
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> ListPrice:
        """Return a price by its name; raises `NotReady` with the nearest known name."""
        if name not in self.prices:
            raise NotReady(f"prices: there is no price {name!r}; {hint(name, self.prices)}")
        self.used.add(name)
        return self.prices[name]

    def usd(self, name: str) -> float:
        """Return a price for one of its units."""
        return self[name].usd

    def hourly(self, name: str) -> float:
        """Return a price for one hour, in USD."""
        price = self[name]
        if price.per not in HOURS_PER:
            raise NotReady(f"prices: {name!r} is for a {price.per}, not for a time")
        return price.usd / HOURS_PER[price.per]

    def changed(self, usd: Mapping[str, float], *, day: date) -> "PriceList":
        """Return a list in which some prices are others, read on `day`."""
        prices = dict(self.prices)
        for name, value in usd.items():
            prices[name] = self[name].model_copy(
                update={"usd": value, "date": day, "source": "given with the plan"}
            )
        return PriceList(prices)

    def scaled(self, name: str, factor: float) -> "PriceList":
        """Return a list in which one price is multiplied."""
        old = self[name]
        tiers = tuple((end, usd * factor) for end, usd in old.tiers)
        new = old.model_copy(update={"usd": old.usd * factor, "tiers": tiers})
        return PriceList({**self.prices, name: new})


def stale(prices: PriceList, today: date) -> str | None:
    """Return one warning about the used prices that are too old, oldest first, or None."""
    dates = sorted((prices.prices[name].date, name) for name in prices.used)
    old = [f"{name} ({day})" for day, name in dates if (today - day).days > MAX_AGE_DAYS]
    if not old:
        return None
    are = "price is" if len(old) == 1 else "prices are"
    return (
        f"{len(old)} {are} older than {MAX_AGE_DAYS} days: {', '.join(old)}; check them, and give"
        " yours in [prices] of the workload (--json has the sources)"
    )


@cache
def _shipped() -> Mapping[str, ListPrice]:
    return read_prices(sorted(FOLDER.glob("*.toml")))


def shipped_prices() -> PriceList:
    """Return the prices that come with outlast."""
    return PriceList(_shipped())


def read_prices(files: Iterable[Path]) -> dict[str, ListPrice]:
    """Read price files; raises `NotReady` with the file, the name and what is wrong."""
    prices: dict[str, ListPrice] = {}
    for file in files:
        try:
            tables = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise NotReady(f"{file}: cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise NotReady(f"{file}: is not TOML: {error}") from None
        for name, table in tables.items():
            try:
                prices[name] = ListPrice.model_validate(table)
            except ValidationError as error:
                raise NotReady(f"{file}: {name}: {explain(error, ListPrice)}") from None
    return prices
