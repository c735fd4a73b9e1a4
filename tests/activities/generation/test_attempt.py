"""One attempt of a model call: the prompts, their order, and when nothing is left to try."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from outlast_activities.generation.answer_check import Checker
from outlast_activities.generation.attempt import (
    LOOP_TOKENS_FACTOR,
    MAX_QUOTED_CHARACTERS,
    MAX_TOKENS_FACTOR,
    GenerationAttempt,
)
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.generation.prompt_memory import TEMPLATE_TOKENS, PromptMemory
from outlast_activities.generation.prompt_source import PromptSource
from outlast_activities.generation.prompts import TRIMMED
from outlast_activities.policies.allowance import Allowance
from outlast_activities.policies.recovery import MAX_COMPLETIONS
from outlast_activities.policies.schema_checker import SchemaChecker

from outlast.contracts.agents import Leg, PinnedAgent, Price, Route, ToolSpec
from outlast.contracts.generation import Generation, Tokens
from outlast.contracts.messages import Decision, Message, ToolCall
from outlast.errors import ModelError, ModelFailure
from outlast.jsonschema.decision_schema import decision_schema
from outlast.model_server import LOOP_TOKENS, Completion, ModelServer, OnTokens, Prompt
from outlast.testing import ScriptedModel, Step, answer
from outlast.transcripts import decision_message, tool_message

AGENT = PinnedAgent(
    name="a",
    instructions="Do.",
    output_schema={"type": "string"},
    route=Route(legs=(Leg(task_queue="q"),)),
)
GO = [Message(role="user", content="go")]
LONG = '{"answer":"' + "x" * 10_000
WRONG = '{"reply":"done"}'
MAX_TOKENS = 100


def with_results(count: int) -> list[Message]:
    """Return a transcript of 1 + 2 `count` entries."""
    call = Decision(tool_calls=(ToolCall(tool="look"),))
    turns = [
        entry
        for number in range(count)
        for entry in (
            decision_message(call),
            tool_message("look", f"{number}.1", f'"{"seen " * 50}"'),
        )
    ]
    return GO + turns


def failure(kind: ModelFailure, text: str = "", **tokens: int) -> ModelError:
    return ModelError(f"went wrong: {kind.name}", kind=kind, tokens=tokens, text=text)


def replace_output(schema: dict[str, Any]) -> PinnedAgent:
    look = ToolSpec(name="look", description="x", parameters={"type": "object"})
    return AGENT.model_copy(update={"output_schema": schema, "tools": (look,)})


def attempt_of(
    server: ModelServer,
    *,
    transcript: Sequence[Message] = GO,
    allowance: Allowance | None = None,
    constrained: bool = True,
    checker: Checker | None = None,
    output_schema: dict[str, Any] | None = None,
    **options: Any,
) -> GenerationAttempt:
    agent = AGENT if output_schema is None else replace_output(output_schema)
    schema = decision_schema(agent, None, max_calls=None, answer=True)
    return GenerationAttempt(
        PromptSource(agent, transcript, schema, f"key {output_schema}", None, "run"),
        Endpoint(server, MAX_TOKENS * 100_000 if output_schema == {} else MAX_TOKENS, constrained),
        checker or SchemaChecker(),
        allowance or Allowance(),
        **{"spent": Tokens(), **options},
    )


async def completions_of(
    *steps: Step, **options: Any
) -> tuple[list[Prompt], Generation | ModelError]:
    """Return the prompts of an attempt that goes as the steps say, and what came of it."""
    model = ScriptedModel(steps)
    try:
        return model.prompts, await attempt_of(model, **options).generate()
    except ModelError as error:
        return model.prompts, error


def kind_of(outcome: Generation | ModelError) -> ModelFailure:
    assert isinstance(outcome, ModelError)
    return outcome.kind


def text_of(prompt: Prompt) -> str:
    return "\n".join(message["content"] for message in prompt.messages)


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
