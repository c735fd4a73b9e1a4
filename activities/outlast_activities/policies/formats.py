"""Formats of strings, checked by pydantic's own parsers: a valid answer is valid for the agent's type."""

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

from jsonschema import FormatChecker
from pydantic import AnyUrl, EmailStr, TypeAdapter

_TYPES = {
    "date": date,
    "time": time,
    "date-time": datetime,
    "duration": timedelta,
    "uuid": UUID,
    "uri": AnyUrl,
    "ipv4": IPv4Address,
    "ipv6": IPv6Address,
}
_IN_SECONDS = ("date", "time", "date-time", "duration")
_NUMBER = re.compile(r"\s*[+-]?[0-9]*\.?[0-9]*\s*")
_EMAIL = re.compile(r"[^\s@]+@[^\s@.]+(\.[^\s@.]+)+")


def format_checker() -> FormatChecker:
    """Return a checker of the formats that pydantic uses in schemas. Other formats are not checked."""
    checker = FormatChecker(formats=())
    for name, kind in _TYPES.items():
        checker.checkers[name] = (_parses(kind, numbers=name not in _IN_SECONDS), ())
    checker.checkers["email"] = (_email(), ())
    return checker


def _parses(kind: Any, *, numbers: bool = True) -> Callable[[object], bool]:
    adapter = TypeAdapter(kind)

    def check(value: object) -> bool:
        if not isinstance(value, str):
            return True
        if not numbers and _NUMBER.fullmatch(value):
            return False  # pydantic reads a number as seconds, which no format allows
        try:
            adapter.validate_python(value)
        except ValueError:
            return False
        return True

    return check


def _email() -> Callable[[object], bool]:
    try:
        return _parses(EmailStr)
    except ImportError:  # email-validator is not installed
        return lambda value: not isinstance(value, str) or _EMAIL.fullmatch(value) is not None
