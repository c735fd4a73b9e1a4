"""The tokens of one attempt: all its completions together stay in the budget of the call."""

from dataclasses import replace
from decimal import Decimal

import pytest
from outlast_activities.policies.allowance import Allowance

from outlast.contracts.agents import Price
from outlast.contracts.generation import Generation, Tokens
from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Completion, OnTokens, Prompt
from outlast.testing import ScriptedModel, answer
from tests.activities.generation.scripted_attempts import LONG, attempt_of, completions_of, failure


async def test_an_answer_that_the_budget_cut_is_not_given_more_tokens() -> None:
    class Free(ScriptedModel):
        """Its prompts cost nothing, so that the answer alone is what the budget cuts."""

        async def complete(
            self, prompt: Prompt, *, on_tokens: OnTokens | None = None
        ) -> Completion:
            return replace(await super().complete(prompt, on_tokens=on_tokens), prompt_tokens=0)

        async def count_prompt_tokens(self, prompt: Prompt) -> int:
            return 0

    model = Free([LONG, answer("ok")])
    generation = await attempt_of(model, allowance=Allowance(tokens=90)).generate()
    assert [prompt.max_tokens for prompt in model.prompts] == [90]
    assert (generation.out_of, generation.total) == ("tokens", 90)


@pytest.mark.parametrize(
    ("allowance", "out_of"),
    [
        (Allowance(tokens=20), "tokens"),
        (
            Allowance(cost_usd=Decimal("0.000001"), price=Price(prompt_usd=Decimal(100))),
            "cost",
        ),
    ],
)
async def test_no_prompt_is_sent_if_the_budget_is_too_small(
    allowance: Allowance, out_of: str
) -> None:
    prompts, outcome = await completions_of(allowance=allowance)
    assert isinstance(outcome, Generation)
    assert (outcome.decision, outcome.out_of, prompts) == (None, out_of, [])


async def test_the_tokens_of_earlier_attempts_count() -> None:
    before = Tokens(prompt_tokens=900, cached_prompt_tokens=100, completion_tokens=60)
    prompts, outcome = await completions_of(answer("done"), spent=before)
    assert isinstance(outcome, Generation)
    assert outcome.prompt_tokens == 900 + outcome.last_prompt_tokens
    assert outcome.cached_prompt_tokens == 100

    prompts, outcome = await completions_of(allowance=Allowance(tokens=1_000), spent=before)
    assert isinstance(outcome, Generation)
    assert (outcome.out_of, outcome.total, prompts) == ("tokens", 960, [])


async def test_all_completions_together_stay_in_the_budget() -> None:
    budget = Allowance(tokens=400)
    _, outcome = await completions_of(LONG, LONG, LONG, allowance=budget)
    assert isinstance(outcome, Generation)
    assert outcome.out_of == "tokens"
    assert outcome.total <= 400


async def test_failed_completions_count_too() -> None:
    model = ScriptedModel(
        [
            failure(ModelFailure.WHITESPACE_LOOP, "{", prompt_tokens=10, completion_tokens=48),
            failure(ModelFailure.CONNECTION, "{", prompt_tokens=12, completion_tokens=5),
        ]
    )
    attempt = attempt_of(model)
    with pytest.raises(ModelError, match="no valid decision in 2 answers"):
        await attempt.generate()
    assert attempt.spent == Tokens(prompt_tokens=22, completion_tokens=53)
