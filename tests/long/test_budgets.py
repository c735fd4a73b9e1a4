"""Budgets against a model server that fails in every way: what is billed stays within them.

The server knows what it generated, read or not, and so what a provider would bill for each run. The seed
that is printed with a failure makes it happen again, as far as the machine's timing allows.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from outlast_activities.generation.activity import DEFAULT_SERVER
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.providers import breaker
from outlast_activities.providers.chat_completions import ChatCompletions
from outlast_workers.settings import Settings
from outlast_workflows import activity_options
from temporalio.client import Client
from temporalio.common import RetryPolicy

from bench.scripted_model.streams import Engine
from bench.scripted_model_server import Chaos, Request, ScriptedModelServer, Step, turns
from outlast import Agent, Leg, RunFailed, tool
from outlast.client.runs import Run
from outlast.contracts.agents import Price, Route
from outlast.contracts.generation import Tokens
from outlast.contracts.limits import Limits
from outlast.contracts.usage import Usage
from outlast.errors import ModelFailure
from outlast.model_server import ServerOptions
from tests.stage import on_stage, staged_settings

RUNS = 13
TURNS = 5
MAX_TOKENS = 120
WITHIN_S = 60

PRICES = {
    DEFAULT_SERVER: Price(
        prompt_usd=Decimal(2), cached_prompt_usd=Decimal("0.25"), completion_usd=Decimal(8)
    ),
    "dearer": Price(prompt_usd=Decimal(3), completion_usd=Decimal(12)),
}
"""The price of each leg's model server. They are one server, and a header names the leg."""

ENDINGS = {"completed", "tokens", "cost", *ModelFailure}

USD_A_TOKEN = Decimal("0.000003")


@tool(effect="read")
def look(where: str) -> str:
    """Look somewhere."""
    return " ".join(f"{number} things in {where or 'the dark'}" for number in range(40))


AGENT = Agent(name="looker", instructions="Look around, then tell what you saw.", tools=[look])


@dataclass(frozen=True)
class Bill:
    """What a run truly cost."""

    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal


class Billed:
    """Chaos, with a part of each prompt cached, that remembers what was generated for which run."""

    def __init__(self, seed: int) -> None:
        self.chaos = Chaos(seed, turns(TURNS), share=0.5, gap_s=0.002, retry_after_s=0.05)
        self.requests: defaultdict[str, list[tuple[str, Request]]] = defaultdict(list)

    def __call__(self, request: Request) -> Step:
        name = next(name for name in PRICES if header_of(name) in request.headers)
        self.requests[request.headers[header_of(name)]].append((name, request))
        details = {"prompt_tokens_details": {"cached_tokens": request.prompt_tokens // 2}}
        return replace(self.chaos(request), usage=details)

    def of(self, run: Run) -> Bill:
        """Return what a provider would bill for a run."""
        each = [(PRICES[name], tokens_of(request)) for name, request in self.requests[run.id]]
        return Bill(
            prompt_tokens=sum(tokens.prompt_tokens for _, tokens in each),
            completion_tokens=sum(tokens.completion_tokens for _, tokens in each),
            cost_usd=sum((tokens.cost_usd(price) for price, tokens in each), Decimal(0)),
        )


def header_of(server: str) -> str:
    return f"x-run-{server or 'usual'}"


def tokens_of(request: Request) -> Tokens:
    """Return what was generated; half of its prompt was cached, where the answer came to its end."""
    generation = request.generation
    finished = generation.state == "finished"
    return Tokens(
        prompt_tokens=generation.prompt_tokens,
        cached_prompt_tokens=generation.prompt_tokens // 2 if finished else 0,
        completion_tokens=generation.completion_tokens,
    )


@dataclass(frozen=True)
class Ended:
    """How a run ended, and what it says that it used."""

    how: str
    usage: Usage


async def ended(run: Run) -> Ended:
    try:
        result = await asyncio.wait_for(run.result(), WITHIN_S)
    except RunFailed as failed:
        return Ended(failed.cause_type, (await run.progress()).usage)
    return Ended(result.stop_reason or result.status, result.usage)


def in_tokens(chance: random.Random, *, counted: bool) -> Limits:
    # Where nobody counts, a prompt is taken to have as many tokens as bytes.
    least, most = (500, 3_000) if counted else (1_500, 5_000)
    return Limits(max_tokens=chance.randint(least, most))


def in_dollars(chance: random.Random, *, counted: bool) -> Limits:
    tokens = in_tokens(chance, counted=counted).max_tokens or 0
    return Limits(max_cost_usd=USD_A_TOKEN * tokens)


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let waits not grow: what fails in one request of two is as good as back at once."""
    retry = RetryPolicy(
        initial_interval=timedelta(seconds=1),
        maximum_interval=timedelta(seconds=1),
        maximum_attempts=40,
    )
    monkeypatch.setattr(activity_options, "LAST_LEG_RETRY", retry)
    for name in ("FIRST_REST_S", "LONGEST_REST_S"):
        monkeypatch.setattr(breaker, name, 0.5)


def on_two_legs() -> Settings:
    """Return settings whose model calls have a second, dearer leg."""
    settings = staged_settings(cached=1000)
    own = settings.queue("generate")
    legs = tuple(
        Leg(task_queue=own, server=name or None, price=price) for name, price in PRICES.items()
    )
    routes = settings.routes.model_copy(update={"generate": Route(legs=legs)})
    return settings.model_copy(update={"routes": routes})


@asynccontextmanager
async def adapters(
    server: ScriptedModelServer, engine: Engine | None
) -> AsyncIterator[dict[str, Endpoint]]:
    fields: dict[str, Any] = {
        "timeout_s": 0.6,
        "gap_s": 0.4,
        "api": "vllm" if engine else "openai-chat",
    }
    models = {
        name: ChatCompletions(ServerOptions(server.url, session_header=header_of(name), **fields))
        for name in PRICES
    }
    try:
        yield {name: Endpoint(model, MAX_TOKENS) for name, model in models.items()}
    finally:
        await asyncio.gather(*(model.aclose() for model in models.values()))


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("engine", ["vllm", None], ids=["counted", "uncounted"])
@pytest.mark.parametrize(("seed", "bound"), [(1, in_tokens), (2, in_dollars)])
async def test_what_a_provider_bills_stays_within_the_limits_whatever_fails(
    temporal: Client, seed: int, bound: Callable[..., Limits], engine: Engine | None
) -> None:
    chance = random.Random(seed)
    limits = [bound(chance, counted=engine is not None) for _ in range(RUNS)]
    billed = Billed(seed)
    async with (
        ScriptedModelServer(billed, engine=engine, recorded=0) as server,
        adapters(server, engine) as endpoints,
        on_stage(temporal, endpoints, [AGENT], tools=[look], settings=on_two_legs()) as stage,
    ):
        runs = [await stage.start("looker", limits=each) for each in limits]
        outcomes = await asyncio.gather(*map(ended, runs))

    assert {outcome.how for outcome in outcomes} <= ENDINGS
    assert {"tokens", "cost"} & {outcome.how for outcome in outcomes}
    for limit, run, outcome in zip(limits, runs, outcomes, strict=True):
        bill = billed.of(run)
        seen = f"seed {seed}, {limit!r}: {outcome!r}, {bill!r}"
        assert bill.prompt_tokens <= outcome.usage.prompt_tokens, seen
        assert bill.completion_tokens <= outcome.usage.completion_tokens, seen
        assert bill.cost_usd <= outcome.usage.cost_usd, seen
        if limit.max_tokens is not None:
            assert bill.prompt_tokens + bill.completion_tokens <= limit.max_tokens, seen
        if limit.max_cost_usd is not None:
            assert bill.cost_usd <= limit.max_cost_usd, seen
