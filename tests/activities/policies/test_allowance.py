import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outlast_activities.policies.allowance import SMALLEST_ANSWER_TOKENS, Allowance

from outlast.contracts.agents import Price
from outlast.contracts.generation import Tokens

DEAR = Price(prompt_usd=Decimal(100), completion_usd=Decimal(1000))
NOTHING = Tokens()


@pytest.mark.parametrize(
    ("allowance", "prompt_tokens", "spent", "most"),
    [
        (Allowance(), 10_000, NOTHING, 500),
        (Allowance(tokens=1_000), 300, NOTHING, 500),
        (Allowance(tokens=1_000), 700, NOTHING, 300),
        (Allowance(tokens=1_000), 300, Tokens(prompt_tokens=200, completion_tokens=100), 400),
        (Allowance(tokens=1_000), 1_000 - SMALLEST_ANSWER_TOKENS, NOTHING, SMALLEST_ANSWER_TOKENS),
        (Allowance(tokens=1_000), 1_001 - SMALLEST_ANSWER_TOKENS, NOTHING, "tokens"),
        (Allowance(cost_usd=Decimal(1)), 10_000, NOTHING, 500),
        (Allowance(cost_usd=Decimal("0.11"), price=DEAR), 100, NOTHING, 100),
        (Allowance(cost_usd=Decimal("0.11"), price=DEAR), 1_100, NOTHING, "cost"),
        (
            Allowance(cost_usd=Decimal("0.11"), price=DEAR),
            100,
            Tokens(completion_tokens=50),
            50,
        ),
        (Allowance(tokens=200, cost_usd=Decimal("0.11"), price=DEAR), 150, NOTHING, 50),
    ],
)
def test_an_answer_may_have_what_is_left(
    allowance: Allowance, prompt_tokens: int, spent: Tokens, most: int | str
) -> None:
    assert allowance.completion_tokens(prompt_tokens, spent, most=500) == most


@given(
    tokens=st.integers(1, 5_000),
    cost_microusd=st.integers(1, 10_000_000),
    prompt_usd=st.integers(0, 1_000),
    cached_usd=st.none() | st.integers(0, 2_000),
    write_usd=st.none() | st.integers(0, 2_000),
    completion_usd=st.integers(0, 1_000),
    prompt_tokens=st.integers(0, 5_000),
    spent=st.integers(0, 3_000),
    cached=st.integers(0, 5_000),
    written=st.integers(0, 5_000),
)
def test_no_call_that_is_allowed_can_exceed_what_is_left(
    *,
    tokens: int,
    cost_microusd: int,
    prompt_usd: int,
    cached_usd: int | None,
    write_usd: int | None,
    completion_usd: int,
    prompt_tokens: int,
    spent: int,
    cached: int,
    written: int,
) -> None:
    price = Price(
        prompt_usd=Decimal(prompt_usd),
        cached_prompt_usd=None if cached_usd is None else Decimal(cached_usd),
        cache_write_usd=None if write_usd is None else Decimal(write_usd),
        completion_usd=Decimal(completion_usd),
    )
    allowance = Allowance(tokens, Decimal(cost_microusd) / 1_000_000, price)
    before = Tokens(prompt_tokens=spent)
    most = allowance.completion_tokens(prompt_tokens, before, most=100_000)
    if isinstance(most, str):
        return
    used = before.plus(
        Tokens(
            prompt_tokens=prompt_tokens,
            cached_prompt_tokens=min(cached, prompt_tokens),
            cache_write_tokens=min(written, prompt_tokens - min(cached, prompt_tokens)),
            completion_tokens=most,
        )
    )
    assert used.total <= tokens
    assert allowance.cost_usd is not None
    assert used.cost_usd(price) <= allowance.cost_usd


HUGE = ["9e999900", "9e999999", "1e100000", "Infinity", "1e30"]


@pytest.mark.parametrize("cost", HUGE)
@pytest.mark.parametrize("price", ["1e-999999", "1e-30", "1", "1000000", "9e999999", "Infinity"])
def test_no_number_of_dollars_blocks_the_event_loop(cost: str, price: str) -> None:
    # Fields of a contract are bounded; this holds whatever they let through.
    priced = Price.model_construct(prompt_usd=Decimal(price), completion_usd=Decimal(price))
    allowance = Allowance(cost_usd=Decimal(cost), price=priced)

    began = time.thread_time()
    tokens = allowance.completion_tokens(100, Tokens(prompt_tokens=10**12), most=500)

    assert time.thread_time() - began < 1
    assert tokens in (500, "cost")


@pytest.mark.parametrize("cost", ["NaN", "-Infinity", "-1", "0", "1e-999999", "-9e999999"])
def test_no_dollars_are_no_completion(cost: str) -> None:
    allowance = Allowance(cost_usd=Decimal(cost), price=DEAR)

    assert allowance.completion_tokens(100, NOTHING, most=500) == "cost"
