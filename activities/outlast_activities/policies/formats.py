"""Formats of strings, as their standards define them, each checked in linear time."""

import re
from collections.abc import Callable, Mapping
from datetime import date
from ipaddress import IPv4Address, IPv6Address

MAX_SHORT = 100
"""The longest date, time, duration, UUID or IP address that is read."""

MAX_MAIL = 320
"""The longest mail address: 64 characters, an @, and 255 more."""

_CLOCK = re.compile(
    r"([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SOME_DIGITS = "[0-9]+"
_SECONDS = rf"(?:{_SOME_DIGITS}(?:[.,]{_SOME_DIGITS})?S)"
_DURATION = re.compile(
    rf"P(?=[0-9T])(?:{_SOME_DIGITS}Y)?(?:{_SOME_DIGITS}M)?(?:{_SOME_DIGITS}D)?"
    rf"(?:T(?=[0-9])(?:{_SOME_DIGITS}H)?(?:{_SOME_DIGITS}M)?{_SECONDS}?)?"
    rf"|P{_SOME_DIGITS}W"
)
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*"
)
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_LABEL = r"[A-Za-z0-9\u0080-\U0010ffff](?:[A-Za-z0-9\u0080-\U0010ffff-]{0,61}[A-Za-z0-9\u0080-\U0010ffff])?"
_MAILBOX = rf'(?:{_ATOM}(?:\.{_ATOM})*|"(?:[ !#-\[\]-~]|\\[ -~])*")'
_MAIL = rf"{_MAILBOX}@(?:({_LABEL}(?:\.{_LABEL})*)\.?|\[([^\]]+)\])"
_HOST_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*")


def _is_date(text: str) -> bool:
    if _DAY.fullmatch(text) is None:
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_time(text: str) -> bool:
    clock = _CLOCK.fullmatch(text)
    if clock is None or clock[3] != "60":
        return clock is not None
    # A leap second is the last one of a day in UTC.
    offset = int(clock[5] or 0) * 60 + int(clock[6] or 0)
    minutes = int(clock[1]) * 60 + int(clock[2]) + (offset if clock[4] == "-" else -offset)
    return minutes % 1_440 == 1_439


def _is_date_time(text: str) -> bool:
    return text[10:11] in ("T", "t") and _is_date(text[:10]) and _is_time(text[11:])


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return text.isascii()


def _is_ipv6(text: str) -> bool:
    try:
        address = IPv6Address(text)
    except ValueError:
        return False
    return address.scope_id is None and text.isascii()


def _is_email(text: str) -> bool:
    # Compiled when it is first needed: that takes 20 ms, a share of a worker's start.
    address = re.fullmatch(_MAIL, text)
    if address is None or address[2] is None:
        return address is not None
    literal = address[2]
    return _is_ipv6(literal[5:]) if literal.lower().startswith("ipv6:") else _is_ipv4(literal)


def _whole(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


def _short(check: Callable[[str], bool], most: int = MAX_SHORT) -> Callable[[str], bool]:
    return lambda text: len(text) <= most and check(text)


FORMATS: Mapping[str, Callable[[str], bool]] = {
    "date": _short(_is_date),
    "time": _short(_is_time),
    "date-time": _short(_is_date_time),
    "duration": _short(_whole(_DURATION)),
    "uuid": _short(_whole(_UUID)),
    "uri": _whole(_URI),
    "ipv4": _short(_is_ipv4),
    "ipv6": _short(_is_ipv6),
    "email": _short(_is_email, MAX_MAIL),
    "hostname": _short(_whole(_HOST), 253),
}
"""The formats that are checked. Others, such as `path`, constrain nothing."""
