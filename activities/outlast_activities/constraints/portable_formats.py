"""Formats as regular expressions that all decoding engines know, and whose strings have a maximum length.

An engine's own format may be unknown to another. It also allows digits without a limit, such as
fractions of a second, and small models loop in them. These patterns allow what is in use: years of four
digits, fractions of six, numbers of a duration with six, and ASCII mail addresses with at most six dots
before the @ and seven after it. The check afterwards uses the format itself.
"""

# Nothing optional ends in a counted repeat: xgrammar 0.2.8 lets `(x[0-9]{1,6})?` start in the middle.
_HOUR = "([01][0-9]|2[0-3])"
_DAY_OF_MONTH = (
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|[12][0-9]))"
)
_DATE = f"[1-9][0-9]{{3}}-{_DAY_OF_MONTH}"
_OFFSET = f"(Z|[+-]{_HOUR}:[0-5][0-9])"
_TIME = f"{_HOUR}:[0-5][0-9]:[0-5][0-9]({_OFFSET}|[.][0-9]{{1,6}}{_OFFSET})"

_COUNT = "[0-9]{1,6}"
_SECONDS = f"({_COUNT}S|{_COUNT}[.]{_COUNT}S)"
_CLOCK = f"T({_COUNT}H({_COUNT}M)?{_SECONDS}?|{_COUNT}M{_SECONDS}?|{_SECONDS})"
_CALENDAR = f"({_COUNT}Y({_COUNT}M)?({_COUNT}D)?|{_COUNT}M({_COUNT}D)?|{_COUNT}D)"
_DURATION = f"P({_CALENDAR}({_CLOCK})?|{_CLOCK}|{_COUNT}W)"

_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = f"{_BYTE}([.]{_BYTE}){{3}}"
_ATOM = "[A-Za-z0-9!#$%&'*+/=?_`{|}~-]{1,64}"
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = (
    f"{_ATOM}([.]{_ATOM}@|[.]{_ATOM}[.]{_ATOM}@|([.]{_ATOM}){{3,6}}@|@)({_LABEL}[.]){{0,7}}{_LABEL}"
)

PATTERNS: dict[str, str] = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "duration": f"^{_DURATION}$",
    "ipv4": f"^{_IPV4}$",
    "email": f"^{_EMAIL}$",
}
