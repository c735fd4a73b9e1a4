"""One attempt of a model call: the prompts, their order, and when nothing is left to try."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from outlast_activities.generation.attempt import (
    LOOP_TOKENS_FACTOR,
    MAX_QUOTED_CHARACTERS,
    MAX_TOKENS_FACTOR,
)
from outlast_activities.policies.allowance import Allowance
from outlast_activities.policies.recovery import MAX_COMPLETIONS

from outlast.contracts.generation import Generation, Tokens
from outlast.contracts.messages import Decision
from outlast.errors import ModelError, ModelFailure
from outlast.model_server import LOOP_TOKENS, Completion, OnTokens, Prompt
from outlast.testing import ScriptedModel, answer
from tests.activities.generation.scripted_attempts import (
    LONG,
    MAX_TOKENS,
    WRONG,
    attempt_of,
    completions_of,
    failure,
    kind_of,
    text_of,
)


async def test_a_valid_answer_needs_one_prompt() -> None:
    prompts, outcome = await completions_of(answer("done"))
    assert isinstance(outcome, Generation)
    assert (outcome.decision, outcome.completions) == (Decision(answer="done"), 1)
    assert (prompts[0].max_tokens, prompts[0].session) == (MAX_TOKENS, "run")
    assert outcome.last_prompt_tokens == outcome.prompt_tokens > 0


async def test_an_answer_that_is_cut_off_gets_twice_the_tokens_and_then_four_times() -> None:
    prompts, outcome = await completions_of(LONG, LONG, answer("done"))
    assert [prompt.max_tokens for prompt in prompts] == [100, 200, 400]
    assert isinstance(outcome, Generation)
    assert outcome.completion_tokens == 100 + 200 + len('{"answer":"done"}') // 4
    assert outcome.prompt_tokens == 3 * outcome.last_prompt_tokens


async def test_an_answer_that_stays_too_long_fails_after_all_completions() -> None:
    prompts, outcome = await completions_of(*[LONG] * MAX_COMPLETIONS)
    assert len(prompts) == MAX_COMPLETIONS
    assert prompts[-1].max_tokens == MAX_TOKENS_FACTOR * MAX_TOKENS
    assert kind_of(outcome) is ModelFailure.TRUNCATED
    assert "no valid decision in 3 answers; the last one: it was cut off at 400" in str(outcome)


async def test_white_space_is_forbidden_first_and_then_the_temperature_is_raised() -> None:
    loop = failure(ModelFailure.WHITESPACE_LOOP, "{\n\n\n", completion_tokens=48)
    prompts, outcome = await completions_of(loop, loop, loop)
    decodings = [prompt.decoding for prompt in prompts]
    assert [decoding.compact_json for decoding in decodings] == [False, True, True]
    assert [decoding.temperature for decoding in decodings] == ["default", "default", "higher"]
    assert kind_of(outcome) is ModelFailure.WHITESPACE_LOOP


async def test_after_a_repetition_the_temperature_is_raised_and_more_is_allowed() -> None:
    loop = failure(ModelFailure.REPETITION_LOOP, '{"answer":"so so so', completion_tokens=64)
    prompts, outcome = await completions_of(loop, loop, loop)
    assert [p.decoding.temperature for p in prompts] == ["default", "higher", "higher"]
    patience = [prompt.decoding.loop_tokens for prompt in prompts]
    assert patience == [LOOP_TOKENS, *[LOOP_TOKENS_FACTOR * LOOP_TOKENS] * 2]
    assert kind_of(outcome) is ModelFailure.REPETITION_LOOP


async def test_after_an_empty_answer_the_temperature_is_raised() -> None:
    prompts, outcome = await completions_of("", " \n", "")
    assert [p.decoding.temperature for p in prompts] == ["default", "higher", "higher"]
    assert prompts[1].messages == prompts[0].messages
    assert kind_of(outcome) is ModelFailure.EMPTY


@pytest.mark.parametrize(
    ("text", "kind", "problem"),
    [
        (WRONG, ModelFailure.SCHEMA_INVALID, "accepted: "),
        ("Of course!", ModelFailure.UNCONSTRAINED, "accepted: it is not JSON (Expecting value"),
    ],
)
async def test_the_next_prompt_quotes_a_wrong_answer_and_its_problem(
    text: str, kind: ModelFailure, problem: str
) -> None:
    prompts, outcome = await completions_of(text, text, text)
    first, second, third = (prompt.messages for prompt in prompts)
    assert second[: len(first)] == first
    assert second[-2] == {"role": "assistant", "content": text}
    assert second[-1]["role"] == "user"
    assert problem in second[-1]["content"]
    assert second[-1]["content"].endswith("Answer again.")
    assert len(third) == len(second)
    assert [p.decoding.temperature for p in prompts] == ["default", "lower", "lower"]
    assert kind_of(outcome) is kind


async def test_only_the_beginning_of_a_long_wrong_answer_is_quoted() -> None:
    prompts, _ = await completions_of('"' + "x" * 399, answer("done"))
    assert len(prompts[1].messages[-2]["content"]) <= MAX_QUOTED_CHARACTERS


async def test_remedies_of_different_failures_add_up_in_one_attempt() -> None:
    blank = failure(ModelFailure.WHITESPACE_LOOP, "{\n\n", completion_tokens=48)
    prompts, outcome = await completions_of(blank, WRONG, answer("done"))
    assert isinstance(outcome, Generation)
    assert outcome.completions == MAX_COMPLETIONS
    last = prompts[-1]
    assert (last.decoding.compact_json, last.decoding.temperature) == (True, "lower")
    assert last.messages[-2]["content"] == WRONG


@pytest.mark.parametrize(
    "kind", [ModelFailure.REPETITION_LOOP, ModelFailure.TIMEOUT, ModelFailure.CONNECTION]
)
async def test_a_whole_decision_is_taken_from_an_answer_that_was_cut_after_it(
    kind: ModelFailure,
) -> None:
    cut = failure(kind, '{"answer":"done"}\n\n\n', prompt_tokens=5, completion_tokens=9)
    prompts, outcome = await completions_of(cut)
    assert isinstance(outcome, Generation)
    assert (len(prompts), outcome.decision) == (1, Decision(answer="done"))
    assert (outcome.finish_reason, outcome.total) == (kind, 14)


async def test_half_a_decision_is_a_failure() -> None:
    _, outcome = await completions_of(
        failure(ModelFailure.TIMEOUT, '{"answer":"do', completion_tokens=3)
    )
    assert kind_of(outcome) is ModelFailure.TIMEOUT


class Watched(ScriptedModel):
    """A model that lets a test look while an answer is on its way."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__([])
        self._look = look

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        assert on_tokens is not None
        on_tokens(7)
        self._look()
        return Completion('{"answer":"done"}', "stop", 30, 9, "m")

    async def count_prompt_tokens(self, prompt: Prompt) -> int:
        return 40


@pytest.mark.parametrize(("allowance", "prompt_tokens"), [(Allowance(), 0), (Allowance(1_000), 40)])
async def test_a_heartbeat_has_the_spent_tokens_and_the_unfinished_answer(
    allowance: Allowance, prompt_tokens: int
) -> None:
    seen = []
    attempt = attempt_of(
        Watched(lambda: seen.append(attempt.progress())),
        allowance=allowance,
        spent=Tokens(completion_tokens=5),
    )
    before = attempt.progress()
    await attempt.generate()
    after = attempt.progress()
    assert (before.completions, before.tokens, before.spent) == (1, 0, Tokens(completion_tokens=5))
    (during,) = seen
    spent = Tokens(prompt_tokens=prompt_tokens, completion_tokens=5)
    assert (during.completions, during.tokens, during.spent) == (1, 7, spent)
    assert (after.tokens, after.spent) == (0, Tokens(prompt_tokens=30, completion_tokens=14))


async def test_without_constraints_the_prompt_has_the_schema_and_fences_are_removed() -> None:
    fenced = '```json\n{"answer":"done"}\n```'
    prompts, outcome = await completions_of(fenced, constrained=False)
    assert isinstance(outcome, Generation)
    assert outcome.decision == Decision(answer="done")
    assert 'JSON Schema: {"type":"string"}' in text_of(prompts[0])

    prompts, outcome = await completions_of("Sure!", answer("done"))
    assert "JSON Schema" not in text_of(prompts[0])
    assert len(prompts) == 2


async def test_a_cancellation_is_not_a_failure_to_recover_from() -> None:
    async def hang(_prompt: Prompt) -> None:
        await asyncio.sleep(60)

    attempt = attempt_of(ScriptedModel([hang]))
    task = asyncio.create_task(attempt.generate())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def nested(levels: int) -> str:
    return '{"answer":' + "[" * levels + "1" + "]" * levels + "}"


UNCARRIABLE = {
    "100 levels": nested(100),
    "127 levels": nested(127),
    "199 levels": nested(199),
    "220 levels": nested(220),
    "252 levels": nested(252),
    "300 levels": nested(300),
    "50,000 levels": nested(50_000),
    "objects of 110 levels": '{"answer":' + '{"c":' * 110 + "1" + "}" * 111,
    "2.5 MB": '{"answer":"' + "x" * 2_500_000 + '"}',
    "2 MB of two bytes each": '{"answer":"' + "é" * 1_000_000 + '"}',
    "2 MB of escapes": '{"answer":"' + "\\n" * 1_000_000 + '"}',
    "2 MB of numbers": '{"answer":[' + "1," * 1_000_000 + "1]}",
    "8 calls of 300 kB": '{"tool_calls":['
    + ",".join(8 * ['{"tool":"look","arguments":{"a":"' + "x" * 300_000 + '"}}'])
    + "]}",
    "5,000 digits": '{"answer":' + "1" * 5_000 + "}",
    "an infinite number": '{"answer":1e999}',
}


@pytest.mark.parametrize("name", UNCARRIABLE)
async def test_an_answer_that_cannot_be_carried_is_prompted_again_and_then_fails(name: str) -> None:
    text = UNCARRIABLE[name]
    prompts, outcome = await completions_of(text, text, text, output_schema={})
    assert kind_of(outcome) in (ModelFailure.SCHEMA_INVALID, ModelFailure.UNCONSTRAINED)
    assert len(prompts) == MAX_COMPLETIONS
    assert len(str(outcome)) < 1_000

    _, outcome = await completions_of(text, answer("done"), output_schema={})
    assert isinstance(outcome, Generation)


@pytest.mark.parametrize(
    "error",
    [
        OverflowError("cannot convert float infinity to integer"),
        RecursionError("maximum recursion depth exceeded"),
        ValueError("x"),
        TypeError("x"),
        KeyError("x"),
        MemoryError(),
        AssertionError(),
        ZeroDivisionError("x"),
        AttributeError("x"),
        UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates not allowed"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_answer_that_the_checker_cannot_check_is_not_accepted(error: Exception) -> None:
    class Broken:
        def problem(self, value: Any, schema: dict[str, Any], *, key: str) -> str | None:
            raise error

    model = ScriptedModel([answer("done")], repeat_last=True)
    with pytest.raises(
        ModelError, match=f"it cannot be checked .{type(error).__name__}."
    ) as raised:
        await attempt_of(model, checker=Broken()).generate()
    assert raised.value.kind is ModelFailure.SCHEMA_INVALID
    assert len(model.prompts) == MAX_COMPLETIONS
