"""Checks of the formats in the cases, after RFC 3339 and others. jsonschema ignores most of them."""

import re
from collections.abc import Callable
from datetime import date, datetime, time
from ipaddress import IPv4Address
from typing import Any
from uuid import UUID

import jsonschema

_DATE = r"\d{4}-\d\d-\d\d"
_TIME = r"\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
_DURATION = re.compile(
    r"P(?!$)(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?|P\d+W", re.ASCII
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.?[^@\s]*")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")


def _date(text: str) -> bool:
    return re.fullmatch(_DATE, text, re.ASCII) is not None and bool(date.fromisoformat(text))


def _time(text: str) -> bool:
    if re.fullmatch(_TIME, text, re.ASCII | re.IGNORECASE) is None:
        return False
    return time.fromisoformat(_for_python(text)) is not None


def _date_time(text: str) -> bool:
    if re.fullmatch(f"{_DATE}[T ]{_TIME}", text, re.ASCII | re.IGNORECASE) is None:
        return False
    return datetime.fromisoformat(_for_python(text)) is not None


def _for_python(text: str) -> str:
    # Python reads at most six digits of a fraction, and no lower case. RFC 3339 allows both.
    return re.sub(r"\.\d+", "", text).upper()


CHECKS: dict[str, Callable[[str], object]] = {
    "date": _date,
    "date-time": _date_time,
    "duration": _DURATION.fullmatch,
    "email": _EMAIL.fullmatch,
    "ipv4": IPv4Address,
    "time": _time,
    "uri": _URI.fullmatch,
    "uuid": lambda text: re.fullmatch(r"[0-9a-fA-F-]{36}", text) and UUID(text),
}
"""Each check returns a true value, or a false value, or raises `ValueError`."""


def _checker() -> jsonschema.FormatChecker:
    checker = jsonschema.FormatChecker(formats=())
    for name, check in CHECKS.items():
        checker.checks(name, raises=ValueError)(_of_strings(check))
    return checker


def _of_strings(check: Callable[[str], object]) -> Callable[[object], bool]:
    # A format only constrains strings.
    return lambda value: not isinstance(value, str) or bool(check(value))


FORMATS = _checker()


def violations(schema: dict[str, Any], value: Any) -> list[str]:
    """Return the problems of a value, formats included."""
    validator = jsonschema.Draft202012Validator(schema, format_checker=FORMATS)
    return [error.message for error in validator.iter_errors(value)]
