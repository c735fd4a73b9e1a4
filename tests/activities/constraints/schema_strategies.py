"""Schemas and values that Hypothesis makes, in the words that engines know and do not know."""

from typing import Any

from hypothesis import strategies as st

NAMES = st.sampled_from("ab")
VALUES = st.recursive(
    st.none() | st.integers(-3, 6) | st.sampled_from([0.5, 1.5, "", "a", "ab", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=3,
)


def some(kind: Any, **keywords: Any) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"type": st.just(kind)}, optional=keywords)


NUMBERS = {
    "minimum": st.integers(-2, 3),
    "exclusiveMaximum": st.sampled_from([2, 4.5]),
    "multipleOf": st.sampled_from([0.5, 2]),
}
TEXTS = {
    "minLength": st.integers(0, 2),
    "pattern": st.sampled_from(["^a", "^ab?$", "b", "^(?!b)", "^[^b]*$"]),
}
LEAVES = st.one_of(
    some("integer", **NUMBERS),
    some("number", **NUMBERS),
    some("string", **TEXTS),
    some(["string", "integer"], enum=st.lists(VALUES, min_size=1, max_size=3), **NUMBERS),
    st.sampled_from([{}, {"type": "null"}, {"minLength": 1}, {"$ref": "#/$defs/A"}]),
)


def _wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    branches = st.lists(inner, min_size=1, max_size=2)
    objects = some(
        "object",
        properties=st.dictionaries(NAMES, inner | st.booleans(), max_size=2),
        patternProperties=st.dictionaries(st.sampled_from(["^a", "b"]), inner, min_size=1),
        additionalProperties=st.booleans() | inner,
        required=st.lists(NAMES, max_size=1),
        minProperties=st.integers(0, 1),
        anyOf=branches,
        allOf=branches,
    )
    arrays = some(
        "array",
        items=inner | st.booleans(),
        prefixItems=branches,
        maxItems=st.integers(0, 2),
        uniqueItems=st.just(True),
        oneOf=branches,
    )
    combined = st.builds(
        lambda keyword, parts, beside: {keyword: parts, **beside},
        st.sampled_from(["anyOf", "oneOf", "allOf"]),
        branches,
        st.sampled_from([{}, {"minLength": 1}, {"$ref": "#/$defs/A"}, {"not": {"const": "a"}}]),
    )
    return objects | arrays | combined


SCHEMAS = st.builds(
    lambda schema, definition: {**schema, "$defs": {"A": definition}},
    st.recursive(LEAVES, _wider, max_leaves=4),
    some("string", **TEXTS),
)
