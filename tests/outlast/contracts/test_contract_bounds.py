"""Every field that strangers fill has a bound, and each of their values is accepted or a `BadRequest`."""

import functools
import json
import signal
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, get_args, get_origin

import pytest
from annotated_types import MaxLen
from outlast_workers.plan.workload import Workload
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.gateway import GatewayToken
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from outlast import Approval, BadRequest, Escalation, run_agent, tool
from outlast.contracts import agents, human, proofs, requests
from outlast.contracts.agents import Price, Resolved, ResolveInput
from outlast.contracts.base import InputModel, TypedNumbers
from outlast.contracts.bounds import LOWER_BOUNDS, UPPER_BOUNDS, JsonBounds
from outlast.contracts.conditions import MAX_CONDITION_PARTS, Condition, arguments
from outlast.contracts.human import HumanDecision
from outlast.contracts.limits import Limits
from outlast.contracts.names import INPUT, NAME_PATTERN, run_id_problem
from outlast.contracts.requests import (
    AgentRequest,
    CommandPayload,
    ReplyPayload,
    SayPayload,
    TranscriptQuery,
)
from outlast.start_requests import checked_run_id, parse_request, request_json
from outlast.text.json_text import MAX_JSON_DEPTH, from_json
from outlast.transcripts import user_message
from outlast.validation import parse, validated

MODULES = (requests, human, proofs, agents)
"""Modules whose input models people fill."""


def input_models() -> list[type[BaseModel]]:
    found: set[type[BaseModel]] = {
        value
        for module in MODULES
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, InputModel) and value is not InputModel
    }
    found.update([Limits, Condition])
    return sorted(found, key=lambda model: model.__name__)


def unbounded(annotation: Any, metadata: tuple[Any, ...], path: str) -> Iterator[str]:
    """Yield the parts of a field that have no bound."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from unbounded(inner, (*metadata, *more), path)
        return
    rules = [
        rule
        for entry in metadata
        for rule in (entry.metadata if isinstance(entry, FieldInfo) else [entry])
    ]
    origin = get_origin(annotation)
    if has(rules, JsonBounds) or origin is typing.Literal or annotation in (bool, type(None)):
        return
    if origin in (typing.Union, types.UnionType):
        for option in get_args(annotation):
            yield from unbounded(option, metadata, path)
    elif origin in (tuple, list):
        if not has(rules, MaxLen):
            yield f"{path}: a list without max_length"
        yield from unbounded(get_args(annotation)[0], (), f"{path}[]")
    elif not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        yield from unbounded_scalar(annotation, rules, path)


def has(rules: list[Any], *kinds: type | tuple[type, ...]) -> bool:
    """Return whether there is a rule of each kind."""
    return all(any(isinstance(rule, kind) for rule in rules) for kind in kinds)


def unbounded_scalar(annotation: Any, rules: list[Any], path: str) -> Iterator[str]:
    if annotation is str:
        is_name = any(getattr(rule, "pattern", None) == NAME_PATTERN for rule in rules)
        if not is_name and not has(rules, UPPER_BOUNDS):
            yield f"{path}: text without a bound"
    elif annotation in (int, float, Decimal):
        if not has(rules, UPPER_BOUNDS, LOWER_BOUNDS):
            yield f"{path}: a number without a bound on each side"
        if annotation is Decimal and not any(hasattr(rule, "max_digits") for rule in rules):
            yield f"{path}: a decimal without max_digits"
    else:
        yield f"{path}: {annotation} has no bound"


@pytest.mark.parametrize("model", input_models(), ids=lambda model: model.__name__)
def test_every_field_that_people_fill_has_a_bound(model: type[BaseModel]) -> None:
    problems = [
        problem
        for name, field in model.model_fields.items()
        for problem in unbounded(
            field.annotation, tuple(field.metadata), f"{model.__name__}.{name}"
        )
    ]
    assert not problems


def test_the_walk_finds_fields_without_bounds() -> None:
    class Loose(InputModel):
        text: str
        number: int | None = None
        words: list[str] = []
        data: dict[str, Any] = {}

    problems = [
        problem
        for name, field in Loose.model_fields.items()
        for problem in unbounded(field.annotation, tuple(field.metadata), name)
    ]
    assert {problem.partition(":")[0] for problem in problems} == {
        "text",
        "number",
        "words",
        "words[]",
        "data",
    }


def numbers_of(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    """Yield the numbers of a model, and of the models in it, that have no upper bound."""
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        for annotation in _leaves(field.annotation):
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from numbers_of(annotation, seen)
        path = f"{model.__name__}.{name}"
        yield from (
            problem
            for problem in unbounded(field.annotation, tuple(field.metadata), path)
            if "number" in problem or "decimal" in problem
        )


def _leaves(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _leaves(argument)


@pytest.mark.parametrize("model", [Resolved, ResolveInput])
def test_every_number_that_a_lookup_returns_has_a_bound(model: type[BaseModel]) -> None:
    assert list(numbers_of(model, set())) == []


def number_fields() -> Iterator[tuple[type[BaseModel], str]]:
    """Yield the fields of numbers that people type: in requests, in code and in settings."""
    models: set[type[BaseModel]] = {*all_subclasses(TypedNumbers), Settings, Workload}
    for model in sorted(models, key=lambda model: (model.__module__, model.__name__)):
        for name, field in model.model_fields.items():
            kinds = set(_leaves(field.annotation))
            if kinds & {int, float, Decimal} and bool not in kinds and "tests" not in str(model):
                yield model, name


def all_subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for child in model.__subclasses__():
        yield child
        yield from all_subclasses(child)


@pytest.mark.parametrize(
    ("model", "name"),
    [pytest.param(*each, id=f"{each[0].__name__}.{each[1]}") for each in number_fields()],
)
def test_a_boolean_is_not_a_number(model: type[BaseModel], name: str) -> None:
    origin = get_origin(model.model_fields[name].annotation)
    value: Any = {"k": True} if origin in (dict, Mapping) else True
    if origin in (list, tuple):
        value = [[1, True]]
    with pytest.raises(ValidationError) as rejected:
        model.model_validate({name: value})
    messages = [each["msg"] for each in rejected.value.errors() if each["loc"] == (name,)]
    assert messages == ["Value error, true is a boolean; give a number"]


def test_the_fields_of_numbers_are_found() -> None:
    found = {f"{model.__name__}.{name}" for model, name in number_fields()}
    assert found >= {
        *("Limits.max_turns", "Limits.max_cost_usd", "PatternSpec.votes", "TranscriptQuery.since"),
        *("Approval.quorum", "Escalation.after_s", "Price.prompt_usd", "Leg.start_within_s"),
        *("Settings.drain_s", "HealthSettings.port", "ModelSettings.timeout_s", "Workload.turns"),
    }


def refund(order_id: str) -> str:
    """Refund an order."""
    return order_id


INVISIBLE = ["\u200f", "\u202e", "\u200b", "\u2066", "\ufeff", "\u00ad", "\n", "\x00"]


@pytest.mark.parametrize("letter", INVISIBLE, ids=ascii)
def test_an_audience_has_no_invisible_characters(letter: str) -> None:
    for define in (
        lambda name: Approval(audience=name),
        lambda name: Escalation(audience=name, after_s=1),
        lambda name: tool(effect="write", approval=name)(refund),
        lambda name: GatewayToken(token="x" * 16, tenant="t", audiences=(name,)),
    ):
        with pytest.raises(ValueError, match="control or invisible character"):
            define(f"lea{letter}ds")


# -- values ------------------------------------------------------------------------------------------------


def nested(levels: int, opening: str = "[", closing: str = "]") -> str:
    return opening * levels + closing * levels


VALUES: dict[str, str] = {
    "400 digits": "1" * 400,
    "1,001 digits": "1" * 1_001,
    "4,000 digits": "1" * 4_000,
    "4,301 digits": "1" * 4_301,
    "100,000 digits": "1" * 100_000,
    "minus 5,000 digits": "-" + "9" * 5_000,
    "a fraction of 100,000 digits": "0." + "3" * 100_000,
    "1e400": "1e400",
    "-1e400": "-1e400",
    "1e-400": "1e-400",
    "an exponent of 100,000 digits": "1e" + "9" * 100_000,
    "1e308": "1e308",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
    "minus zero": "-0.0",
    "minus zero as an integer": "-0",
    "100 levels": nested(100),
    "101 levels": nested(101),
    "250 levels": nested(250),
    "10,000 levels": nested(10_000),
    "10,000 objects": nested(10_000, '{"a":', "}").replace(":}", ":1}", 1),
    "200,000 levels": nested(200_000),
    "200,000 levels without an end": "[" * 200_000,
    "half a surrogate pair": '"\\ud800"',
    "the other half": '"x\\udfff"',
    "halves in the wrong order": '"\\udc00\\ud800"',
    "half a surrogate pair in a key": '{"\\ud83d":1}',
    "NUL": '"a\\u0000b"',
    "NUL in a key": '{"\\u0000":1}',
    "an escape of a terminal": '"\\u001b[31m"',
    "text from the right": '"\\u202egnp"',
    "duplicate keys": '{"a":1,"a":2}',
    "a decimal of 900,000 digits": '"9e900000"',
    "a decimal that overflows": '"9e999999"',
    "a decimal beyond decimals": '"9e99999999999999999999"',
    "a tiny decimal": '"1e-999999"',
    "a tiny decimal beyond decimals": '"1e-99999999999999999999"',
    "a signalling decimal": '"sNaN"',
    "an infinite decimal": '"Infinity"',
    "digits in text": json.dumps("1" * 100_000),
    "digits of other scripts": '"٣٣٣"',
    "underscores in digits": '"1_000"',
    "many numbers": "[" + "1," * 80_000 + "1]",
    "many empty lists": "[" + "[]," * 80_000 + "[]]",
    "many empty objects": "[" + "{}," * 80_000 + "{}]",
    "many names": json.dumps([f"t{n}" for n in range(60_000)]),
    "one name often": json.dumps(["look"] * 60_000),
    "many fields": json.dumps({f"field{n}": n for n in range(40_000)}),
    "text with 60,000 places": json.dumps("{input}" * 60_000),
    "true": "true",
    "null": "null",
    "an empty text": '""',
    "nothing": "",
    "not UTF-8": "\udcff",
}
"""JSON of one value each: some are no JSON."""

PLACES: dict[str, tuple[str, type[InputModel]]] = {
    **{
        f"AgentRequest.{field}": (f'{{"agent":"a","input":1,"{field}":VALUE}}', AgentRequest)
        for field in ("agent", "spec", "input", "tenant", "limits", "mode", "odd")
    },
    **{
        f"AgentSpec.{field}": (
            f'{{"spec":{{"instructions":"x","{field}":VALUE}},"input":1}}',
            AgentRequest,
        )
        for field in (*requests.AgentSpec.model_fields, "odd")
    },
    **{
        f"Limits.{field}": (f'{{"agent":"a","input":1,"limits":{{"{field}":VALUE}}}}', AgentRequest)
        for field in Limits.model_fields
    },
    **{
        f"SayPayload.{field}": (f'{{"text":"x","{field}":VALUE}}', SayPayload)
        for field in SayPayload.model_fields
    },
    **{
        f"CommandPayload.{field}": (f'{{"{field}":VALUE}}', CommandPayload)
        for field in CommandPayload.model_fields
    },
    **{
        f"HumanDecision.{field}": (
            f'{{"request_id":"1.1","decision":"edit","{field}":VALUE}}',
            HumanDecision,
        )
        for field in HumanDecision.model_fields
    },
    "answer": ('{"request_id":"1.1","decision":"answer","answer":VALUE}', HumanDecision),
    "TranscriptQuery.since": ('{"since":VALUE}', TranscriptQuery),
    "ReplyPayload": ('{"x":VALUE}', ReplyPayload),
    "AgentRequest": ("VALUE", AgentRequest),
    "a schema's minimum": (
        '{"spec":{"instructions":"x","output":{"type":"integer","minimum":VALUE}},"input":1}',
        AgentRequest,
    ),
    "a schema's multipleOf": (
        '{"spec":{"instructions":"x","output":{"type":"number","multipleOf":VALUE}},"input":1}',
        AgentRequest,
    ),
    "a schema's constant": (
        '{"spec":{"instructions":"x","output":{"const":VALUE}},"input":1}',
        AgentRequest,
    ),
    "a schema's type": (
        '{"spec":{"instructions":"x","output":{"type":VALUE}},"input":1}',
        AgentRequest,
    ),
}


def check_message(text: str) -> None:
    text.encode()
    assert len(text) < 2_000


def bounded(call: Callable[[], object]) -> None:
    """Call, and fail if it goes on for seconds of CPU time, which would stop an event loop.

    The clock counts all threads of the process.
    """

    def ring(_signal: int, _frame: types.FrameType | None) -> None:
        raise TimeoutError("more than 5 s of CPU")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, 5.0)
    try:
        call()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize("place", PLACES)
def test_values_are_taken_or_refused_by_name_at_once(place: str) -> None:
    template, model = PLACES[place]
    for value in VALUES.values():
        data = template.replace("VALUE", value).encode(errors="surrogateescape")
        bounded(functools.partial(enter, data, model))


def enter(data: bytes, model: type[InputModel]) -> None:
    try:
        if model is AgentRequest:
            parse_request(data)
        else:
            parse(model, data, what="the payload")
    except BadRequest as error:
        check_message(error.message)


@pytest.mark.parametrize(
    "value",
    [
        10**5_000,
        -(10**1_000),
        float("nan"),
        float("inf"),
        "\ud800",
        {"\udfff": 1},
        {1: object()},
        Decimal("sNaN"),
    ],
    ids=lambda value: str(type(value)),
)
def test_python_values_are_refused_by_name(value: Any) -> None:
    with pytest.raises(BadRequest):
        request_json(agent="a", input=value)
    with pytest.raises(BadRequest):
        validated(SayPayload, {"text": value})
    with pytest.raises(BadRequest):
        validated(HumanDecision, {"request_id": "1", "decision": "answer", "answer": value})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tools": [f"t{n}" for n in range(65)]}, "spec.tools: "),
        ({"tools": ["a", "a"]}, "has 'a' twice; name each once"),
        ({"tools": ["a"], "begin_with": ["a", "a"]}, "spec.begin_with: "),
        ({"tools": ["a"], "begin_with": ["b"]}, "begin_with names 'b'"),
        ({"prompt": "{input} and {input}"}, "prompt has '{input}' 2 times"),
        ({"prompt": "no place"}, "prompt lacks '{input}'"),
        ({"prompt": "{input}" + "x" * 200_000}, "spec.prompt: "),
        ({"model": "a\nb"}, "spec.model: "),
        ({"model": "x" * 201}, "spec.model: "),
        ({"limits": {"max_cost_usd": "9e900000"}}, "spec.limits.max_cost_usd: "),
        ({"limits": {"max_cost_usd": "1e10"}}, "spec.limits.max_cost_usd: "),
        ({"limits": {"max_cost_usd": "1e-61"}}, "spec.limits.max_cost_usd: "),
        ({"limits": {"max_tokens": 10**13}}, "spec.limits.max_tokens: "),
    ],
)
def test_a_bound_of_a_spec_is_named(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequest) as refused:
        request_json(agent=None, spec={"instructions": "x", **fields}, input="x")
    assert reason in refused.value.message


def test_64_tools_and_small_costs_are_taken() -> None:
    tools = [f"t{n}" for n in range(64)]
    for cost in ("0.000001", "1e-34", "1000000000", 0.1):
        limits = {"max_cost_usd": cost, "max_tokens": 10**12}
        spec = {"instructions": "x", "tools": tools, "begin_with": tools, "limits": limits}
        request_json(agent=None, spec=spec, input="x")


@pytest.mark.parametrize(
    "tenant",
    [
        "a\x00b",
        "a\nb",
        "a\u202eb",
        "a\u200bb",
        "\x1b[31m",
        "\u2028",
        "\ufeffa",
        "a\tb",
        "\x7f",
        "\ud800",
        "",
    ],
)
def test_a_tenant_is_printable(tenant: str) -> None:
    with pytest.raises(BadRequest, match="tenant"):
        request_json(agent="a", input="x", tenant=tenant) if tenant != "\ud800" else validated(
            AgentRequest, {"agent": "a", "input": 1, "tenant": tenant}
        )


@pytest.mark.parametrize("text", ["acme", "Köln GmbH", "株式会社", "a-b_c/d", "😀"])
def test_printable_names_are_taken(text: str) -> None:
    assert request_json(agent="a", input="x", tenant=text)["tenant"] == text
    assert validated(CommandPayload, {"by": text, "reason": "two\nlines\tand a tab"}).by == text


@pytest.mark.parametrize(
    "run_id",
    [
        "a\nb",
        "a`b",
        "```sh",
        "a\x00",
        "\x1b[2J",
        "a\u202eb",
        "a\u200b",
        "\ud800",
        "x" * 1_001,
        "é" * 501,
        "a\tb",
        "\x7f",
    ],
)
def test_an_odd_id_is_refused(run_id: str) -> None:
    with pytest.raises(BadRequest, match="id: ") as refused:
        checked_run_id(run_id)
    assert len(refused.value.message) < 300
    refused.value.message.encode()


@pytest.mark.parametrize(
    "run_id", ["", "a\nb", "a`b", "x" * 1_001, "\udce9", "\x00", 5, b"x", ["x"]]
)
async def test_an_odd_id_of_a_child_is_rejected_before_it_starts(run_id: Any) -> None:
    with pytest.raises(BadRequest, match="id: "):
        await run_agent("desk", "hello", id=run_id)


@pytest.mark.parametrize(
    "run_id", ["order 42", "a/b%c?d#e", "Köln", "x" * 1_000, "--help", '"quoted"', "$(x)"]
)
def test_a_printable_id_is_taken(run_id: str) -> None:
    assert run_id_problem(run_id) is None


@pytest.mark.parametrize(
    "price",
    [
        "9e900000",
        "9e999999",
        "1e7",
        "NaN",
        "sNaN",
        "Infinity",
        "-1",
        "1e-31",
        "9e99999999999999999999",
        "1" * 31,
    ],
)
def test_a_price_is_bounded(price: str) -> None:
    with pytest.raises(ValueError, match="prompt_usd"):
        Price.model_validate({"prompt_usd": price})


def test_a_number_that_grows_is_refused() -> None:
    data = json.dumps({"agent": "a", "input": "V"}).replace('"V"', f"[{'1e15,' * 180_000}1]")
    with pytest.raises(BadRequest, match="input: .* bytes are too many"):
        parse_request(data.encode())


@pytest.mark.parametrize("places", [2, 5, 60_000])
def test_a_message_is_refused_before_it_is_built(places: int) -> None:
    # The prompt of a registered agent can come from a worker of another version.
    with pytest.raises(BadRequest, match="the first message would have"):
        user_message("x" * 800_000, INPUT * places)


def test_a_chain_of_conditions_is_one_level() -> None:
    chain = arguments.a == 0
    for n in range(1, 200):
        chain = chain | (arguments.a == n)
    assert len(chain.parts) == 200
    assert chain.holds({"a": 199})
    assert not chain.holds({"a": 200})


@pytest.mark.parametrize(
    "way", ["deep", "wide", "long path", "large value", "deep value", "digits", "NaN"]
)
def test_a_condition_has_bounds(way: str) -> None:
    leaf: Any = {"op": "==", "path": ["a"], "value": 1}
    condition = leaf
    if way == "deep":
        for _ in range(40):
            condition = {"op": "not", "parts": [condition]}
    elif way == "wide":
        condition = {"op": "or", "parts": [leaf] * (MAX_CONDITION_PARTS + 1)}
    elif way == "long path":
        condition = {**leaf, "path": ["a"] * 33}
    else:
        values: dict[str, Any] = {
            "large value": "x" * 20_000,
            "deep value": json.loads(nested(40)),
            "digits": 10**1_001,
            "NaN": float("nan"),
        }
        condition = {**leaf, "value": values[way]}
    with pytest.raises(ValueError, match=r"value|parts|path|levels"):
        Condition.model_validate(condition)


@pytest.mark.parametrize("text", [*VALUES.values()], ids=[*VALUES])
def test_what_people_type_is_decoded_in_linear_time(text: str) -> None:
    def decode() -> None:
        try:
            from_json(text)
        except ValueError as error:
            check_message(str(error))

    bounded(decode)


def test_decoding_takes_a_hundred_levels_and_no_more() -> None:
    from_json(nested(MAX_JSON_DEPTH))
    with pytest.raises(ValueError, match="nested too deep"):
        from_json(nested(MAX_JSON_DEPTH + 1))


def test_a_comment_in_any_language_is_taken() -> None:
    """Persian needs the zero width non-joiner, and some emoji are joined by the zero width joiner."""
    comment = "\u0645\u06cc\u200c\u062e \U0001f469\u200d\U0001f4bb"
    decision = {"request_id": "1.1", "decision": "deny", "comment": comment}
    assert HumanDecision.model_validate(decision).comment == comment
    with pytest.raises(ValidationError, match="invisible"):
        HumanDecision.model_validate({**decision, "comment": "a\u202eb"})
