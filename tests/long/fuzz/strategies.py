"""Inputs of strangers: JSON with odd values, bytes, JSON Schemas, requests and what steers a run."""

import json
from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]

ODD_TEXTS = st.sampled_from(
    [
        "",
        "\x00",
        "\ud83d",
        "caf\udce9",
        "\u202egnp.exe",
        "\u200b",
        "`\n```sh\nrm -rf /\n```",
        "{input}",
        "<script>",
        "../../etc/passwd",
        "a" * 2_000,
        "1" * 5_000,
        "1e999999",
        "NaN",
        "\x1b[31m",
    ]
)
ODD_NUMBERS = st.sampled_from(
    [0, -1, 2**63, -(2**63), 10**400, 1e308, -1e308, 5e-324, -0.0, 0.1, 1.5]
)
TEXTS = st.one_of(st.text(max_size=30), ODD_TEXTS)
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), ODD_NUMBERS)
SCALARS: Strategy = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES: Strategy = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
"""Any JSON value."""


def nested(depth: int, kind: str) -> Any:
    """Return a value of that many levels."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


DEEP_VALUES = st.builds(nested, st.integers(1, 400), st.sampled_from(["list", "dict"]))

PATTERNS = st.one_of(
    st.from_regex(r"\A\^?([a-c.]|\[a-c\]|\\[dws]|\([a-c]{1,3}\))([+*?]|\{[0-9],[0-9]{1,2}\})?\Z"),
    st.text(alphabet="ab()[]{}^$*+?|\\dw.-,1<>=!:P", max_size=12),
    st.sampled_from(
        ["^(a+)+$", "^(?=a)(a+)+$", "(?i)[a-z]", r"^\p{L}+$", "(", "a{1,9999}", "(?<n>a)"]
    ),
)
FORMATS = st.sampled_from(["date", "time", "date-time", "duration", "email", "uuid", "uri", "odd"])
COUNTS = st.one_of(st.integers(0, 5), st.sampled_from([-1, 10**9, 10**400, 1.5, "2"]))
NAMES = st.sampled_from(["a", "b", "", "$ref", "definitions", "a b", "é", "\x00"])
TYPES = ["string", "integer", "number", "boolean", "null", "array", "object"]


def _schema_of(inner: Strategy) -> Strategy:
    some = st.lists(inner, min_size=1, max_size=3)
    members = st.dictionaries(NAMES, inner, max_size=3)
    references = st.sampled_from(
        ["#", "#/$defs/a", "#/$defs/b", "#/properties/a", "http://x/y", "#/%"]
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.one_of(st.sampled_from(TYPES), st.lists(st.sampled_from(TYPES), max_size=3)),
            "properties": members,
            "required": st.lists(NAMES, max_size=3),
            "additionalProperties": st.one_of(st.booleans(), inner),
            "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
            "propertyNames": inner,
            "items": inner,
            "prefixItems": some,
            "contains": inner,
            "anyOf": some,
            "oneOf": some,
            "allOf": some,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "$ref": references,
            "$defs": members,
            "enum": st.lists(VALUES, max_size=3),
            "const": VALUES,
            "default": VALUES,
            "minimum": NUMBERS,
            "maximum": NUMBERS,
            "exclusiveMinimum": NUMBERS,
            "multipleOf": NUMBERS,
            "minLength": COUNTS,
            "maxLength": COUNTS,
            "minItems": COUNTS,
            "maxItems": COUNTS,
            "minProperties": COUNTS,
            "uniqueItems": st.booleans(),
            "pattern": PATTERNS,
            "format": FORMATS,
            "description": TEXTS,
            "$id": TEXTS,
            "unevaluatedProperties": st.booleans(),
            "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2), max_size=2),
        },
    ).map(_few)


def _few(schema: dict[str, Any]) -> dict[str, Any]:
    """Keep a handful of keywords: with all of them nearly every schema contradicts itself."""
    return dict(sorted(schema.items(), key=lambda item: hash(repr(item)))[:4])


LEAVES = st.one_of(
    st.just({}),
    st.booleans(),
    st.sampled_from(TYPES).map(lambda kind: {"type": kind}),
    st.fixed_dictionaries({"type": st.just("string"), "pattern": PATTERNS}),
    st.fixed_dictionaries({"type": st.just("string"), "format": FORMATS}),
    st.fixed_dictionaries({"type": st.just("number"), "multipleOf": NUMBERS}),
    VALUES,
)
SCHEMAS: Strategy = st.recursive(LEAVES, _schema_of, max_leaves=8)
"""JSON Schemas, right and wrong."""

LIMITS = st.dictionaries(
    st.sampled_from(["max_turns", "max_tokens", "max_cost_usd", "deadline_s", "idle_s", "odd"]),
    st.one_of(NUMBERS, TEXTS, st.sampled_from(["9e99", "0.01", "-1", "1e-400"])),
    max_size=3,
)
SPECS: Strategy = st.fixed_dictionaries(
    {},
    optional={
        "instructions": TEXTS,
        "name": TEXTS,
        "tools": st.lists(st.one_of(st.sampled_from(["look", "write"]), TEXTS), max_size=4),
        "begin_with": st.lists(st.sampled_from(["look", "odd"]), max_size=2),
        "prompt": st.one_of(st.just("{input} {input}"), TEXTS),
        "output": SCHEMAS,
        "model": TEXTS,
        "limits": LIMITS,
        "odd": VALUES,
    },
)
NEARLY_RIGHT: Strategy = st.one_of(
    st.fixed_dictionaries(
        {"agent": st.just("fuzzed"), "input": VALUES},
        optional={"tenant": TEXTS, "limits": LIMITS, "mode": st.just("task")},
    ),
    st.fixed_dictionaries(
        {
            "spec": st.fixed_dictionaries(
                {
                    "instructions": st.just("x"),
                    "output": st.dictionaries(NAMES, SCHEMAS, max_size=3).map(
                        lambda members: {"type": "object", "properties": members}
                    ),
                },
                optional={"tools": st.just(["look"]), "model": TEXTS, "limits": LIMITS},
            ),
            "input": VALUES,
        }
    ),
)
"""Requests of which many are taken."""

REQUESTS: Strategy = st.one_of(
    NEARLY_RIGHT,
    NEARLY_RIGHT,
    st.fixed_dictionaries(
        {},
        optional={
            "agent": st.one_of(st.just("fuzzed"), TEXTS),
            "spec": st.one_of(SPECS, VALUES),
            "input": st.one_of(VALUES, DEEP_VALUES),
            "tenant": TEXTS,
            "limits": LIMITS,
            "mode": st.sampled_from(["task", "conversation", "odd"]),
            "odd": VALUES,
        },
    ),
    VALUES,
)
DECISIONS: Strategy = st.fixed_dictionaries(
    {"request_id": st.sampled_from(["1.1", "1.1", "1.1", "1.1.happened", "9", ""])},
    optional={
        "decision": st.sampled_from(["approve", "deny", "edit", "answer", "odd"]),
        "arguments": st.one_of(VALUES, DEEP_VALUES, st.just({"ref": "x"})),
        "answer": st.one_of(VALUES, DEEP_VALUES),
        "arguments_hash": TEXTS,
        "by": TEXTS,
        "comment": TEXTS,
        "signature": TEXTS,
    },
)
COMMANDS: Strategy = st.one_of(
    DECISIONS,
    st.fixed_dictionaries(
        {}, optional={"text": TEXTS, "by": TEXTS, "when": TEXTS, "reason": TEXTS}
    ),
    st.fixed_dictionaries({}, optional={"since": st.one_of(NUMBERS, TEXTS)}),
    VALUES,
)
"""Payloads of updates, signals and queries."""


def encoded(value: Any) -> bytes:
    """Return a value as JSON, as far as it has one."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def mangled(draw: st.DrawFn, values: Strategy) -> bytes:
    """Return the JSON of a value, as it is or with some bytes cut, doubled, replaced or inserted."""
    data = bytearray(encoded(draw(values)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(data)))
        change = draw(st.binary(min_size=1, max_size=3))
        kind = draw(st.sampled_from(["cut", "insert", "replace", "double"]))
        match kind:
            case "cut":
                del data[place:]
            case "insert":
                data[place:place] = change
            case "replace":
                data[place : place + len(change)] = change
            case "double":
                data += data[place:]
    return bytes(data)


ENCODINGS = st.sampled_from(
    [
        b"json/plain",
        b"json/plain",
        b"json/plain",
        b"binary/null",
        b"binary/plain",
        b"json/protobuf",
        b"binary/encrypted",
        b"\xff",
        b"",
        b"x" * 3_000,
    ]
)


def is_encodable(value: Any) -> bool:
    """Tell whether a value gets past the door at all: half surrogates do not."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, ValueError):
        return False
    return True
