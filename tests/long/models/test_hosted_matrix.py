"""The matrix of APIs, ways and cases that docs/models.md shows, measured on the fakes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from outlast_activities.policies.schema_checker import SchemaChecker

from bench.engines.prompts import agent_of
from bench.engines.types import TYPES
from outlast.contracts.agents import Way
from outlast.errors import ModelError
from outlast.model_server import Prompt
from tests.activities.providers.test_hosted_apis import (
    APIS,
    WAYS,
    clerk,
    decision_in,
    fakes,
    has_thoughts,
    in_way,
    server_of,
)
from tests.fakes.prompts import GO, prompt_for, step
from tests.fakes.service import FakeService, Play

__all__ = ["fakes"]

PAGE = Path(__file__).parents[3] / "docs" / "models.md"
BEGIN, END = "<!-- matrix:begin -->", "<!-- matrix:end -->"
MODELS = (
    ("anthropic", "claude-opus-5-5"),
    ("anthropic", "claude-haiku-4-5"),
    ("openai-responses", "gpt-6-sol"),
    ("openai-chat", "gpt-4.1"),
    ("gemini", "gemini-3.5-flash"),
    ("gemini", "gemini-2.5-flash"),
)
HEAD = ("api, model", "way", "some tools", "calls only", "answer only", "thoughts return", "types")

CALLS = Play(calls=[("search", {"query": "a"})])
DONE = Play(answer="done")


def in_form(prompt: Prompt, play: Play) -> Play:
    """Return a play in the form of the prompt's schema. An API's form of a union is wrapped."""
    written = in_way(prompt.way, play)
    if written.text is None or "anyOf" in prompt.schema:
        return written
    return replace(written, text=json.dumps(json.loads(written.text)["value"]))


class Cell:
    """Runs the cases of one model in one way."""

    def __init__(self, api: str, model: str, fake: FakeService, way: Way) -> None:
        self.api, self.model, self.fake, self.way = api, model, fake, way

    async def complete(self, prompt: Prompt, play: Play) -> Any:
        self.fake.play(play if play.plausible else in_form(prompt, play))
        self.fake.refusals.clear()
        server = await server_of(self.api, self.model, self.fake)
        completion = await server.complete(prompt)
        assert self.fake.refusals == []
        return completion

    async def enforced(self, play: Play, **narrowed: Any) -> str:
        """Return who holds the model to a narrowed turn."""
        prompt = prompt_for(clerk, self.way, **narrowed)
        completion = await self.complete(prompt, play)
        decision = decision_in(completion)
        assert SchemaChecker().problem(decision, prompt.schema, key=prompt.schema_key) is None
        is_note = "In this turn" in json.dumps(self.fake.bodies()[-1])
        return "note, check" if is_note else "API"

    async def thoughts(self) -> str:
        if self.way == "decision":
            return "no"
        play = Play(calls=CALLS.calls, thoughts="I search first.")
        first = await self.complete(prompt_for(clerk, self.way), play)
        turns = (GO, *step(("search", {"query": "a"}, ["x"]), opaque=first.opaque))
        await self.complete(prompt_for(clerk, self.way, turns), DONE)
        return "yes" if has_thoughts(self.fake.bodies()[-1]) else "no"

    async def types(self) -> str:
        """Return how many types of the validity suite come back as values of the type."""
        valid = 0
        for kind in TYPES:
            prompt = prompt_for(agent_of(kind), self.way)
            try:
                completion = await self.complete(prompt, Play(plausible=True))
            except ModelError as refused:
                if "has no form in" not in str(refused):
                    raise
                continue
            problem = SchemaChecker().problem(
                decision_in(completion), prompt.schema, key=prompt.schema_key
            )
            valid += problem is None
        return f"{valid} of {len(TYPES)}"

    async def row(self) -> tuple[str, ...]:
        return (
            f"`{self.api}`, {self.model}",
            f"`{self.way}`",
            await self.enforced(CALLS, allowed=["search"]),
            await self.enforced(CALLS, may_answer=False),
            await self.enforced(DONE, max_calls=0),
            await self.thoughts(),
            await self.types(),
        )


def lines_of(rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(HEAD) + " |"
    yield "|" + " --- |" * len(HEAD)
    yield from ("| " + " | ".join(row) + " |" for row in rows)


@pytest.mark.timeout(300)
async def test_the_page_shows_the_matrix(
    fakes: dict[str, FakeService],
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows: list[tuple[str, ...]] = []
    for api, model in MODELS:
        ways = (await (await server_of(api, model, fakes[api])).probe()).ways
        assert set(ways) <= set(WAYS)
        rows += [await Cell(api, model, fakes[api], way).row() for way in ways]
    table = "\n".join(lines_of(rows))
    with capsys.disabled():
        print(f"\n{table}")
    assert set(APIS) == {api for api, _ in MODELS}
    shown = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == table
