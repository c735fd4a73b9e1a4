"""Gateways, workers and clients are killed in the middle of answers: the final text is the transcript's.

`RUNS=200 SEED=7 make test-long ARGS="-k text_kills -s"` kills more often.
"""

import asyncio
import itertools
import json
import os
import random
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx2
import pytest
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer

from bench.scripted_model_server import Request, ScriptedModelServer, Step, pieces_of
from outlast import Client
from tests.conditions import until
from tests.long.chaos.processes import Supervised, worker
from tests.long.gateway.text_readers import HttpReader, read_by_sdk, transcript_of

KILLS = int(os.environ.get("RUNS", "8"))
SEED = int(os.environ.get("SEED", "1"))

AT_ONCE = 8
"""Runs that are read at the same time, each by two clients."""

PIECES = 60
GAP_S = 0.04
"""An answer takes more than two seconds, so that a kill finds it in the middle."""

WITHOUT_GATEWAY = 5
RUN_WITHIN_S = 240
AGENTS = "tests.long.gateway.chat_agents"

numbers = itertools.count()


def different_each_time(_: Request) -> Step:
    """Answer with another text than ever before, so that the rest of one never fits another."""
    words = f"answer {next(numbers)}: " + "".join(chr(97 + n % 26) * 4 for n in range(PIECES))
    return Step(pieces=pieces_of(json.dumps({"answer": words})), gap_s=GAP_S)


@dataclass
class Storm:
    """The runs that are read now, and what has happened so far."""

    client: Client
    url: str
    open: dict[str, HttpReader] = field(default_factory=dict)
    runs: int = 0
    resets: int = 0
    ended_pieces: int = 0
    is_over: bool = False

    @property
    def pieces(self) -> int:
        """The pieces of text that clients have got so far."""
        return self.ended_pieces + sum(each.seen.pieces for each in self.open.values())

    @property
    def in_the_middle(self) -> list[HttpReader]:
        return [each for each in self.open.values() if each.seen.text and not each.seen.answer]

    def has_more_than(self, pieces: int, running: list[asyncio.Task[None]]) -> bool:
        """Return whether text of an open answer has come, or a run has failed."""
        is_new = self.pieces > pieces and bool(self.in_the_middle)
        return is_new or any(task.done() for task in running)

    async def runs_in_turn(self) -> None:
        while not self.is_over:
            async with asyncio.timeout(RUN_WITHIN_S):
                await self._run()
            self.runs += 1

    async def _run(self) -> None:
        run = await self.client.start("greeter", "Say something.")
        reader = self.open[run.id] = HttpReader(self.url, run.id)
        seen, texts = await asyncio.gather(reader.read(), read_by_sdk(run))
        del self.open[run.id]
        self.resets += seen.resets
        self.ended_pieces += seen.pieces
        result = await run.result()
        transcript = await transcript_of(run)
        final = json.loads(transcript[-1].content or "")["answer"]
        assert result.output_json == final
        assert (seen.text, seen.answer) == (final, final)
        assert texts == [final]
        assert [entry.role for entry in transcript] == ["user", "assistant"]
        assert seen.durable == {"message": 1, "answer": 1, "run_ended": 1}


def gateway(port: int, temporal: str, log_dir: Path, *, agents: str = AGENTS) -> Supervised:
    settings = {
        "TEMPORAL_ADDRESS": temporal,
        "OUTLAST_AGENTS": agents,
        "OUTLAST_GATEWAY__PORT": str(port),
        "OUTLAST_GATEWAY__REQUESTS_PER_MINUTE": "100000",
    }
    return Supervised(
        "gateway", [sys.executable, "-m", "outlast_workers", "gateway"], settings, log_dir
    )


async def is_up(url: str) -> None:
    async with asyncio.timeout(RUN_WITHIN_S), httpx2.AsyncClient() as client:
        while True:
            try:
                await client.get(f"{url}/healthz")
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.timeout(120 + 15 * KILLS)
async def test_texts_equal_the_transcript_whoever_is_killed(tmp_path: Path) -> None:
    port, url = free_port(), ""
    url = f"http://127.0.0.1:{port}"
    temporal = TemporalServer(log_dir=tmp_path, port=free_port(), log_level="error")
    chance, kills = random.Random(SEED), Counter[str]()
    async with temporal, ScriptedModelServer(different_each_time) as model:
        door = gateway(port, temporal.address, tmp_path)
        workers = [
            worker(
                f"worker-{number}",
                temporal=temporal.port,
                model=model.port,
                log_dir=tmp_path,
                agents=AGENTS,
                environment={"OUTLAST_EVENTS__URLS": url},
            )
            for number in range(2)
        ]
        async with door, workers[0], workers[1]:
            await is_up(url)
            storm = Storm(await Client.connect(target_host=temporal.address, gateway=url), url)
            running = [asyncio.create_task(storm.runs_in_turn()) for _ in range(AT_ONCE)]
            for number in range(KILLS):
                await until(partial(storm.has_more_than, storm.pieces, running))
                victim = chance.choice(["gateway", "worker", "client"])
                kills[victim] += 1
                if victim == "gateway":
                    door.send(signal.SIGKILL)
                elif victim == "worker":
                    chance.choice(workers).send(signal.SIGKILL)
                else:
                    readers = storm.in_the_middle or [*storm.open.values()]
                    chance.choice(readers).kill(forgets=chance.random() < 0.3)
                if number % 20 == 19:
                    print(f"{number + 1} kills {dict(kills)}, {storm.runs} runs", flush=True)
                await asyncio.sleep(chance.uniform(0.2, 1.0))  # how long the next kill waits
            storm.is_over = True
            await asyncio.gather(*running)
            print(f"\n{KILLS} kills {dict(kills)} in {storm.runs} runs, {storm.resets} resets")
            assert storm.runs >= AT_ONCE
            await _runs_without_a_gateway(storm, door, model)


async def _runs_without_a_gateway(
    storm: Storm, door: Supervised, model: ScriptedModelServer
) -> None:
    """A dead gateway costs no model call and no run."""
    away = asyncio.create_task(door.kill_for(RUN_WITHIN_S))
    before = model.answered
    runs = [await storm.client.start("greeter", "Go on.") for _ in range(WITHOUT_GATEWAY)]
    async with asyncio.timeout(RUN_WITHIN_S):
        texts = await asyncio.gather(*map(read_by_sdk, runs))
        results = await asyncio.gather(*(run.result() for run in runs))
    assert [result.status for result in results] == ["completed"] * WITHOUT_GATEWAY
    assert texts == [[result.output_json] for result in results]
    assert model.answered - before == WITHOUT_GATEWAY
    away.cancel()
    await asyncio.gather(away, return_exceptions=True)
