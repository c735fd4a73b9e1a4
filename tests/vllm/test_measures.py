"""What vLLM counts of a run, its prefix cache for one, and what a constraint costs."""

import asyncio
import statistics
import time
from typing import Any

import httpx2
import pytest
from temporalio.client import Client

import outlast
from bench.engines.types import Word
from bench.engines.vllm_server import MAX_NUM_SEQS, Endpoint
from outlast.agents.tools import Tool
from tests.conformance.suite import ProbedServer
from tests.stage import on_stage
from tests.vllm.test_server import metric

# The first test waits for the server, and the very first for its installation.
pytestmark = pytest.mark.timeout(2_400)

TURNS = 20
LEAST_HIT_RATE = 0.8
LEAST_SPEED = 0.9

ANSWER_TOKENS = 160
ROUNDS = 3
KINDS = ("integer", "string", "object")


def look_up(number: int) -> Tool[Any, ..., Any]:
    """Return a tool that tells a few hundred bytes."""

    async def look(word: Word) -> str:
        return f"{number}: {word} is described in chapter {number} of the handbook. " * 4

    look.__doc__ = f"Look a word up in chapter {number}."
    return outlast.tool(effect="read", name=f"chapter_{number}", max_calls=1)(look)


async def test_a_run_of_twenty_turns_hits_the_prefix_cache(
    temporal: Client, vllm: Endpoint, engine: ProbedServer
) -> None:
    chapters = [look_up(number) for number in range(1, TURNS)]
    reader = outlast.Agent(
        name="reader",
        instructions="Look one short word up in each chapter, then answer with one word.",
        tools=chapters,
        begin_with=[chapter.name for chapter in chapters],
        output=bool,
        limits=outlast.Limits(max_turns=TURNS),
    )
    names = ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total")
    before = [await metric(vllm, name) for name in names]
    async with on_stage(temporal, engine.model, [reader]) as stage:
        result = await stage.run("reader", "Read the handbook.")
    queries, hits = [
        await metric(vllm, name) - was for name, was in zip(names, before, strict=True)
    ]
    assert result.turns == TURNS
    assert result.usage.cached_prompt_tokens == hits
    print(f"\nprefix cache: {hits / queries:.3f} of {queries:.0f} prompt tokens in {TURNS} turns")
    assert hits / queries >= LEAST_HIT_RATE


def schema_of_kind(kind: str) -> dict[str, Any]:
    item: dict[str, Any] = {"type": kind}
    if kind == "string":
        item["maxLength"] = 12
    if kind == "object":
        item = {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 12},
                "score": {"type": "integer", "minimum": 0, "maximum": 9},
            },
            "required": ["name", "score"],
            "additionalProperties": False,
        }
    return {"type": "array", "items": item, "minItems": ANSWER_TOKENS}


async def tokens_per_second(vllm: Endpoint, schemas: list[dict[str, Any] | None]) -> float:
    """Ask for as many answers as are decoded side by side, each of the same length."""

    async def ask(client: httpx2.AsyncClient, number: int, schema: dict[str, Any] | None) -> int:
        question = {"role": "user", "content": f"Write a long JSON list of things. {number}"}
        body = {
            "model": vllm.model,
            "messages": [question],
            "max_tokens": ANSWER_TOKENS,
            "temperature": 0.7,
            "seed": number,
            "ignore_eos": schema is None,
            **({} if schema is None else {"structured_outputs": {"json": schema}}),
        }
        response = await client.post(f"{vllm.url}/chat/completions", json=body)
        return int(response.raise_for_status().json()["usage"]["completion_tokens"])

    async with httpx2.AsyncClient(trust_env=False, timeout=300) as client:
        began = time.monotonic()
        counts = await asyncio.gather(
            *(ask(client, number, schema) for number, schema in enumerate(schemas))
        )
        return sum(counts) / (time.monotonic() - began)


async def test_a_constraint_costs_little_speed(vllm: Endpoint) -> None:
    schemas: list[dict[str, Any] | None] = [
        schema_of_kind(KINDS[number % len(KINDS)]) for number in range(MAX_NUM_SEQS)
    ]
    free: list[dict[str, Any] | None] = [None] * MAX_NUM_SEQS
    # The first of each compiles the schema, and reads the prompts.
    await tokens_per_second(vllm, schemas)
    await tokens_per_second(vllm, free)
    ratios: list[float] = []
    speeds: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        speeds.append((await tokens_per_second(vllm, schemas), await tokens_per_second(vllm, free)))
        ratios.append(speeds[-1][0] / speeds[-1][1])
    rounds = ", ".join(f"{held:.1f}/{unheld:.1f}" for held, unheld in speeds)
    print(
        f"\ntokens/s, constrained/unconstrained: {rounds}; median {statistics.median(ratios):.3f}"
    )
    assert statistics.median(ratios) >= LEAST_SPEED
