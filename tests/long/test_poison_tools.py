"""On a real worker: whatever its tools do, it lives, answers `/livez` within a second, and runs others."""

import asyncio
import json
import time
import urllib.request
from pathlib import Path

from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer

from bench.scripted_model_server import ScriptedModelServer
from bench.scripts import Request, Step
from outlast import Client, RunFailed
from tests.acceptance.processes import WorkerUnderTest

EXPECTED = {
    "exits": "exits (call 1.1): SystemExit: 2",
    "exits_async": "exits_async (call 1.1): SystemExit: 2",
    "exits_in_task": "exits_in_task (call 1.1): SystemExit: 3",
    "interrupts": "interrupts (call 1.1): KeyboardInterrupt",
    "stops": "stops (call 1.1): StopIteration",
    "cancels": "cancels (call 1.1): CancelledError",
    "breaks_executor": "breaks_executor (call 1.1): BrokenExecutor: broken",
    "chain": "chain (call 1.1): ValueError: 399 xxx",
    "megabytes": "megabytes (call 1.1): ValueError: \ufffd\ufffd",
    "leaves_generator": "leaves_generator (call 1.1): GeneratorExit",
    "surrogate_error": "no file caf\ufffd.txt",
    "surrogate_result": "caf\ufffd.txt",
    "deep": "deep (call 1.1): the result cannot be written as JSON",
    "not_a_number": "not_a_number returned the number nan",
    "blocks": "page",
    "blocks_for_good": "blocks_for_good: an attempt took too long (at most 3 s)",
    "hangs": "hangs: an attempt took too long (at most 3 s)",
}


def _script(request: Request) -> Step:
    if request.assistant_messages:
        return Step('{"answer":"done"}')
    text = json.dumps(request.messages).replace('"', " ")
    name = next(word[5:] for word in text.split() if word.startswith("call:"))
    return Step(json.dumps({"tool_calls": [{"tool": name, "arguments": {}}]}))


class Watch:
    """Asks `/livez` all the time, and runs an innocent agent again and again."""

    def __init__(self, client: Client, port: int) -> None:
        self.slowest_s = 0.0
        self.completed = 0
        self._client = client
        self._url = f"http://127.0.0.1:{port}/livez"

    async def ask(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.to_thread(self._ask)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            await asyncio.sleep(0.1)

    async def run(self) -> None:
        while True:
            async with asyncio.timeout(25):
                assert (await self._client.run("poisoned", "call:innocent")).output == "done"
            self.completed += 1

    def _ask(self) -> None:
        with urllib.request.urlopen(self._url, timeout=10) as response:  # noqa: S310 loopback
            assert response.status == 200


async def _poisoned(client: Client, name: str) -> str:
    run = await client.start("poisoned", f"call:{name}")
    try:
        await run.result()
    except RunFailed as error:
        return str(error.message)
    return " ".join(str(entry.content) for entry in await run.transcript())


async def test_no_tool_ends_or_stalls_its_worker(tmp_path: Path) -> None:
    port = free_port()
    temporal = TemporalServer(log_dir=tmp_path, port=free_port(), db=tmp_path / "temporal.db")
    async with temporal, ScriptedModelServer(_script) as model:
        worker = WorkerUnderTest(
            address=temporal.address,
            model_url=model.url,
            agents="tests.long.poison_tools",
            log=tmp_path / "worker.log",
            drain_s=1,
            settings={"OUTLAST_HEALTH__PORT": str(port)},
        )
        await worker.start()
        client = await Client.connect(target_host=temporal.address)
        watch = Watch(client, port)
        watching = [asyncio.create_task(watch.ask()), asyncio.create_task(watch.run())]
        try:
            async with asyncio.timeout(100):
                seen = await asyncio.gather(*(_poisoned(client, name) for name in EXPECTED))
            assert not any(task.done() for task in watching), watching
        finally:
            for task in watching:
                task.cancel()
            assert await worker.terminate() == 0
    wrong = {
        name: text
        for (name, expected), text in zip(EXPECTED.items(), seen, strict=True)
        if expected not in text
    }
    assert not wrong
    assert watch.slowest_s < 1
    assert watch.completed > 5
    log = (tmp_path / "worker.log").read_text()
    assert '"tool.blocks_event_loop"' in log
    for name in EXPECTED:
        assert name in log or name in ("surrogate_result", "hangs")
