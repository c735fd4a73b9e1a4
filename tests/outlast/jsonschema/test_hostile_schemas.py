"""Schemas of strangers are checked in time, and a check raises nothing but a reason."""

import contextlib
import random
import time
from typing import Any

import pytest

from outlast.jsonschema.canonical import canonical_schema
from outlast.jsonschema.keywords import BRANCHES, DEFINITIONS, GROUPS, KNOWN, SCHEMA_KEYWORDS
from outlast.jsonschema.schema_checks import check_derived, check_schema
from tests.outlast.jsonschema.checked_types import TEXT, assert_rejected, of


def _tree(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = {**TEXT}
    for _ in range(levels):
        node = {"anyOf": [node, node]}
    return node


def _chain(length: int) -> dict[str, Any]:
    links = {f"a{n}": of(n={"$ref": f"#/$defs/a{n + 1}"}) for n in range(length)}
    return {"$ref": "#/$defs/a0", "$defs": {**links, f"a{length}": TEXT}}


def _star(length: int) -> dict[str, Any]:
    chain = _chain(length)
    rays = [{"$ref": f"#/$defs/a{n}"} for n in range(length)]
    return {"allOf": rays, "$defs": chain["$defs"]}


@pytest.mark.parametrize(
    "schema",
    [
        _tree(60),
        {"enum": ["x" * 100] * 5_000},
        {"$ref": "#/$defs/A", "$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}] * 2_000}}},
        _chain(600),
        _star(500),
        {**TEXT, "pattern": "(a*)*" * 300 + "^"},
    ],
)
def test_hostile_schemas_are_checked_in_time(schema: Any) -> None:
    began = time.thread_time()
    with contextlib.suppress(ValueError):
        check_schema(schema, "out")
    assert time.thread_time() - began < 2


def test_a_list_that_contains_itself_is_no_schema() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert_rejected({"enum": endless}, "out: ")


def test_a_schema_nested_without_end_is_refused() -> None:
    schema: Any = {"type": "string"}
    for _ in range(100):
        schema = {"type": "array", "items": schema}
    with pytest.raises(ValueError, match="nested deeper than"):
        check_schema(schema, "out")


@pytest.mark.parametrize("link", ["allOf", "anyOf", "oneOf"])
@pytest.mark.parametrize("levels", [14, 20, 28, 40, 200])
def test_references_that_multiply_are_rejected(link: str, levels: int) -> None:
    definitions = {f"d{n}": {link: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{levels}": TEXT}}
    assert_rejected(schema, "refer to each definition once")


def hostile_schemas() -> list[Any]:
    letters = [chr(code) * 3 for code in range(0x4E00, 0x4E00 + 2_000)]
    return [
        {"patternProperties": {"^(a+)+$": {}}, "required": ["a" * 33 + "!"], "type": "object"},
        {"patternProperties": {f"^{n}$": {} for n in range(2_000)}, "required": letters},
        {"allOf": [{**TEXT, "pattern": f"(?i)[\\w\\W]{{1,9}}{n}"} for n in range(1_000)]},
        {"allOf": [{**TEXT, "pattern": "(?i)" + "[a-\U0010ffff]" * 400} for _ in range(10)]},
        {"properties": {f"p{n}": {"maxLenght": n} for n in range(2_500)}},
        {f"maxLenght{n}": n for n in range(3_000)} | TEXT,
        {"enum": [[[[[[[[[[[n]]]]]]]]]] for n in range(2_000)]},
        {"allOf": [{"$ref": f"#/allOf/{n + 1}"} for n in range(1_500)] + [TEXT]},
        {"properties": {f"p{n}": {"$ref": f"#/properties/p{n + 1}"} for n in range(1_000)}},
        {"$id": "http://[", "$ref": "//[x#/a", "a": TEXT},
        {"minimum": 10**4_000, "maximum": -(10**4_000), "multipleOf": 10**4_000},
        {"const": "\ud800", "pattern": "\ud800"},
    ]


@pytest.mark.parametrize("schema", hostile_schemas())
def test_a_schema_of_a_stranger_is_checked_in_time(schema: Any) -> None:
    started = time.thread_time()
    with contextlib.suppress(ValueError):
        check_schema(schema, "out")
    assert time.thread_time() - started < 2


class Fuzzer:
    """Draws schemas of right and wrong parts: no check of them raises anything but `ValueError`."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def value(self, depth: int) -> Any:
        pick = self._random.choice
        kind = self._random.randrange(8 if depth < 4 else 5)
        if kind < 3:
            texts = (
                "",
                "a",
                "string",
                "object",
                "#",
                "#/$defs/a",
                "#a",
                "(",
                "^a",
                "\ud800",
                "//[",
            )
            return pick(texts)
        if kind < 5:
            return pick([None, True, 0, -1, 10**400, 0.5, 1e300, 2.0])
        if kind == 5:
            return [self.value(depth + 1) for _ in range(self._random.randrange(3))]
        return self.schema(depth + 1)

    def schema(self, depth: int = 0) -> dict[str, Any]:
        keywords = self._random.sample(sorted(KNOWN), self._random.randrange(1, 5))
        return {keyword: self._argument(keyword, depth + 1) for keyword in keywords}

    def _argument(self, keyword: str, depth: int) -> Any:
        if depth > 5 or self._random.random() < 0.2:
            return self.value(depth)
        if keyword in SCHEMA_KEYWORDS:
            return self.schema(depth)
        if keyword in (*GROUPS, *DEFINITIONS):
            return {
                name: self.schema(depth) for name in self._random.sample(["a", "^a", "$ref"], 2)
            }
        if keyword in BRANCHES:
            return [self.schema(depth), self.schema(depth)]
        good: dict[str, Any] = {
            "type": "object",
            "required": ["a"],
            "enum": [1],
            "$ref": "#/$defs/a",
        }
        return good.get(keyword, self._random.choice([1, 2.0, "a", 10**400]))


@pytest.mark.parametrize("seed", range(20))
def test_a_check_raises_nothing_but_a_reason(seed: int) -> None:
    fuzzer = Fuzzer(seed)
    for _ in range(100):
        schema = fuzzer.schema()
        assert "\n" not in rejection(schema)


def rejection(schema: Any) -> str:
    try:
        check_schema(schema, "out")
        check_derived(schema, "out")
    except ValueError as error:
        return str(error)
    return str(len(canonical_schema(schema)))
