"""Results of model calls come from other processes: no number of theirs can fail a workflow task."""

import json
import math
from typing import Any

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter

from outlast.contracts.generation import (
    MAX_COMPLETIONS_REPORTED,
    MAX_TOKENS,
    MAX_WAITED_S,
    Generation,
    Tokens,
)
from outlast.contracts.heartbeats import GenerationProgress

NUMBERS: list[Any] = [
    *(
        -1,
        -(10**9),
        -(10**400),
        10**13,
        10**400,
        3.7,
        -0.5,
        1e308,
        True,
        False,
        None,
        "7",
        "x",
        [],
        {},
    ),
]
FIELDS = [
    *("prompt_tokens", "cached_prompt_tokens", "cache_write_tokens", "completion_tokens"),
    *("reasoning_tokens", "last_prompt_tokens"),
]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("field", [*FIELDS, "completions", "waited_s"])
async def test_any_number_of_a_worker_is_decoded_within_bounds(field: str, number: Any) -> None:
    payload = (await pydantic_data_converter.encode([{}]))[0]
    payload.data = json.dumps({field: number}).encode()

    decoded: Generation = (await pydantic_data_converter.decode([payload], [Generation]))[0]

    assert 0 <= decoded.total <= 2 * MAX_TOKENS
    assert 1 <= decoded.completions <= MAX_COMPLETIONS_REPORTED
    assert 0 <= decoded.waited_s <= MAX_WAITED_S
    assert 0 <= decoded.last_prompt_tokens <= MAX_TOKENS


@pytest.mark.parametrize("number", [*NUMBERS, math.nan, math.inf, -math.inf])
def test_a_usage_never_gives_a_budget_back(number: Any) -> None:
    spent = Tokens(prompt_tokens=5, completion_tokens=5)
    usage = Tokens.model_validate({"prompt_tokens": number, "completion_tokens": number})

    assert spent.plus(usage).total >= spent.total
    progress = GenerationProgress(tokens=number, spent=spent)
    assert progress.used.total >= spent.total


def test_ordinary_numbers_stay_as_they_are() -> None:
    generation = Generation(prompt_tokens=7, completion_tokens=3, waited_s=0.25, completions=2)
    assert (generation.total, generation.waited_s, generation.completions) == (10, 0.25, 2)
