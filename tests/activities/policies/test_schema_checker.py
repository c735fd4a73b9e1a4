import json
import random
import time
from typing import Any

import pytest
from jsonschema import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
)
from outlast_activities.policies.schema_checker import MAX_ANSWER_DEPTH, SchemaChecker
from outlast_activities.policies.schema_evaluation import MAX_STEPS

MAX_CHECK_S = 3
"""The longest check on a loaded machine."""


def problem(value: Any, schema: Any) -> str | None:
    return SchemaChecker().problem(value, schema, key="")


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("date", "2024-02-29", "2023-02-29"),
        ("date", "2024-02-29", "tomorrow"),
        ("date", "2024-02-29", "1700000000"),
        ("date", "0001-01-01", "2024-2-9"),
        ("time", "10:11:12Z", "25:00:00"),
        ("time", "10:11:12.5+01:00", "12:00"),
        ("time", "10:11:12z", "10:11:12"),
        ("date-time", "2024-01-31T10:11:12Z", "2024-01-31T10:71:12Z"),
        ("date-time", "2024-01-31T10:11:12+02:00", "31.1.2024"),
        ("date-time", "2024-01-31t10:11:12.123456789z", "2022-01-01T12:00:00"),
        ("date-time", "1990-12-31T23:59:60Z", "2022-01-01 12:00:00Z"),
        ("date-time", "1990-12-31T15:59:60-08:00", "1990-12-31T22:59:60Z"),
        ("date-time", "2024-01-31T10:11:12Z", "2024-01-01"),
        ("date-time", "2024-01-31T10:11:12Z", "20240131T101112Z"),
        ("duration", "P1DT2H", "a day"),
        ("duration", "PT5S", "5"),
        ("duration", "P4W", "1 day"),
        ("duration", "PT0.5S", "P"),
        ("duration", "P1Y2M3DT4H5M6S", "P1DT"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
        ("uuid", "123E4567-e89b-12d3-a456-426614174000", "12345678123456781234567812345678"),
        ("email", "ada@example.org", "ada at example.org"),
        ("email", "ops@localhost", "@localhost"),
        ("email", "ops@corp.local", "ops@"),
        ("email", "x@host.internal", "a..b@x.org"),
        ("email", "m4.van.dijk@vu.nl", ".a@x.org"),
        ("email", "a@mail.cs.ox.ac.uk", "a.@x.org"),
        ("email", "o'neil@x.com", "a@x..org"),
        ("email", '"a b"@x.org', "a b@x.org"),
        ("email", "a@[127.0.0.1]", "a@[127.0.0.300]"),
        ("email", "a@[IPv6:::1]", "a@-x.org"),
        ("uri", "https://example.org/x", "example"),
        ("uri", "urn:isbn:0451450523", "http://a b"),
        ("uri", "mailto:a@b.c", "//x.org/y"),
        ("ipv4", "127.0.0.1", "127.0.0.256"),
        ("ipv4", "8.8.8.8", "127.0.0.01"),
        ("ipv6", "::1", "127.0.0.1"),
        ("ipv6", "2001:db8::ff00:42:8329", "fe80::1%eth0"),
        ("hostname", "WWW.Example.org", "-x.org"),
    ],
)
def test_a_text_of_a_wrong_format_is_a_problem(form: str, good: str, bad: str) -> None:
    checker = SchemaChecker()
    schema = {"type": "string", "format": form}
    assert checker.problem(good, schema, key=form) is None
    assert checker.problem(bad, schema, key=form) == f"{bad!r} is not a {form!r}"


@pytest.mark.parametrize("form", ["binary", "path", "of-our-own"])
def test_an_unknown_format_is_not_a_problem(form: str) -> None:
    assert problem("x", {"type": "string", "format": form}) is None


def test_a_format_says_nothing_of_what_is_no_text() -> None:
    assert problem(7, {"format": "date"}) is None


@pytest.mark.parametrize(
    "form",
    [
        *(
            "date",
            "time",
            "date-time",
            "duration",
            "uuid",
            "uri",
            "ipv4",
            "ipv6",
            "email",
            "hostname",
        )
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        *("1" * 200_000, "1." * 100_000, " " * 200_000 + "x", "P" + "1" * 200_000, "a@" * 100_000),
        *("a." * 100_000, "::" * 100_000, "a:" + "%" * 200_000, '"' * 200_000, "-" * 200_000),
        *("a@" + "a." * 100_000, "a@" + "a" * 200_000, "+" * 200_000, "\u0661" * 200_000),
    ],
)
def test_formats_take_linear_time(form: str, text: str) -> None:
    started = time.thread_time()
    problem(text, {"type": "string", "format": form})
    assert time.thread_time() - started < MAX_CHECK_S


def chain(levels: int, link: Any, last: Any) -> dict[str, Any]:
    """Return a chain of definitions: `link` makes one from the reference to the next."""
    definitions = {f"d{n}": link({"$ref": f"#/$defs/d{n + 1}"}) for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{levels}": last}}


CALLS: dict[str, Any] = {
    "anyOf": [
        {
            "type": "object",
            "properties": {"tool": {"enum": [name]}, "x": {"type": "integer"}},
            "required": ["tool", "x"],
        }
        for name in ("look", "pay", "fly")
    ]
}
"""Calls of tools with one argument."""

TEXT: dict[str, Any] = {"type": "string"}
LISTS: dict[str, Any] = {"oneOf": [{"type": "array", "items": {}}] * 2}
BOMBS: list[tuple[Any, Any]] = [
    (chain(28, lambda ref: {"allOf": [ref, ref]}, TEXT), "x"),
    (chain(28, lambda ref: {"allOf": [ref, ref]}, TEXT), 1),
    (chain(40, lambda ref: {"anyOf": [ref, ref]}, TEXT), 1),
    (chain(40, lambda ref: {"oneOf": [ref, ref]}, TEXT), "x"),
    (chain(40, lambda ref: {"not": {"anyOf": [ref, ref]}}, TEXT), "x"),
    (chain(40, lambda ref: {"if": ref, "then": ref, "else": ref}, TEXT), "x"),
    (chain(30, lambda ref: {"dependentSchemas": {"a": ref, "b": ref}}, TEXT), {"a": 1, "b": 2}),
    (
        chain(30, lambda ref: {"anyOf": [ref, ref], "unevaluatedProperties": False}, TEXT),
        {"a": 1},
    ),
    (
        chain(30, lambda ref: {"allOf": [ref, ref], "unevaluatedItems": False}, {}),
        [1, 2],
    ),
    (chain(400, lambda ref: {"allOf": [ref]}, TEXT), "x"),
    (
        chain(30, lambda ref: {"oneOf": [{"items": ref}, {"items": ref}]}, TEXT),
        [[[[[[[[[[[["x"]]]]]]]]]]]],
    ),
    (chain(20, lambda ref: {"properties": {"a": ref, "b": ref}}, TEXT), {"a": {"a": {"b": 1}}}),
    ({"type": "array", "uniqueItems": True}, [{"a": n, "b": [n]} for n in range(30_000)]),
    ({"uniqueItems": True}, [n * (2**61 - 1) for n in range(30_000)]),
    ({"items": {"enum": [{"a": n} for n in range(1_000)]}}, [{"a": -n} for n in range(5_000)]),
    (
        {"items": {"allOf": [{"minimum": n} for n in range(2_000)]}},
        [3_000 + n for n in range(10_000)],
    ),
    ({"patternProperties": {"^(a+)+$": {}}}, {"a" * 40 + "!": 1}),
    (
        {"patternProperties": {f"a{n}": {} for n in range(1_000)}},
        {f"b{n}": 1 for n in range(3_000)},
    ),
    ({"pattern": "^(a+)+$"}, "a" * 100_000 + "!"),
    ({"pattern": "^(?!x)(a+)+$"}, "a" * 100_000 + "!"),
    ({"pattern": "(.*)*(.*)*(.*)*x$"}, "a" * 200_000),
    ({"pattern": "(a|b|ab)*c" * 20}, "ab" * 500_000),
    ({"pattern": "(.{1,30}.{1,30}.{1,30}){1,30}x"}, "a" * 500_000),
    ({"items": {"pattern": r"\w{1,50}a7|\w{1,50}b"}}, ["x" * 50] * 20_000),
    ({"multipleOf": 0.5}, int("1" * 400)),
    ({"multipleOf": 1e-300}, 10**300),
    ({"multipleOf": 10**400}, 0.5),
    ({"multipleOf": 10**400, "minimum": 10**399, "exclusiveMaximum": 0.5}, 10**400),
    ({"multipleOf": 0.5}, float("inf")),
    ({"multipleOf": 0.01, "minimum": 0.5, "maximum": 1e300}, 10**4_000),
    ({"type": "integer", "exclusiveMaximum": 10**400}, 1e300),
    ({"properties": {f"p{n}": {"const": 1} for n in range(3_000)}}, dict.fromkeys("abc", 1)),
    ({"contains": {"contains": {"contains": {"const": 1}}}}, [[[0] * 100] * 100] * 100),
    (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        "x",
    ),
    ({"type": "object"}, {f"k{n}": "x" * 100 for n in range(20_000)}),
]


@pytest.mark.parametrize(("schema", "value"), BOMBS)
@pytest.mark.parametrize(
    "draft",
    [None, "http://json-schema.org/draft-04/schema#", "http://json-schema.org/draft-07/schema#"],
)
def test_every_check_ends_soon_with_a_result(schema: Any, value: Any, draft: str | None) -> None:
    declared = schema if draft is None else {"$schema": draft, **schema}
    started = time.thread_time()
    result = problem(value, declared)
    assert time.thread_time() - started < MAX_CHECK_S
    assert result is None or "\n" not in result


def test_a_check_with_too_many_steps_says_so() -> None:
    schema = {"items": {"allOf": [{"minimum": n} for n in range(2_000)]}}
    assert problem([3_000 + n for n in range(10_000)], schema) == (
        f"the check takes more than {MAX_STEPS:,} steps; be shorter"
    )


def nested(levels: int, kind: str) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"c": value}
    return value


@pytest.mark.parametrize("kind", ["list", "object"])
@pytest.mark.parametrize("levels", [69, 127, 199, 220, 252, 253, 300, 900, 5_000, 100_000])
def test_a_value_that_the_codec_cannot_take_is_a_problem(kind: str, levels: int) -> None:
    value = nested(levels, kind)
    assert problem(value, {}) == "nested deeper than 64 levels; give a flatter value"


@pytest.mark.parametrize("kind", ["list", "object"])
def test_a_value_of_the_greatest_depth_is_checked(kind: str) -> None:
    tree = {
        "anyOf": [
            {"type": "integer"},
            {"type": "array", "items": {"$ref": "#"}},
            {"properties": {"c": {"$ref": "#"}}, "type": "object"},
        ]
    }
    assert problem(nested(MAX_ANSWER_DEPTH, kind), tree) is None


@pytest.mark.parametrize(
    ("step", "good", "bad"),
    [
        (0.01, [19.99, 4.02, 4.35, 0.07, 1, -3.14, 1e15], [0.001, 19.995]),
        (0.1, [0.3, 0.7, 1.1, 100], [0.25]),
        (0.5, [10**400, 0.5, -1.5], [0.3]),
        (3, [9, 3.0, 3 * 10**30], [10, 3.5]),
        (1e-7, [1e-7, 0.1234567], [1e-8]),
        (2.5, [5, 7.5], [6]),
    ],
)
def test_multiples_are_compared_as_decimals(step: float, good: list[Any], bad: list[Any]) -> None:
    schema = {"type": "number", "multipleOf": step}
    assert [value for value in good if problem(value, schema) is not None] == []
    assert [value for value in bad if problem(value, schema) is None] == []


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "object", "required": ["id"]}, {}, "'id' is a required property"),
        ({"properties": {"a": {"enum": ["b"]}}}, {"a": "c"}, "a: 'c' is not one of ['b']"),
        ({"additionalProperties": False}, {"x": 1}, "Additional properties are not allowed ('x'"),
        ({"items": TEXT}, ["a", 1], "1: 1 is not of type 'string'"),
        ({"items": TEXT, "minItems": 3}, [1], "[1] is too short (at least 3 items)"),
        ({"type": ["string", "null"]}, 1, "1 is not of type 'string', 'null'"),
        ({"const": 1}, True, "1 was expected"),
        ({"minimum": 3}, 2, "2 is less than the minimum of 3"),
        ({"exclusiveMaximum": 3}, 3, "3 is greater than or equal to the maximum of 3"),
        ({"anyOf": [TEXT, {"properties": {"a": TEXT}}]}, {"a": 1}, "a: 1 is not of type 'string'"),
        (CALLS, {"tool": "loock", "x": 1}, "tool: 'loock' is not one of ['look', 'pay', 'fly']"),
        (CALLS, {"tool": "look", "x": "a"}, "x: 'a' is not of type 'integer'"),
        ({"anyOf": [TEXT, {"type": "null"}]}, 1, "1 is not valid under any of the given schemas"),
        ({"oneOf": [TEXT, {}]}, "x", "'x' is valid under 2 of the given schemas"),
        ({"not": TEXT}, "x", "'x' should not be valid under {'type': 'string'}"),
        ({"uniqueItems": True}, [1, 1.0], "[1, 1.0] has non-unique elements"),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, "'b' is a dependency of 'a'"),
        ({"properties": {"a": False}}, {"a": 1}, "a: False schema does not allow 1"),
    ],
)
def test_a_problem_has_a_place_and_a_reason(schema: Any, value: Any, message: str) -> None:
    found = problem(value, schema)
    assert found is not None
    assert found.startswith(message)


REFERENCES: dict[str, Any] = {
    "http://json-schema.org/draft-04/schema#": Draft4Validator,
    "http://json-schema.org/draft-06/schema#": Draft6Validator,
    "http://json-schema.org/draft-07/schema#": Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": Draft202012Validator,
}
NAMES = ("a", "b", "ab", "$ref", "definitions")
COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
SINGLE = (
    *("items", "additionalItems", "additionalProperties", "not", "if", "then", "else", "contains"),
    *("propertyNames", "unevaluatedProperties", "unevaluatedItems"),
)
SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")
GROUPS = ("properties", "properties", "dependentSchemas", "patternProperties", "dependencies")
OTHERS = (
    *("type", "type", "enum", "const", "minimum", "maximum", "multipleOf", "pattern", "required"),
    *("uniqueItems", "$ref", "dependentRequired", "minContains", "maxContains"),
)


class Generator:
    """Draws schemas and values that meet each other often."""

    def __init__(self, seed: int, draft: str) -> None:
        self._random = random.Random(seed)
        self._draft = draft

    def value(self, depth: int = 0) -> Any:
        pick = self._random.choice
        kind = self._random.randrange(5 if depth < 3 else 3)
        if kind == 3:
            return [self.value(depth + 1) for _ in range(self._random.randrange(4))]
        if kind == 4:
            return {pick(NAMES): self.value(depth + 1) for _ in range(self._random.randrange(4))}
        return pick([None, True, False, 0, 1, -1, 3, 10**20, 0.5, 2.5, "", "a", "ab", "b", "aé"])

    def schema(self, depth: int = 0) -> Any:
        if depth > 3 or self._random.random() < 0.08:
            return {} if "draft-04" in self._draft else self._random.choice([True, False, {}])
        keywords = (*COUNTS, *SINGLE, *SEVERAL, *GROUPS, *OTHERS)
        return {
            keyword: self._argument(keyword, depth)
            for keyword in self._random.sample(keywords, self._random.randrange(1, 4))
            if not (keyword == "dependencies" and "draft/" in self._draft)
        }

    def _argument(self, keyword: str, depth: int) -> Any:  # noqa: PLR0911 one for each kind
        pick, some = self._random.choice, self._random.randrange
        names = self._random.sample(NAMES, some(3))
        if keyword == "items" and "2020" not in self._draft and some(3) == 0:
            return [self.schema(depth + 1)]
        if keyword in SINGLE:
            return self.schema(depth + 1)
        if keyword in SEVERAL:
            return [self.schema(depth + 1) for _ in range(some(1, 4))]
        if keyword == "dependencies" and some(2):
            return {name: [pick(NAMES)] for name in names}
        if keyword == "patternProperties":
            return {pick(["^a", "b", ".", "^ab$"]): self.schema(depth + 1)}
        if keyword in GROUPS:
            return {name: self.schema(depth + 1) for name in names}
        arguments: dict[str, Any] = {
            "type": pick(["string", "number", "integer", "object", "array", ["string", "null"]]),
            "enum": [self.value(1), self.value(1)],
            "const": self.value(1),
            "multipleOf": pick([1, 2, 0.5, 2.5]),
            "pattern": pick(["a", "^a", "b$", "^ab?$", "^(?!b)", "[^b]", "^.+$"]),
            "required": names,
            "uniqueItems": pick([True, False]),
            "$ref": pick(["#/$defs/A", "#/definitions/A", "#/$defs/B%20C"]),
            "dependentRequired": {name: [pick(NAMES)] for name in names},
        }
        return arguments.get(keyword, some(4))


@pytest.mark.parametrize("draft", REFERENCES)
def test_the_check_agrees_with_the_reference_validator(draft: str) -> None:
    checker = SchemaChecker()
    for seed in range(400):
        generator = Generator(seed, draft)
        schema = {
            "allOf": [generator.schema()],
            "$schema": draft,
            "$defs": {"A": {"type": "string"}, "B C": {"type": ["object", "integer"]}},
            "definitions": {"A": {"type": "array"}},
        }
        if draft.endswith("2019-09/schema") and "unevaluated" in json.dumps(schema):
            continue  # jsonschema does not count additionalProperties as evaluated there
        reference = REFERENCES[draft](schema)
        for _ in range(8):
            value = generator.value()
            found = checker.problem(value, schema, key=str(seed))
            assert (found is None) == reference.is_valid(value), (schema, value, found)
