"""Each value that strangers type is accepted at once, or a `BadRequest`."""

import functools
import json
from decimal import Decimal
from typing import Any

import pytest

from outlast import BadRequest
from outlast.contracts.base import InputModel
from outlast.contracts.human import HumanDecision
from outlast.contracts.names import INPUT
from outlast.contracts.requests import (
    AgentRequest,
    SayPayload,
)
from outlast.start_requests import parse_request, request_json
from outlast.text.json_text import MAX_JSON_DEPTH, from_json
from outlast.transcripts import user_message
from outlast.validation import parse, validated
from tests.outlast.contracts.typed_values import PLACES, VALUES, bounded, check_message, nested


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


def test_a_number_that_grows_is_refused() -> None:
    data = json.dumps({"agent": "a", "input": "V"}).replace('"V"', f"[{'1e15,' * 180_000}1]")
    with pytest.raises(BadRequest, match="input: .* bytes are too many"):
        parse_request(data.encode())


@pytest.mark.parametrize("places", [2, 5, 60_000])
def test_a_message_is_refused_before_it_is_built(places: int) -> None:
    # The prompt of a registered agent can come from a worker of another version.
    with pytest.raises(BadRequest, match="the first message would have"):
        user_message("x" * 800_000, INPUT * places)


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
