"""`python -m bench.engines.ways URL`: the same tasks in the ways `native` and `decision`, on one server.

Each task has two turns: the model must look one number up with the right tool and arguments, and then
answer with it. A model of 135 million parameters fails most tasks in each way. With it, the numbers show
the cost of a way, and whether it works at all. They say nothing about larger models.
"""

import argparse
import asyncio
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.providers.registry import connected
from pydantic import BaseModel, JsonValue

from bench.engines.prompts import generate, pinned, prompt_source, user_message
from bench.engines.vllm_install import install
from bench.engines.vllm_server import VllmServer
from bench.processes import LOGS
from bench.tables import Table, write
from outlast import Agent, tool
from outlast.contracts.agents import Way
from outlast.contracts.generation import Generation, Tokens
from outlast.contracts.messages import Decision, Message, ToolCall
from outlast.errors import ModelError, NotReady
from outlast.jsonschema.decision_schema import decision_schema
from outlast.model_server import ServerOptions
from outlast.transcripts import decision_message, tool_message

TASKS = 200
CONCURRENCY = 16
MAX_TOKENS = 128
"""A call or an answer takes less than 60."""

TEMPLATE = Path(__file__).parent / "tools.jinja"
"""A chat template with tools, in the form of the parser `hermes`: the one of SmolLM2 has none."""

SEED = 20261127
ITEMS = ("bolts", "nuts", "screws", "washers", "springs", "hinges", "brackets", "rivets")
CITIES = ("Oslo", "Rome", "Lima", "Cairo", "Quito", "Hanoi", "Accra", "Turin")


class Report(BaseModel):
    """The answer to a task."""

    item: str
    number: int


@tool(effect="read")
def stock_of(item: str, city: str) -> int:
    """Return how many of an item the warehouse of a city has."""
    raise NotImplementedError(f"the task knows the stock of {item} in {city}")


@tool(effect="read")
def price_of(item: str, city: str) -> int:
    """Return the price in cents of an item in a city."""
    raise NotImplementedError(f"the task knows the price of {item} in {city}")


CLERK = Agent(
    "clerk",
    "Look up what is asked for with one tool call, and then report the number.",
    tools=[stock_of, price_of],
    output=Report,
)


@dataclass(frozen=True)
class Task:
    """A question, the call that answers it, and the number that the tool returns."""

    tool: str
    item: str
    city: str
    number: int

    @property
    def question(self) -> str:
        """What the user asks."""
        if self.tool == "stock_of":
            return f"How many {self.item} are in the warehouse of {self.city}?"
        return f"What do {self.item} cost in {self.city}?"

    def is_call(self, call: ToolCall) -> bool:
        """Return whether a call is the right one. The case of letters does not matter."""
        given = {name: str(value).casefold() for name, value in call.arguments.items()}
        wanted = {"item": self.item.casefold(), "city": self.city.casefold()}
        return (call.tool, given) == (self.tool, wanted)


@dataclass(frozen=True)
class Outcome:
    """What a model did with a task. `failed` is the class of a failure."""

    calls_right: bool = False
    answers_right: bool = False
    completions: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    failed: str = ""

    def after(
        self, generation: Generation, *, calls_right: bool, answers_right: bool = False
    ) -> "Outcome":
        """Return the outcome after one more turn."""
        used = Tokens(
            prompt_tokens=generation.prompt_tokens, completion_tokens=generation.completion_tokens
        )
        completions = self.completions + generation.completions
        return Outcome(calls_right, answers_right, completions, self.tokens.plus(used))


def tasks(count: int) -> list[Task]:
    """Return the first tasks, which are the same in each run."""
    chosen = random.Random(SEED)  # noqa: S311 no secret
    return [
        Task(
            chosen.choice(("stock_of", "price_of")),
            chosen.choice(ITEMS),
            chosen.choice(CITIES),
            chosen.randrange(10, 1_000),
        )
        for _ in range(count)
    ]


async def measure(
    endpoint: Endpoint, way: Way, listed: Sequence[Task], *, concurrency: int = CONCURRENCY
) -> list[Outcome]:
    """Run the tasks in one way. The second turn begins with the right call, whatever the first one was."""
    slots = asyncio.Semaphore(concurrency)

    async def limited(task: Task) -> Outcome:
        async with slots:
            return await _outcome(endpoint, way, task)

    return await asyncio.gather(*map(limited, listed))


async def _outcome(endpoint: Endpoint, way: Way, task: Task) -> Outcome:
    call = ToolCall(tool=task.tool, arguments={"item": task.item, "city": task.city})
    question = user_message(task.question)
    results = [
        decision_message(Decision(tool_calls=(call,))),
        tool_message(task.tool, "1.1", str(task.number)),
    ]
    outcome = Outcome()
    try:
        first = await _turn(endpoint, way, [question])
        made = first.decision.tool_calls if first.decision else ()
        outcome = outcome.after(first, calls_right=len(made) == 1 and task.is_call(made[0]))
        last = await _turn(endpoint, way, [question, *results])
    except ModelError as error:
        spent = outcome.tokens.plus(Tokens.model_validate(error.tokens))
        return replace(outcome, tokens=spent, failed=str(error.kind))
    answer: JsonValue = last.decision.answer if last.decision else None
    is_right = answer == {"item": task.item, "number": task.number}
    return outcome.after(last, calls_right=outcome.calls_right, answers_right=is_right)


async def _turn(endpoint: Endpoint, way: Way, transcript: Sequence[Message]) -> Generation:
    agent = pinned(CLERK)
    source = prompt_source(agent, transcript, key=way)
    answer_schema = {} if way == "decision" else decision_schema(agent, ())
    return await generate(replace(source, way=way, answer_schema=answer_schema), endpoint)


def report(outcomes: Mapping[Way, Sequence[Outcome]]) -> Table:
    """Return the ways side by side."""
    columns = ("way", "tasks", "right call", "right answer", "failed", "answers a turn")
    tokens = ("prompt tokens", "completion tokens")
    rows = [
        (
            way,
            len(listed),
            sum(each.calls_right for each in listed),
            sum(each.answers_right for each in listed),
            sum(bool(each.failed) for each in listed),
            sum(each.completions for each in listed) / max(1, 2 * len(listed)),
            sum(each.tokens.prompt_tokens for each in listed),
            sum(each.tokens.completion_tokens for each in listed),
        )
        for way, listed in outcomes.items()
    ]
    return Table("The same tasks in each way", (*columns, *tokens), rows)


async def compare(options: argparse.Namespace) -> Table:
    """Probe the server, and run the tasks in each way, also in one that the probe did not find."""
    server = connected(
        ServerOptions(options.url, api=options.api, model=options.model, temperature=0.0), None
    )
    try:
        facts = await server.probe()
        print(f"{options.url}: {facts}", flush=True)
        for way in (way for way in options.ways if way not in facts.ways):
            print(
                f"{way}: the model did not pass the probe, so a worker would not use this way;"
                " it is measured all the same",
                flush=True,
            )
        endpoint = Endpoint(server, MAX_TOKENS, constrained=facts.constrained)
        listed = tasks(options.tasks)
        return report({way: await measure(endpoint, way, listed) for way in options.ways})
    finally:
        await server.aclose()


async def compare_own(options: argparse.Namespace) -> Table:
    """Start vLLM with a tool parser, and compare the ways on it."""
    parser = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    more = ("--chat-template", str(TEMPLATE), *parser)
    async with VllmServer(install(), log_dir=LOGS, max_num_seqs=CONCURRENCY, more=more) as server:
        return await compare(argparse.Namespace(**{**vars(options), "url": server.url}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a server, print the table and write it. Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.engines.ways", description=__doc__)
    parser.add_argument(
        "url", nargs="?", help="the URL of the server; without one, vLLM starts on this machine"
    )
    parser.add_argument("--api", default="vllm", help="the api of the server, as in the settings")
    parser.add_argument("--model", help="the model, if the server has several")
    parser.add_argument("--tasks", type=int, default=TASKS, help="how many tasks")
    parser.add_argument("--ways", nargs="+", choices=get_args(Way), default=["native", "decision"])
    options = parser.parse_args(arguments)
    try:
        table = asyncio.run(compare(options) if options.url else compare_own(options))
    except (NotReady, ModelError) as error:
        print(f"outlast: {error}", file=sys.stderr)
        return 1
    print(table)
    print(f"written to {write('ways', [table], vars(options), others=0.0)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
