"""Choice rules as conditions in jq."""

from collections.abc import Callable

from pydantic import JsonValue

from outlast.pipelines.asl.paths import NotPortable, at, field, path, reference, text_literal
from outlast.pipelines.fields import quoted

MAX_RULE_DEPTH = 10
"""Rules in `And`, `Or` and `Not`."""

_COMPARISONS = {
    "Equals": "==",
    "LessThanEquals": "<=",
    "GreaterThanEquals": ">=",
    "LessThan": "<",
    "GreaterThan": ">",
}
_TYPES = {"String": "string", "Numeric": "number", "Boolean": "boolean"}
_NOT_RULES = ("Next", "Comment", "Variable")


def condition(rule: JsonValue, depth: int = 0) -> str:
    """Return the condition of one rule. Raises `NotPortable`."""
    if not isinstance(rule, dict):
        raise NotPortable(f"{quoted(rule)} is not a rule")
    if depth > MAX_RULE_DEPTH:
        raise NotPortable(f"rules are nested deeper than {MAX_RULE_DEPTH} levels")
    if "Condition" in rule:
        raise NotPortable("JSONata cannot be moved; write a rule with Variable", "Condition")
    operators = [name for name in rule if name not in _NOT_RULES]
    if len(operators) != 1:
        raise NotPortable(f"a rule has one operator, and this one has {operators}")
    name = operators[0]
    try:
        return _rule(name, rule[name], rule.get("Variable"), depth)
    except NotPortable as problem:
        raise NotPortable(problem.reason, *(problem.place or (name,))) from None


def _rule(name: str, wanted: JsonValue, variable: JsonValue, depth: int) -> str:
    if name in ("And", "Or"):
        return _all_of(name, wanted, depth)
    if name == "Not":
        return f"({_inside(wanted, depth, 'Not')} | not)"
    if not isinstance(variable, str):
        raise NotPortable("is required: the path that is compared", "Variable")
    found = path(variable)
    if name in _TESTS:
        if not isinstance(wanted, bool):
            raise NotPortable(f"{quoted(wanted)} is not true or false")
        test = _TESTS[name](variable, found)
        return test if wanted else f"({test} | not)"
    if name == "StringMatches":
        return _matches(found, wanted)
    return _comparison(name, found, wanted)


def _all_of(name: str, rules: JsonValue, depth: int) -> str:
    if not isinstance(rules, list) or not rules:
        raise NotPortable(f"{quoted(rules)} is not an array of rules")
    parts = [_inside(rule, depth, name, place) for place, rule in enumerate(rules)]
    return f"({f' {name.lower()} '.join(parts)})"


def _inside(rule: JsonValue, depth: int, *place: str | int) -> str:
    with at(*place):
        return condition(rule, depth + 1)


def _comparison(name: str, found: str, wanted: JsonValue) -> str:
    if name.startswith(("Timestamp", "IsTimestamp")):
        raise NotPortable(
            "timestamps cannot be compared here; compare seconds as numbers, or let a tool decide"
        )
    is_path = name.endswith("Path")
    rule = name.removesuffix("Path")
    kind = next((each for each in _TYPES if rule.startswith(each)), None)
    sign = _COMPARISONS.get(rule.removeprefix(kind)) if kind else None
    if kind is None or sign is None or (kind == "Boolean" and sign != "=="):
        raise NotPortable(f"{name!r} is not an operator of the Amazon States Language")
    other = path(wanted) if is_path else _literal(kind, wanted)
    return f'(({found} | type) == "{_TYPES[kind]}" and {found} {sign} {other})'


def _literal(kind: str, wanted: JsonValue) -> str:
    types: tuple[type, ...] = {"String": (str,), "Numeric": (int, float), "Boolean": (bool,)}[kind]
    if not isinstance(wanted, types) or (isinstance(wanted, bool) and kind != "Boolean"):
        raise NotPortable(f"{quoted(wanted)} is not a value for {kind} rules")
    if isinstance(wanted, bool):
        return "true" if wanted else "false"
    return text_literal(wanted) if isinstance(wanted, str) else str(wanted)


def _matches(found: str, wanted: JsonValue) -> str:
    if not isinstance(wanted, str):
        raise NotPortable(f"{quoted(wanted)} is not a text")
    pieces = wanted.split("*")
    if "\\" in wanted or len([piece for piece in pieces if piece]) > 1:
        raise NotPortable("only patterns with * at the start, at the end or at both can be moved")
    text = text_literal("".join(pieces))
    starts, ends = wanted.startswith("*"), wanted.endswith("*")
    test = f". == {text}"
    if starts and ends:
        test = f"contains({text})"
    elif starts or ends:
        test = f"{'endswith' if starts else 'startswith'}({text})"
    return f'({found} | type == "string" and ({test}))'


def _is_present(variable: str, found: str) -> str:
    try:
        names = reference(variable)
    except NotPortable:
        raise NotPortable("IsPresent can only be moved for a path of names") from None
    if not names:
        return f"({found} | true)"
    inside = f'type == "object" and has({text_literal(names[-1])})'
    return f"(try ({field(names[:-1])} | {inside}) catch false)"


_TESTS: dict[str, Callable[[str, str], str]] = {
    "IsNull": lambda _, found: f"({found} == null)",
    "IsPresent": _is_present,
    "IsNumeric": lambda _, found: f'({found} | type == "number")',
    "IsString": lambda _, found: f'({found} | type == "string")',
    "IsBoolean": lambda _, found: f'({found} | type == "boolean")',
}
