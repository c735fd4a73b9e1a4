"""Agents on model servers of the bench that fail as real ones do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from outlast_activities.constraints.engines import Engine
from outlast_activities.generation.activity import DEFAULT_SERVER
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.providers.chat_completions import ChatCompletions
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.workers import ConcurrencySettings
from temporalio.client import Client

from bench.scripted_model.chaos import BLANK, REPEATED
from bench.scripted_model_server import (
    Script,
    ScriptedModelServer,
    Step,
    pieces_of,
)
from outlast import Agent, Leg, tool
from outlast.client.runs import Run
from outlast.contracts.agents import Route
from outlast.model_server import ServerOptions
from tests.long.attempts import model_attempts
from tests.stage import Stage, on_stage, staged_settings

TEMPERATURE = 0.2

GAP_S = 0.5
"""The longest wait for a token where one is waited for; elsewhere a busy machine must not matter."""

RUN = "x-run"

SECOND = "second"

RIGHT = '{"answer":"done"}'

ANSWER = pieces_of('{"answer":"' + " ".join(map(str, range(60))) + '"}')
"""Some 50 tokens, without a repetition."""

ENDLESS = pieces_of('{"answer":"' + " ".join(map(str, range(4_000))))

BLANKS = ('{"answer":', *(BLANK,) * 4_000)

REPEATS = ('{"answer":"', *REPEATED * 1_000)


@tool(effect="read")
def look() -> str:
    """Look."""
    return "seen " * 500


PLAIN = Agent(name="plain", instructions="Answer.")

LOOKER = Agent(name="looker", instructions="Look.", tools=[look])


def always(step: Step) -> Script:
    return lambda _request: step


@asynccontextmanager
async def adapter(
    server: ScriptedModelServer, *, api: str = "vllm", **options: Any
) -> AsyncIterator[ChatCompletions]:
    fields = {"timeout_s": 5.0, "gap_s": 5.0, "temperature": TEMPERATURE, **options}
    model = ChatCompletions(ServerOptions(server.url, api=api, session_header=RUN, **fields))
    try:
        yield model
    finally:
        await model.aclose()


@asynccontextmanager
async def staged(
    temporal: Client,
    server: ScriptedModelServer,
    *,
    max_tokens: int = 1024,
    engine: Engine | None = None,
    generate: int = 32,
    **options: Any,
) -> AsyncIterator[Stage]:
    """Serve agents whose only leg is that server."""
    settings = with_slots(staged_settings(cached=1000), generate)
    async with adapter(server, engine=engine, **options) as model:
        endpoints = {DEFAULT_SERVER: Endpoint(model, max_tokens)}
        async with on_stage(
            temporal, endpoints, [PLAIN, LOOKER], tools=[look], settings=settings
        ) as stage:
            yield stage


@asynccontextmanager
async def on_two_legs(
    temporal: Client, first: ScriptedModelServer, second: ScriptedModelServer, **options: Any
) -> AsyncIterator[Stage]:
    """Serve agents that ask one server, and another one after it, on one task queue."""
    settings = staged_settings(cached=1000)
    own = settings.queue("generate")
    legs = (Leg(task_queue=own), Leg(task_queue=own, server=SECOND))
    routes = settings.routes.model_copy(update={"generate": Route(legs=legs)})
    settings = settings.model_copy(update={"routes": routes})
    async with adapter(first, **options) as one, adapter(second) as other:
        endpoints = {DEFAULT_SERVER: Endpoint(one, 1024), SECOND: Endpoint(other, 1024)}
        async with on_stage(
            temporal, endpoints, [PLAIN, LOOKER], tools=[look], settings=settings
        ) as stage:
            yield stage


def with_slots(settings: Settings, generate: int) -> Settings:
    return settings.model_copy(update={"concurrency": ConcurrencySettings(generate=generate)})


async def attempts_of(stage: Stage, run: Run) -> list[int]:
    """Return the attempt that ended each model call of a run."""
    return model_attempts((await stage.chain(run))[-1].events)
