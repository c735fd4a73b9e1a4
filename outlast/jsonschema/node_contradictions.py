"""Contradictions of one node of a JSON Schema: bounds that cross, patterns and values that cannot be."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from outlast.jsonschema.patterns import matches_of
from outlast.jsonschema.schemas import Schema

_KEYWORDS_OF = {
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "string": ("minLength", "maxLength", "pattern"),
    "array": ("minItems", "maxItems", "prefixItems"),
    "object": ("properties", "required", "minProperties", "maxProperties"),
}
_TYPES_OF_VALUES: tuple[tuple[type, tuple[str, ...]], ...] = (
    (bool, ("boolean",)),
    (int, ("integer", "number")),
    (str, ("string",)),
    (list, ("array",)),
    (dict, ("object",)),
    (type(None), ("null",)),
)


@dataclass(frozen=True)
class Contradiction:
    """Why a schema at `path` is empty; `target` is the definition that it needs, if that is why."""

    path: str
    reason: str
    target: str | None = None


def kinds_of(node: Schema) -> list[str]:
    """Return the types that a node is about: declared, or told by its keywords."""
    declared: Any = node.get("type")
    if declared is None:
        return [kind for kind, words in _KEYWORDS_OF.items() if any(word in node for word in words)]
    return declared if isinstance(declared, list) else [declared]


def crossed(node: Schema, path: str, low: str, high: str) -> Contradiction | None:
    """Compare a least with a most."""
    least: Any = node.get(low)
    most: Any = node.get(high)
    if least is None or most is None or least <= most:
        return None
    return Contradiction(f"{path}.{low}", f"{least} is above {high}, which is {most}; swap them")


def values(node: Schema, path: str) -> Contradiction | None:
    """Compare `enum` and `const` with the type."""
    if "type" not in node:
        return None
    kinds = set(kinds_of(node))
    for keyword in ("enum", "const"):
        if keyword in node:
            given: Any = node[keyword] if keyword == "enum" else [node[keyword]]
            if not any(kinds & set(types_of(value)) for value in given):
                names = " or ".join(sorted(kinds))
                return Contradiction(f"{path}.{keyword}", f"has no value of type {names}")
    return None


def types_of(value: Any) -> tuple[str, ...]:
    """Return the types of JSON Schema that a value has."""
    if isinstance(value, float):
        return ("integer", "number") if value.is_integer() else ("number",)
    return next(names for kind, names in _TYPES_OF_VALUES if isinstance(value, kind))


def strings(node: Schema, path: str) -> Contradiction | None:
    """Look at lengths and the pattern."""
    backwards = crossed(node, path, "minLength", "maxLength")
    pattern: Any = node.get("pattern")
    if backwards is not None or pattern is None:
        return backwards
    matches = matches_of(pattern)
    if matches is None:
        return Contradiction(f"{path}.pattern", f"no text matches {pattern!r}")
    least: Any = node.get("minLength", 0)
    most: Any = node.get("maxLength", math.inf)
    if matches.shortest > most:
        reason = f"matches no text of at most {most} characters (maxLength)"
        return Contradiction(f"{path}.pattern", reason)
    anchored = matches.begins and matches.ends
    if anchored and matches.longest is not None and matches.longest < least:
        reason = f"matches no text of at least {least} characters (minLength)"
        return Contradiction(f"{path}.pattern", reason)
    return None


def numbers(node: Schema, path: str) -> Contradiction | None:
    """Look at bounds, and for what lies between them."""
    low, above = _bound(node, "minimum", "exclusiveMinimum", max)
    high, below = _bound(node, "maximum", "exclusiveMaximum", min)
    step = _fraction(node.get("multipleOf"))
    if "integer" in kinds_of(node) and "number" not in kinds_of(node) and step is None:
        step = Fraction(1)
    if low is None or high is None:
        return None
    if low > high or (low == high and (above or below)):
        return Contradiction(path, f"no number is above {_said(low)} and below {_said(high)}")
    if step is None:
        return None
    first = math.floor(low / step) + 1 if above else math.ceil(low / step)
    last = math.ceil(high / step) - 1 if below else math.floor(high / step)
    if first <= last:
        return None
    what = "integer" if step == 1 else f"multiple of {_said(step)}"
    return Contradiction(path, f"no {what} lies between {_said(low)} and {_said(high)}")


def _bound(node: Schema, closed: str, open_: str, pick: Any) -> tuple[Fraction | None, bool]:
    """Return the tighter of two bounds, and whether the bound itself is excluded."""
    bounds = [
        (value, excluded)
        for keyword, excluded in ((closed, False), (open_, True))
        if (value := _fraction(node.get(keyword))) is not None
    ]
    if not bounds:
        return None, False
    tightest = pick(value for value, _ in bounds)
    return tightest, (tightest, True) in bounds


def _fraction(value: Any) -> Fraction | None:
    if value is None:
        return None
    return Fraction(value) if isinstance(value, int) else Fraction(repr(value))


def _said(number: Fraction) -> str:
    return str(number.numerator if number.denominator == 1 else float(number))
