"""Keywords that a person probably mistyped: one slip away from a keyword of JSON Schema."""

from outlast.jsonschema.keywords import FOREIGN, KNOWN

_SHORTEST = 4
"""The shortest keyword that counts as mistyped: shorter names are near to many words."""


def slip_of(keyword: str) -> str | None:
    """Return the keyword that was probably meant, or None."""
    if keyword in KNOWN or keyword in FOREIGN or keyword.startswith("x-"):
        return None
    if not _SHORTEST <= len(keyword) <= max(map(len, KNOWN)) + 1:
        return None
    plain = _plain(keyword)
    for known in _SORTED:
        if _plain(known) == plain or is_one_slip(keyword, known):
            return known
    return None


def is_one_slip(one: str, other: str) -> bool:
    """Return whether one letter was left out, added, replaced, or swapped with the next."""
    if len(one) > len(other):
        one, other = other, one
    if len(other) - len(one) > 1:
        return False
    start = 0
    while start < len(one) and one[start] == other[start]:
        start += 1
    if len(one) < len(other):
        return one[start:] == other[start + 1 :]
    swapped = one[start : start + 2] == other[start : start + 2][::-1]
    return one[start + 1 :] == other[start + 1 :] or (
        swapped and one[start + 2 :] == other[start + 2 :]
    )


def _plain(keyword: str) -> str:
    return keyword.casefold().replace("_", "").replace("-", "")


_SORTED = tuple(sorted(name for name in KNOWN if len(name) >= _SHORTEST))
