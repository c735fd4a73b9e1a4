"""Agents that have others as tools in a pattern, and the models of all."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from outlast import (
    Agent,
    Leg,
    Usage,
)
from outlast.client.runs import Run
from outlast.contracts.agents import Price
from outlast.model_server import Completion, OnTokens, Prompt
from outlast.testing import ScriptedModel
from tests.stage import Stage, staged_settings

PRICE = Price(prompt_usd=Decimal(2), completion_usd=Decimal(8))


class TeamModel(ScriptedModel):
    """A scripted model with a script for each agent, which it knows by the instructions."""

    def __init__(self, scripts: Mapping[str, Any]) -> None:
        super().__init__([self._step], repeat_last=True)
        self._scripts = scripts
        self._lead = iter(scripts["lead"])
        self.asked: list[str] = []

    async def _step(self, prompt: Prompt) -> Any:
        instructions = str(prompt.messages[0]["content"])
        name = instructions.removeprefix("I am ").partition(".")[0]
        self.asked.append(name)
        step = next(self._lead) if name == "lead" else self._scripts[name]
        value = step(prompt) if callable(step) else step
        return await value if inspect.isawaitable(value) else value


def agent_of(name: str, tools: Any = (), **options: Any) -> Agent[Any, Any]:
    return Agent(name, f"I am {name}.", tools, **options)


def lead_of(*tools: Any) -> Agent[Any, Any]:
    return agent_of("lead", tools)


async def never(_: Prompt) -> Any:
    await asyncio.sleep(600)


def priced() -> Any:
    return staged_settings(cached=1000, generate=[Leg(task_queue="generate-{own}", price=PRICE)])


async def children_of(stage: Stage, run: Run) -> list[str]:
    """Return the ids of the children that a run has started, in the order of their numbers."""
    handle = stage.client.temporal.get_workflow_handle(run.id)
    return sorted(
        event.child_workflow_execution_started_event_attributes.workflow_execution.workflow_id
        for event in (await handle.fetch_history()).events
        if event.HasField("child_workflow_execution_started_event_attributes")
    )


async def until(condition: Callable[[], Any], within_s: float = 30) -> None:
    """Wait until a condition holds, which may be async."""
    async with asyncio.timeout(within_s):
        while True:
            value = condition()
            if await value if inspect.isawaitable(value) else value:
                return
            await asyncio.sleep(0.05)


async def children_usage(stage: Stage, run: Run) -> tuple[Usage, list[str | None]]:
    """Return what all children of a run used, and why they stopped."""
    results = [await stage.client.get(child).result() for child in await children_of(stage, run)]
    return sum((result.usage for result in results), Usage()), [
        result.stop_reason for result in results
    ]


def told(model: ScriptedModel) -> str:
    """Return the last message that the lead read."""
    return str(model.prompts[-1].messages[-1]["content"])


class MeteredModel(TeamModel):
    """Counts what it serves, also of calls that are cancelled after the first tokens of their answer."""

    def __init__(self, scripts: Mapping[str, Any]) -> None:
        super().__init__(scripts)
        self.served = Usage()
        self.stuck = 0

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        if len(prompt.turns) > 1 and "I am slow" in str(prompt.messages[0]["content"]):
            assert on_tokens is not None
            on_tokens(7)
            prompt_tokens = await self.count_prompt_tokens(prompt)
            self.served += Usage(prompt_tokens=prompt_tokens, completion_tokens=7)
            self.stuck += 1
            await never(prompt)
        done = await super().complete(prompt, on_tokens=on_tokens)
        self.served += Usage(
            prompt_tokens=done.prompt_tokens, completion_tokens=done.completion_tokens
        )
        return done
