"""A lab for small faults: one worker serves all of them, and each run has a script of its own."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.providers.chat_completions import ChatCompletions
from temporalio.client import Client

from outlast import RunFailed
from outlast.errors import ModelError
from outlast.model_server import Completion, Prompt, ServerOptions
from outlast.testing import ScriptedModel, Step
from outlast.turns import UserTurn
from tests.activities.providers.raw_server import RawServer, raw_server
from tests.stage import Stage, on_stage

END_WITHIN_S = 20
"""How long the run of a fault may take. The slowest ones wait for the backoff of a retry."""

PROMPT = Prompt((UserTurn("x"),), {"type": "object"}, "k", 100)
DONE: dict[str, Any] = {"answer": "done"}


class ScriptsOfRuns(ScriptedModel):
    """Answers each run with its own script, which the run's input names. The last step is repeated."""

    def __init__(self) -> None:
        super().__init__([])
        self._models: dict[str, ScriptedModel] = {}

    def script(self, steps: Sequence[Step]) -> str:
        """Keep a script, and return the input of the run that it is for."""
        name = f"script-{uuid.uuid4().hex}"
        self._models[name] = ScriptedModel(steps, repeat_last=True)
        return name

    def prompts_of(self, name: str) -> list[Prompt]:
        """Return the prompts of the run with this input."""
        return self._models[name].prompts

    async def complete(self, prompt: Prompt, **options: Any) -> Completion:
        """Return the next step of the run's script."""
        found = re.search(r"script-[0-9a-f]{32}", json.dumps(prompt.messages))
        assert found, prompt.messages
        return await self._models[found[0]].complete(prompt, **options)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its output, or the type and the message of its failure."""

    output: Any
    failure: str
    message: str
    seen_by_model: str
    completions: int


class Lab:
    """Runs faults on one worker."""

    def __init__(self, stage: Stage, model: ScriptsOfRuns) -> None:
        self.stage = stage
        self.model = model

    async def run(self, *steps: Step, agent: Any = None, **options: Any) -> Outcome:
        """Run a script to its end. It fails if the run does not end in time."""
        value = self.model.script(steps)
        run = await self.stage.start(agent, value, **options)
        output, failure, message = None, "", ""
        try:
            result = await asyncio.wait_for(run.result(), END_WITHIN_S)
            output = result.output
        except RunFailed as error:
            failure, message = error.cause_type, error.message
        entries = await run.transcript()
        seen = "\n".join(str(entry.content) for entry in entries if entry.role == "tool")
        return Outcome(output, failure, message, seen, len(self.model.prompts_of(value)))


@asynccontextmanager
async def open_lab(
    temporal: Client, *, agents: Sequence[Any] = (), tools: Sequence[Any] = ()
) -> AsyncIterator[Lab]:
    """Serve these agents and tools until the block ends, then replay all runs."""
    model = ScriptsOfRuns()
    async with on_stage(temporal, {"": Endpoint(model, 1024)}, agents, tools=tools) as stage:
        yield Lab(stage, model)


def spec(output: Any = None, *tools: Any, **more: Any) -> dict[str, Any]:
    """Return an agent in JSON."""
    names = [entry.name for entry in tools]
    return {"instructions": "x", "output": output or {"type": "string"}, "tools": names, **more}


async def completed(answer: bytes, **options: Any) -> Completion | ModelError:
    """Return what the adapter makes of one HTTP response."""
    async with raw_server(answer) as server:
        return await asked(server, **options)


async def asked(server: RawServer, **options: Any) -> Completion | ModelError:
    """Return what the adapter makes of a server's answer. Another exception is a fault."""
    model = ChatCompletions(ServerOptions(server.url, model="m", timeout_s=5, **options))
    try:
        return await model.complete(PROMPT)
    except ModelError as error:
        return error
    finally:
        await model.aclose()
