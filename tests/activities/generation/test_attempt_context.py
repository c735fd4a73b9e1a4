"""Prompts that overflow the context: tool results are left out, half of them at a time."""

from outlast_activities.generation.prompt_memory import TEMPLATE_TOKENS, PromptMemory
from outlast_activities.generation.prompts import TRIMMED
from outlast_activities.policies.allowance import Allowance

from outlast.contracts.generation import Generation
from outlast.errors import ModelFailure
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer
from tests.activities.generation.scripted_attempts import (
    MAX_TOKENS,
    attempt_of,
    completions_of,
    failure,
    kind_of,
    text_of,
    with_results,
)


async def test_half_of_the_results_are_left_out_and_then_half_of_the_rest() -> None:
    overflow = failure(ModelFailure.CONTEXT_OVERFLOW)
    model = ScriptedModel([overflow, overflow, answer("done")])
    attempt = attempt_of(model, transcript=with_results(4))  # 9 entries
    generation = await attempt.generate()
    left_out = [text_of(prompt).count(TRIMMED) for prompt in model.prompts]
    assert left_out == [0, 2, 3], "of the first 5 entries, then of the first 7"
    assert (attempt.memory.trimmed, generation.trimmed, generation.completions) == (7, 7, 3)
    assert attempt.memory.size is None, "what a trimmed prompt has says nothing of the next one"


async def test_the_place_up_to_which_results_are_left_out_is_kept_for_the_next_call() -> None:
    prompts, outcome = await completions_of(
        answer("done"), transcript=with_results(5), memory=PromptMemory(trimmed=7)
    )
    assert isinstance(outcome, Generation)
    assert text_of(prompts[0]).count("left_out") == 3
    again, _ = await completions_of(
        answer("done"), transcript=with_results(6), memory=PromptMemory(trimmed=7)
    )
    beginning = text_of(prompts[0])
    assert text_of(again[0]).startswith(beginning), "the prefix cache serves both"


async def test_a_context_that_overflows_without_results_fails_in_the_end() -> None:
    overflow = failure(ModelFailure.CONTEXT_OVERFLOW)
    prompts, outcome = await completions_of(*[overflow] * 20, transcript=with_results(8))
    assert kind_of(outcome) is ModelFailure.CONTEXT_OVERFLOW
    assert len(prompts) <= 7
    assert "seen seen" not in text_of(prompts[-1])


async def test_an_earlier_prompt_bounds_one_that_the_server_cannot_count() -> None:
    class Uncounted(ScriptedModel):
        async def count_prompt_tokens(self, prompt: Prompt) -> int:
            return 1_000_000

    first = attempt_of(Uncounted([answer("done")]))
    await first.generate()
    assert first.memory.size is not None

    longer = with_results(1)
    model = Uncounted([answer("done")])
    second = attempt_of(
        model,
        transcript=longer,
        allowance=Allowance(tokens=500),
        memory=first.memory,
    )
    await second.generate()
    added = sum(len(message["content"].encode()) for message in model.prompts[0].messages)
    most = first.memory.size.tokens + added - first.memory.size.text_bytes + TEMPLATE_TOKENS
    assert model.prompts[0].max_tokens == min(MAX_TOKENS, 500 - most)
