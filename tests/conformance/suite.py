"""The conformance suite for model servers: prompts sent by the adapter and by `GenerationAttempt`.

A subclass has a name with `Test…`, and its module has a fixture `engine`.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from opentelemetry import context, trace
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.providers.chat_completions import ChatCompletions

import outlast
from bench.engines.prompts import (
    generate,
    generate_value,
    is_of,
    pinned,
    prompt_source,
    user_message,
)
from bench.engines.types import MAX_TOKENS, TYPES, OutputType
from outlast.contracts.agents import PinnedAgent
from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Completion, Decoding, Prompt, ServerFacts, ServerOptions
from outlast.turns import UserTurn

TEMPERATURE = 0.7

MAX_LOOP_COST = 110
"""Tokens of a loop: those that are allowed, those between two searches, and those in flight."""

HELLO = "Say hello in one sentence."
OPEN_TEXT: dict[str, Any] = {"type": "string"}
PAIR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "scores": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 9},
            "minItems": 2,
            "maxItems": 4,
        },
    },
    "required": ["name", "scores"],
    "additionalProperties": False,
}
TEXTS = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True)
class ProbedServer:
    """A server under test, after the probe."""

    options: ServerOptions
    model: ChatCompletions
    facts: ServerFacts
    max_concurrent: int

    @property
    def endpoint(self) -> Endpoint:
        """As a worker uses it."""
        return Endpoint(self.model, MAX_TOKENS, constrained=self.facts.constrained)

    async def complete(
        self,
        text: str,
        schema: dict[str, Any],
        *,
        max_tokens: int = MAX_TOKENS,
        **decoding: Any,
    ) -> Completion:
        return await self.model.complete(
            Prompt(
                (UserTurn(text),),
                schema,
                json.dumps(schema),
                max_tokens,
                decoding=Decoding(**decoding),
            )
        )


@asynccontextmanager
async def probed(options: ServerOptions, *, max_concurrent: int) -> AsyncIterator[ProbedServer]:
    """Probe a server, as a worker does when it starts."""
    model = ChatCompletions(options)
    try:
        yield ProbedServer(options, model, await model.probe(), max_concurrent)
    finally:
        await model.aclose()


@asynccontextmanager
async def other_adapter(server: ProbedServer, /, **changed: Any) -> AsyncIterator[ChatCompletions]:
    """Yield an adapter of the same server with other options."""
    model = ChatCompletions(replace(server.options, **changed))
    try:
        yield model
    finally:
        await model.aclose()


@outlast.tool(effect="read")
def read_licence(package: str) -> str:
    """Read the licence of a package."""
    return package


@outlast.tool(effect="read")
def count_files(folder: str) -> int:
    """Count the files of a folder."""
    return len(folder)


def clerk() -> PinnedAgent:
    agent = outlast.Agent(
        name="clerk",
        instructions="Use tools to answer briefly.",
        tools=[read_licence, count_files],
        output=TYPES[0].annotation,
    )
    return pinned(agent)


def long_text(tokens: int) -> str:
    return "Repeat the word: " + "word " * tokens


class Conformance:
    """The suite, with a value of each of `kinds`."""

    kinds: Sequence[OutputType] = TYPES

    async def test_the_probe_finds_out_what_the_server_is(self, engine: ProbedServer) -> None:
        assert engine.facts.constrained
        assert engine.facts.engine in ("xgrammar", "guidance", "llama.cpp")
        assert engine.facts.version
        assert engine.facts.model
        assert engine.facts.context_tokens is not None
        assert engine.facts.context_tokens >= 4_096

    async def test_a_value_of_each_type_is_valid(self, engine: ProbedServer) -> None:
        slots = asyncio.Semaphore(engine.max_concurrent)

        async def problem_with(kind: OutputType) -> str | None:
            async with slots:
                try:
                    generation, record = await generate_value(kind, engine.endpoint)
                except ModelError as error:
                    return f"{kind.name}: {error.kind}: {error.message}"
            assert generation.decision is not None
            taken = is_of(kind, generation.decision.answer)
            return None if taken else f"{kind.name}: {record.answers}"

        assert len(self.kinds) >= 20
        found = await asyncio.gather(*(problem_with(kind) for kind in self.kinds))
        problems = [problem for problem in found if problem]
        assert not problems, problems

    @pytest.mark.parametrize("tool", ["read_licence", "count_files"])
    async def test_a_turn_without_an_answer_calls_the_only_tool(
        self, engine: ProbedServer, tool: str
    ) -> None:
        messages = [user_message("Answer at once with x 1 and y 2. Call no tool.")]
        source = prompt_source(
            clerk(), messages, key="clerk", tools=(tool,), max_calls=1, answer=False
        )
        generation = await generate(source, engine.endpoint)
        assert generation.decision is not None
        assert [call.tool for call in generation.decision.tool_calls] == [tool]

    async def test_a_turn_without_tools_answers(self, engine: ProbedServer) -> None:
        messages = [user_message("Call read_licence for the package rich.")]
        generation = await generate(
            prompt_source(clerk(), messages, key="clerk", tools=()), engine.endpoint
        )
        assert generation.decision is not None
        assert generation.decision.tool_calls == ()
        assert is_of(TYPES[0], generation.decision.answer)

    async def test_an_answer_is_cut_off_at_max_tokens(self, engine: ProbedServer) -> None:
        completion = await engine.complete(HELLO, PAIR, max_tokens=6)
        assert (completion.finish_reason, completion.completion_tokens) == ("length", 6)

    async def test_a_loop_is_aborted_early(self, engine: ProbedServer) -> None:
        turns = (UserTurn("Repeat without end: ha ha ha ha ha ha ha ha ha"),)
        async with other_adapter(engine, engine=engine.model.engine, temperature=0) as model:
            with pytest.raises(ModelError) as aborted:
                await model.complete(Prompt(turns, OPEN_TEXT, "text", 1_000))
        assert aborted.value.kind is ModelFailure.REPETITION_LOOP
        assert 0 < aborted.value.tokens["completion_tokens"] <= MAX_LOOP_COST

    async def test_a_compact_answer_has_no_free_white_space(self, engine: ProbedServer) -> None:
        goad = "Make up a name and scores, with many line breaks."
        usual = await engine.complete(goad, PAIR)
        completion = await engine.complete(goad, PAIR, compact_json=True)
        assert json.loads(completion.text).keys() == {"name", "scores"}
        between = TEXTS.sub("", completion.text)
        assert re.search(r"\s", TEXTS.sub("", usual.text)), "otherwise the test shows nothing"
        most = 1 if engine.model.engine == "xgrammar" else 0
        assert re.search(rf"\s{{{most + 1}}}", between) is None

    async def test_more_requests_than_slots_are_all_answered(self, engine: ProbedServer) -> None:
        kinds = [TYPES[number % 3] for number in range(12)]
        generations = await asyncio.gather(
            *(generate_value(kind, engine.endpoint) for kind in kinds)
        )
        for kind, (generation, _) in zip(kinds, generations, strict=True):
            assert generation.decision is not None
            assert is_of(kind, generation.decision.answer)

    async def test_no_request_is_lost_right_after_another(self, engine: ProbedServer) -> None:
        # llama.cpp closes connections after a stream: one in ten was.
        for _ in range(40):
            await engine.complete(HELLO, {"type": "boolean"}, max_tokens=3)

    async def test_a_prompt_beyond_the_context_is_a_context_overflow(
        self, engine: ProbedServer
    ) -> None:
        assert engine.facts.context_tokens is not None
        with pytest.raises(ModelError) as raised:
            await engine.complete(long_text(engine.facts.context_tokens + 100), PAIR)
        assert raised.value.kind is ModelFailure.CONTEXT_OVERFLOW

    async def test_tokens_are_counted_as_the_server_counts_them(self, engine: ProbedServer) -> None:
        prompt = Prompt((UserTurn(HELLO),), PAIR, "pair", 64, "Be brief. ✓")
        counted = await engine.model.count_prompt_tokens(prompt)
        completion = await engine.model.complete(prompt)
        assert counted == completion.prompt_tokens

    async def test_cached_tokens_of_a_prompt_are_reported(self, engine: ProbedServer) -> None:
        text = long_text(400)
        await engine.complete(text, PAIR)
        again = await engine.complete(text, PAIR)
        assert again.prompt_tokens > again.cached_prompt_tokens >= 0.6 * again.prompt_tokens

    async def test_a_request_with_a_trace_is_accepted(self, engine: ProbedServer) -> None:
        span = trace.NonRecordingSpan(
            trace.SpanContext(
                trace_id=0x1234, span_id=0x56, is_remote=False, trace_flags=trace.TraceFlags(1)
            )
        )
        token = context.attach(trace.set_span_in_context(span))
        try:
            generation, _ = await generate_value(TYPES[0], engine.endpoint)
            assert generation.decision is not None
        finally:
            context.detach(token)

    async def test_a_cancelled_request_leaves_the_server_free(self, engine: ProbedServer) -> None:
        came = asyncio.Event()
        async with other_adapter(
            engine, engine=engine.model.engine, temperature=TEMPERATURE
        ) as model:
            prompt = Prompt(
                (UserTurn("Write a long story about a sailor."),),
                {"type": "array", "items": PAIR, "minItems": 100},
                "long",
                2_000,
            )
            for _ in range(2 * engine.max_concurrent):
                call = asyncio.create_task(model.complete(prompt, on_tokens=lambda _: came.set()))
                await came.wait()
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
            async with asyncio.timeout(15):
                generation, _ = await generate_value(TYPES[0], engine.endpoint)
            assert generation.decision is not None
