"""Poison: small inputs of strangers that stopped a worker once, and others of their kind.

`python -m tests.long.fuzz.poison NAME` gives one to the code that reads it, in a process that a test kills.
It prints the outcome and the CPU seconds that it took.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, get_args

from outlast_activities.constraints.constraints import constraint_for
from outlast_activities.constraints.engines import Engine
from outlast_activities.policies.allowance import Allowance
from outlast_activities.policies.schema_checker import SchemaChecker

from outlast import OutlastError
from outlast.contracts.agents import Price
from outlast.contracts.generation import Tokens
from outlast.jsonschema.schema_checks import check_schema
from outlast.start_requests import parse_request
from outlast.text.json_text import to_json
from outlast.transcripts import user_message

MOST_BYTES = 2 << 30
"""Address space of a poisoned process: four times as much as the imports need."""

REDOS = "^(a+)+$"
AROUND = "^(?=a)(a+)+$"
LONG_A = "a" * 40 + "!"


def _spec(output: Any = None, **fields: Any) -> dict[str, Any]:
    spec = {"instructions": "x", "output": output or {"type": "string"}, **fields}
    return {"spec": spec, "input": "x"}


def _chain(group: str, length: int) -> dict[str, Any]:
    """Return definitions that each refer to the next one twice."""
    definitions: dict[str, Any] = {
        f"d{n}": {group: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(length)
    }
    definitions[f"d{length}"] = {"type": "string"}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


def _one_of_arrays(length: int) -> dict[str, Any]:
    definitions: dict[str, Any] = {
        f"d{n}": {"oneOf": [{"type": "array", "items": {"$ref": f"#/$defs/d{n + 1}"}}] * 2}
        for n in range(length)
    }
    definitions[f"d{length}"] = {"type": "string"}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


def _nested(depth: int) -> Any:
    return json.loads("[" * depth + "]" * depth)


_WIDE = "".join(
    rf"[\u{start:04x}-\u{start + 0x1FFF:04x}]" for start in range(0x100, 0xC000, 0x2000)
)

REQUESTS: dict[str, Callable[[], dict[str, Any]]] = {
    "regex of patternProperties meets required": lambda: _spec(
        {"type": "object", "patternProperties": {REDOS: {}}, "required": [LONG_A]}
    ),
    "regex of patternProperties meets required of a part": lambda: _spec(
        {"allOf": [{"type": "object", "patternProperties": {"^(a|a)*$": {}}, "required": [LONG_A]}]}
    ),
    "many patterns times many names": lambda: _spec(
        {
            "type": "object",
            "patternProperties": {f"^x{n}": {} for n in range(2_000)},
            "required": [f"y{n}" for n in range(2_500)],
        }
    ),
    "patterns that compile slowly": lambda: _spec(
        {
            "type": "object",
            "properties": {
                f"p{n}": {"type": "string", "pattern": f"(?i){_WIDE * 12}{n}"} for n in range(12)
            },
        }
    ),
    "a minimum of 400 digits": lambda: _spec({"type": "integer", "minimum": 10**400}),
    "a multipleOf of 400 digits": lambda: _spec({"type": "integer", "multipleOf": 10**400}),
    "an enum of 4,000 digits": lambda: _spec({"enum": [10**4_000]}),
    "40,000 tools to begin with": lambda: _spec(
        tools=[f"t{n}" for n in range(40_000)], begin_with=[f"t{n}" for n in range(40_000)]
    ),
    "100,000 times one tool": lambda: _spec(tools=["look"] * 100_000),
    "9,000 tools": lambda: _spec(tools=[f"t{n}" for n in range(9_000)]),
    "a prompt with the input 60,000 times": lambda: {
        **_spec(prompt="{input}" * 60_000),
        "input": "x" * 400_000,
    },
    "a budget of 900,000 digits": lambda: {
        "agent": "plain",
        "input": "x",
        "limits": {"max_cost_usd": "9e900000"},
    },
    "a budget that overflows": lambda: {
        "agent": "plain",
        "input": "x",
        "limits": {"max_cost_usd": "9e999999"},
    },
    "a token limit of 4,000 digits": lambda: {
        "agent": "plain",
        "input": "x",
        "limits": {"max_tokens": 10**4_000},
    },
    "references that double": lambda: _spec(_chain("allOf", 40)),
    "an input of 240 levels": lambda: {"agent": "plain", "input": _nested(240)},
    "60 patterns that need memory": lambda: _spec(
        {
            "type": "object",
            "properties": {
                f"p{n}": {"type": "string", "pattern": rf"^\w{{1,60}}a{n}$"} for n in range(60)
            },
        }
    ),
    "an input of numbers that grow": lambda: {"agent": "plain", "input": [1e15] * 55_000},
    "an input of 190 levels of objects": lambda: {"agent": "plain", "input": _objects(190)},
    "an input of 900 levels": lambda: {"agent": "plain", "input": _deep(900)},
    "an input of NUL": lambda: {"agent": "plain", "input": "\x00" * 100_000},
    "a prompt of 200,000 characters": lambda: {
        **_spec(prompt="{input}" + "p" * 190_000),
        "input": '"' * 350_000,
    },
    "many fields": lambda: {"agent": "plain", "input": "x", **{f"f{n}": n for n in range(40_000)}},
    "many fields of a spec": lambda: _spec(**{f"f{n}": n for n in range(40_000)}),
    "many tools that are no names": lambda: _spec(tools=[[]] * 200_000),
    "one tool to begin with, often": lambda: _spec(tools=["look"], begin_with=["look"] * 90_000),
    "an agent with a long name": lambda: {"agent": "a" * 900_000, "input": "x"},
    "a tool with a long name": lambda: _spec(tools=["a" * 900_000]),
    "a model with a long name": lambda: _spec(model="m" * 900_000),
    "a tenant of control characters": lambda: {
        "agent": "plain",
        "input": "x",
        "tenant": "a\x00\n\u202e",
    },
    "a budget of 400,000 digits": lambda: {
        "agent": "plain",
        "input": "x",
        "limits": {"max_cost_usd": "9" * 400_000},
    },
    "a budget that underflows": lambda: {
        "agent": "plain",
        "input": "x",
        "limits": {"max_cost_usd": "1e-999999"},
    },
    "a budget beyond decimals": lambda: {
        "agent": "plain",
        "input": "x",
        "limits": {"max_cost_usd": "9e99999999999999999999"},
    },
    "a budget that is no number": lambda: {
        "agent": "plain",
        "input": "x",
        "limits": {"max_cost_usd": "sNaN"},
    },
    "a deadline beyond times": lambda: {
        "agent": "plain",
        "input": "x",
        "limits": {"deadline_s": 1e308, "idle_s": 1e308},
    },
    "40,000 unknown keywords": lambda: _spec({f"keyword{n}": n for n in range(40_000)}),
    "a constant of 90 levels": lambda: _spec({"const": _nested(90)}),
    "an enum of 150,000 values": lambda: _spec({"enum": list(range(150_000))}),
    "9,000 required names": lambda: _spec(
        {"type": "object", "required": [f"n{n}" for n in range(9_000)]}
    ),
    "a chain of 2,000 references": lambda: _spec(
        {
            "$ref": "#/$defs/d0",
            "$defs": {
                **{f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(1_500)},
                "d1500": {"type": "string"},
            },
        }
    ),
    "a circle of references": lambda: _spec(
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    ),
    "a length of 400 digits": lambda: _spec({"type": "string", "minLength": 10**400}),
    "a pattern of 60,000 characters": lambda: _spec(
        {"type": "string", "pattern": "(a|b)" * 12_000}
    ),
    "counts that multiply": lambda: _spec(
        {"type": "string", "pattern": "^((((a{9,99}){9,99}){9,99}){9,99}){9,99}$"}
    ),
}
"""Requests that start a run."""

DIGITS = "1" * 90_000

CHECKS: dict[str, Callable[[], tuple[dict[str, Any], Any]]] = {
    "allOf that doubles": lambda: (_chain("allOf", 40), 1),
    "anyOf that doubles": lambda: (_chain("anyOf", 40), 1),
    "oneOf that doubles": lambda: (_chain("oneOf", 28), "x"),
    "oneOf of equal arrays": lambda: (_one_of_arrays(30), _nested(30)),
    "not that doubles": lambda: ({"not": _chain("allOf", 40)}, "x"),
    "a look-ahead": lambda: ({"type": "string", "pattern": AROUND}, LONG_A),
    "a back reference": lambda: ({"type": "string", "pattern": r"^(a+)+\1$"}, LONG_A),
    "patternProperties": lambda: (
        {"type": "object", "patternProperties": {REDOS: {"type": "string"}}},
        {LONG_A: "x"},
    ),
    "patternProperties with others": lambda: (
        {"type": "object", "patternProperties": {REDOS: {}}, "additionalProperties": False},
        {LONG_A: "x"},
    ),
    "names of properties": lambda: (
        {"type": "object", "propertyNames": {"pattern": AROUND}},
        {LONG_A: "x"},
    ),
    "unevaluatedProperties": lambda: (
        {"allOf": [{"patternProperties": {REDOS: {}}}], "unevaluatedProperties": False},
        {LONG_A: "x"},
    ),
    "3,000 unique objects": lambda: (
        {"type": "array", "uniqueItems": True},
        [{"a": n} for n in range(3_000)],
    ),
    "3,000 unique lists": lambda: (
        {"type": "array", "uniqueItems": True},
        [[n, str(n)] for n in range(3_000)],
    ),
    "a date of 90,000 digits": lambda: ({"type": "string", "format": "date"}, DIGITS),
    "a time of 90,000 digits": lambda: ({"type": "string", "format": "time"}, DIGITS),
    "a date-time of 90,000 digits": lambda: ({"type": "string", "format": "date-time"}, DIGITS),
    "a duration of 90,000 digits": lambda: ({"type": "string", "format": "duration"}, DIGITS),
    "an e-mail of 90,000 letters": lambda: ({"type": "string", "format": "email"}, "a@" * 45_000),
    "a URI of 90,000 letters": lambda: ({"type": "string", "format": "uri"}, "a:" * 45_000),
    "220 levels": lambda: ({"type": "array"}, _nested(220)),
    "300 levels": lambda: ({"type": "array"}, _nested(300)),
    "5,000 levels": lambda: ({"type": "array"}, _deep(5_000)),
    "400 digits of a multiple": lambda: (
        {"type": "integer", "multipleOf": 0.5},
        10**400,
    ),
    "4,000 digits": lambda: ({"type": "integer", "maximum": 5}, 10**4_000),
    "contains of contains": lambda: (
        {"type": "array", "contains": {"contains": {"contains": {"const": 1}}}},
        [[[0] * 60] * 60] * 60,
    ),
    "stars of stars": lambda: ({"type": "string", "pattern": "^(((a*)*)*)*$"}, LONG_A * 1_000),
    "1,000 alternatives": lambda: (
        {"type": "string", "pattern": "^(" + "|".join(f"a{n}" for n in range(1_000)) + ")*$"},
        "a1" * 2_000,
    ),
    "an IPv6 address of 90,000 colons": lambda: (
        {"type": "string", "format": "ipv6"},
        ":" * 90_000,
    ),
    "an IPv4 address of 90,000 dots": lambda: ({"type": "string", "format": "ipv4"}, "1." * 45_000),
    "a UUID of 90,000 digits": lambda: ({"type": "string", "format": "uuid"}, DIGITS),
    "a host of 45,000 labels": lambda: ({"type": "string", "format": "hostname"}, "a." * 45_000),
    "a pointer of 90,000 tildes": lambda: (
        {"type": "string", "format": "json-pointer"},
        "/~" * 45_000,
    ),
    "a tiny multipleOf": lambda: ({"type": "number", "multipleOf": 1e-300}, 1e300),
    "a large number and cents": lambda: ({"type": "number", "multipleOf": 0.01}, 1.7e308),
    "an enum of 3,000 objects": lambda: (
        {"enum": [{"a": [n]} for n in range(3_000)]},
        [{"a": [n]} for n in range(3_000)],
    ),
    "5,000 names": lambda: (
        {"type": "object", "propertyNames": {"pattern": REDOS}},
        {f"{LONG_A}{n}": 1 for n in range(5_000)},
    ),
    "500 patterns times 500 names": lambda: (
        {"type": "object", "patternProperties": {f"^n{n}": {} for n in range(500)}},
        {f"n{n}": 1 for n in range(500)},
    ),
    "3,000 unique equal lists": lambda: (
        {"type": "array", "uniqueItems": True},
        [[0] * 20 + [n] for n in range(3_000)],
    ),
    "1 and true and 1.0": lambda: ({"type": "array", "uniqueItems": True}, [1, True, 1.0] * 1_000),
    "300 alternatives for 300 items": lambda: (
        {"type": "array", "items": {"anyOf": [{"const": f"x{n}"} for n in range(300)]}},
        ["no"] * 300,
    ),
}
"""Schemas of a spec, each with an answer."""


def _deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def _objects(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def _request(name: str) -> str:
    request = parse_request(json.dumps(REQUESTS[name]()).encode()).request
    if request.spec is not None:
        user_message(request.input, request.spec.prompt)
        for engine in get_args(Engine):
            constraint_for(request.spec.output, engine)
        SchemaChecker().problem("x", request.spec.output, key="poison")
    allowance = Allowance(
        cost_usd=request.limits.max_cost_usd, price=Price(completion_usd=Decimal(1))
    )
    allowance.completion_tokens(1, Tokens(), most=100)
    return "taken"


def _check(name: str) -> str:
    schema, value = CHECKS[name]()
    check_schema(schema, "spec.output")
    for engine in get_args(Engine):
        constraint_for(schema, engine)
    return str(SchemaChecker().problem(value, schema, key=to_json(schema)))[:200]


def _main(name: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    began = time.process_time()
    try:
        outcome = _request(name) if name in REQUESTS else _check(name)
    except (OutlastError, ValueError) as error:
        outcome = f"refused: {type(error).__name__}: {str(error)[:200]}"
    print(json.dumps({"outcome": outcome, "cpu_s": time.process_time() - began}))


if __name__ == "__main__":
    _main(sys.argv[1])
