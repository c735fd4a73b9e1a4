"""The keywords of JSON Schema: a function each, which returns the problem of a value."""

import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import reduce
from typing import TYPE_CHECKING, Any

from outlast_activities.policies.formats import FORMATS
from outlast_activities.policies.schema_problem import Problem, Step, value_text
from outlast_activities.policies.value_keys import type_of

if TYPE_CHECKING:
    from outlast_activities.policies.schema_evaluation import Evaluation

Keyword = Callable[["Evaluation", Any, Any, Mapping[str, Any]], Problem | None]


def _best(problems: list[Problem]) -> Problem | None:
    return min(problems, key=lambda problem: problem.rank) if problems else None


def type_problem(_: "Evaluation", types: Any, value: Any, __: Mapping[str, Any]) -> Problem | None:
    """Return the problem of `type`, which is checked before all other keywords."""
    names = [types] if isinstance(types, str) else types
    kind = type_of(value)
    if kind in names or (kind == "integer" and "number" in names):
        return None
    if kind == "number" and "integer" in names and isinstance(value, float) and value.is_integer():
        return None
    listed = ", ".join(repr(name) for name in names)
    return Problem(lambda: f"{value_text(value)} is not of type {listed}")


def _ref(run: "Evaluation", reference: Any, value: Any, _: Mapping[str, Any]) -> Problem | None:
    return run.problem(run.target(reference), value)


def _enum(run: "Evaluation", values: Any, value: Any, _: Mapping[str, Any]) -> Problem | None:
    if run.key(value) in run.enum_keys(values):
        return None
    return Problem(
        lambda: f"{value_text(value)} is not one of {value_text(values)}", accepted=tuple(values)
    )


def _const(run: "Evaluation", wanted: Any, value: Any, _: Mapping[str, Any]) -> Problem | None:
    if run.key(value) == run.key(wanted):
        return None
    return Problem(lambda: f"{value_text(wanted)} was expected", accepted=(wanted,))


def _limit(words: str, holds: Callable[[Any, Any], bool]) -> Keyword:
    def check(_: "Evaluation", limit: Any, value: Any, __: Mapping[str, Any]) -> Problem | None:
        if type_of(value) not in ("integer", "number") or holds(value, limit):
            return None
        return Problem(lambda: f"{value_text(value)} is {words} of {value_text(limit)}")

    return check


def _multiple_of(_: "Evaluation", step: Any, value: Any, __: Mapping[str, Any]) -> Problem | None:
    if type_of(value) not in ("integer", "number"):
        return None
    # Decimals, as they are written: 19.99 is a multiple of 0.01.
    if _is_finite(value):
        whole = Fraction(value) if isinstance(value, int) else Fraction(repr(value))
        parts = Fraction(step) if isinstance(step, int) else Fraction(repr(step))
        if (whole / parts).denominator == 1:
            return None
    return Problem(lambda: f"{value_text(value)} is not a multiple of {value_text(step)}")


def _is_finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _size(kind: type[Any], words: str, holds: Callable[[int, int], bool]) -> Keyword:
    def check(_: "Evaluation", limit: Any, value: Any, __: Mapping[str, Any]) -> Problem | None:
        if not isinstance(value, kind) or holds(len(value), limit):
            return None
        return Problem(lambda: f"{value_text(value)} {words.format(limit)}")

    return check


def _pattern(run: "Evaluation", pattern: Any, value: Any, _: Mapping[str, Any]) -> Problem | None:
    if not isinstance(value, str) or run.matches(pattern, value):
        return None
    return Problem(lambda: f"{value_text(value)} does not match {pattern!r}")


def _format(run: "Evaluation", name: Any, value: Any, _: Mapping[str, Any]) -> Problem | None:
    check = FORMATS.get(name)
    if check is None or not isinstance(value, str):
        return None
    run.spend_on_text(value)
    return None if check(value) else Problem(lambda: f"{value_text(value)} is not a {name!r}")


def _items(run: "Evaluation", schema: Any, value: Any, node: Mapping[str, Any]) -> Problem | None:
    if not isinstance(value, list):
        return None
    first = len(node.get("prefixItems", ()))
    if schema is False and len(value) > first:
        return Problem(
            lambda: f"expected at most {first} items but found {len(value) - first} more"
        )
    return _each(run, ((index, schema, value[index]) for index in range(first, len(value))))


def _prefix_items(run: "Evaluation", schemas: Any, value: Any, _: Any) -> Problem | None:
    if not isinstance(value, list):
        return None
    pairs = enumerate(zip(schemas, value, strict=False))
    return _each(run, ((index, schema, item) for index, (schema, item) in pairs))


def _each(run: "Evaluation", parts: Any) -> Problem | None:
    """Return the best problem of parts of a value: each has a step, a schema and the part itself."""
    best: Problem | None = None
    for step, schema, part in parts:
        run.spend(1)
        found = run.problem(schema, part)
        if found is not None and (best is None or len(found.path) + 1 < len(best.path)):
            best = found.below(step)
    return best


def _contains(
    run: "Evaluation", schema: Any, value: Any, node: Mapping[str, Any]
) -> Problem | None:
    if not isinstance(value, list):
        return None
    least, most = node.get("minContains", 1), node.get("maxContains")
    count = sum(run.is_valid(schema, item) for item in value)
    if count < least:
        some = f"{least:,} items" if least > 1 else "items"
        return Problem(lambda: f"{value_text(value)} does not contain {some} of the given schema")
    if most is not None and count > most:
        return Problem(
            lambda: f"{value_text(value)} contains more than {most:,} items of the schema"
        )
    return None


def _unique_items(run: "Evaluation", unique: Any, value: Any, _: Any) -> Problem | None:
    if unique is not True or not isinstance(value, list):
        return None
    if len({run.key(item) for item in value}) == len(value):
        return None
    return Problem(lambda: f"{value_text(value)} has non-unique elements")


def _properties(run: "Evaluation", schemas: Any, value: Any, _: Any) -> Problem | None:
    if not isinstance(value, dict):
        return None
    names = schemas if len(schemas) <= len(value) else value
    both = [name for name in names if name in value and name in schemas]
    run.spend(len(names))
    return _each(run, ((name, schemas[name], value[name]) for name in both))


def _pattern_properties(run: "Evaluation", schemas: Any, value: Any, _: Any) -> Problem | None:
    if not isinstance(value, dict):
        return None
    return _each(
        run,
        (
            (name, schema, part)
            for pattern, schema in schemas.items()
            for name, part in value.items()
            if run.matches(pattern, name)
        ),
    )


def _others(run: "Evaluation", value: Mapping[str, Any], node: Mapping[str, Any]) -> list[str]:
    """Return the properties that `properties` and `patternProperties` do not name."""
    known = node.get("properties", {})
    run.spend(len(value))
    others = [name for name in value if name not in known]
    for pattern in node.get("patternProperties", ()):
        others = [name for name in others if not run.matches(pattern, name)]
    return others


def _additional(run: "Evaluation", schema: Any, value: Any, node: Any) -> Problem | None:
    if not isinstance(value, dict) or schema is True:
        return None
    others = _others(run, value, node)
    if schema is not False:
        return _each(run, ((name, schema, value[name]) for name in others))
    return _unexpected("Additional properties", others)


def _unexpected(kind: str, names: list[Any]) -> Problem | None:
    if not names:
        return None
    were = "was" if len(names) == 1 else "were"
    return Problem(
        lambda: f"{kind} are not allowed ({', '.join(map(repr, names[:10]))} {were} unexpected)"
    )


def _property_names(run: "Evaluation", schema: Any, value: Any, _: Any) -> Problem | None:
    if not isinstance(value, dict):
        return None
    return _best([found for name in value if (found := run.problem(schema, name)) is not None])


def _required(run: "Evaluation", names: Any, value: Any, _: Any) -> Problem | None:
    if not isinstance(value, dict):
        return None
    run.spend(len(names))
    missing = next((name for name in names if name not in value), None)
    return None if missing is None else Problem(lambda: f"{missing!r} is a required property")


def _dependent_required(run: "Evaluation", groups: Any, value: Any, _: Any) -> Problem | None:
    if not isinstance(value, dict):
        return None
    for name, needed in groups.items():
        run.spend(1 + len(needed))
        missing = next((other for other in needed if other not in value), None)
        if name in value and missing is not None:
            return _dependency(missing, name)
    return None


def _dependency(missing: str, name: str) -> Problem:
    return Problem(lambda: f"{missing!r} is a dependency of {name!r}")


def _dependent_schemas(run: "Evaluation", schemas: Any, value: Any, _: Any) -> Problem | None:
    if not isinstance(value, dict):
        return None
    named = [schema for name, schema in schemas.items() if name in value]
    return _all_of(run, named, value, {})


def _all_of(run: "Evaluation", schemas: Any, value: Any, _: Any) -> Problem | None:
    problems = [run.problem(schema, value) for schema in schemas]
    return _best([problem for problem in problems if problem is not None])


def _any_of(run: "Evaluation", schemas: Any, value: Any, _: Any) -> Problem | None:
    problems: list[Problem] = []
    for schema in schemas:
        found = run.problem(schema, value)
        if found is None:
            return None
        problems.append(found)
    return _of_branches(problems, value)


def _one_of(run: "Evaluation", schemas: Any, value: Any, _: Any) -> Problem | None:
    problems = [run.problem(schema, value) for schema in schemas]
    count = problems.count(None)
    if count == 1:
        return None
    if count:
        return Problem(lambda: f"{value_text(value)} is valid under {count} of the given schemas")
    return _of_branches([problem for problem in problems if problem is not None], value)


def _of_branches(problems: list[Problem], value: Any) -> Problem:
    """Return the problem of the branch that comes nearest: the one whose problem is the deepest.

    Of several, a branch with another constant, such as the name of another tool, is for another value.
    """
    deepest = max(len(problem.path) for problem in problems)
    nearest = [problem for problem in problems if len(problem.path) == deepest]
    meant = [problem for problem in nearest if not problem.accepted] or nearest
    if len(meant) == 1:
        return Problem(meant[0].message, meant[0].path, weak=True)
    path = meant[0].path
    if path and all(problem.accepted and problem.path == path for problem in meant):
        accepted = [each for problem in meant for each in problem.accepted]
        found = reduce(lambda part, step: part[step], path, value)
        return Problem(
            lambda: f"{value_text(found)} is not one of {value_text(accepted)}", path, weak=True
        )
    return Problem(
        lambda: f"{value_text(value)} is not valid under any of the given schemas", weak=True
    )


def _not(run: "Evaluation", schema: Any, value: Any, _: Any) -> Problem | None:
    if not run.is_valid(schema, value):
        return None
    return Problem(lambda: f"{value_text(value)} should not be valid under {value_text(schema)}")


def _if(run: "Evaluation", schema: Any, value: Any, node: Mapping[str, Any]) -> Problem | None:
    return run.problem(node.get("then" if run.is_valid(schema, value) else "else", True), value)


def _unevaluated_properties(
    run: "Evaluation", schema: Any, value: Any, node: Mapping[str, Any]
) -> Problem | None:
    if not isinstance(value, dict):
        return None
    known = run.evaluated_beside(node, value)
    names = [name for name in value if name not in known]
    if schema is False:
        return _unexpected("Unevaluated properties", names)
    return _each(run, ((name, schema, value[name]) for name in names))


def _unevaluated_items(
    run: "Evaluation", schema: Any, value: Any, node: Mapping[str, Any]
) -> Problem | None:
    if not isinstance(value, list):
        return None
    known = run.evaluated_beside(node, value)
    places = [index for index in range(len(value)) if index not in known]
    if schema is False:
        return _unexpected("Unevaluated items", [value[index] for index in places])
    return _each(run, ((index, schema, value[index]) for index in places))


def places_of(value: Any) -> Iterable[Step]:
    """Return the names of an object, or the indexes of a list."""
    return range(len(value)) if isinstance(value, list) else value


def evaluated_properties(run: "Evaluation", schema: Mapping[str, Any], value: Any) -> set[Step]:
    """Return the names that the own keywords of a schema evaluate."""
    if not isinstance(value, dict):
        return set()
    if "additionalProperties" in schema:
        return set(value)
    return set(value) - set(_others(run, value, schema))


def evaluated_items(run: "Evaluation", schema: Mapping[str, Any], value: Any) -> set[Step]:
    """Return the indexes that the own keywords of a schema evaluate."""
    if not isinstance(value, list):
        return set()
    if "items" in schema:
        return set(range(len(value)))
    places: set[Step] = set(range(min(len(schema.get("prefixItems", ())), len(value))))
    if "contains" in schema:
        held = enumerate(value)
        places |= {index for index, item in held if run.is_valid(schema["contains"], item)}
    return places


KEYWORDS: dict[str, Keyword] = {
    "$ref": _ref,
    "enum": _enum,
    "const": _const,
    "minimum": _limit("less than the minimum", lambda value, limit: value >= limit),
    "maximum": _limit("greater than the maximum", lambda value, limit: value <= limit),
    "exclusiveMinimum": _limit(
        "less than or equal to the minimum", lambda value, limit: value > limit
    ),
    "exclusiveMaximum": _limit(
        "greater than or equal to the maximum", lambda value, limit: value < limit
    ),
    "multipleOf": _multiple_of,
    "minLength": _size(str, "is too short (at least {} characters)", lambda n, least: n >= least),
    "maxLength": _size(str, "is too long (at most {} characters)", lambda n, most: n <= most),
    "minItems": _size(list, "is too short (at least {} items)", lambda n, least: n >= least),
    "maxItems": _size(list, "is too long (at most {} items)", lambda n, most: n <= most),
    "minProperties": _size(
        dict, "has too few properties (at least {})", lambda n, least: n >= least
    ),
    "maxProperties": _size(dict, "has too many properties (at most {})", lambda n, most: n <= most),
    "pattern": _pattern,
    "format": _format,
    "items": _items,
    "prefixItems": _prefix_items,
    "contains": _contains,
    "uniqueItems": _unique_items,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "propertyNames": _property_names,
    "required": _required,
    "dependentRequired": _dependent_required,
    "dependentSchemas": _dependent_schemas,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "unevaluatedProperties": _unevaluated_properties,
    "unevaluatedItems": _unevaluated_items,
}
