"""A lab for single faults: a Temporal server, a ledger, a scripted model and workers that a test kills."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer

from bench.scripted_model_server import Script, ScriptedModelServer
from outlast import AgentResult, Client, Run, RunFailed
from tests.acceptance.processes import WorkerUnderTest
from tests.long.chaos.ledger import PORT_VARIABLE, Arrival, ledger, read_arrivals
from tests.long.chaos.model import script

WITHIN_S = 40.0

T = TypeVar("T")


class LabWorker(WorkerUnderTest):
    """A worker process that can be frozen too."""

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """Kill it, if it is alive."""
        if self._process is not None and self._process.returncode is None:
            await super().kill()


class Lab:
    def __init__(self, folder: Path, address: str, model_url: str, ledger_port: int) -> None:
        self._folder = folder
        self._address = address
        self._model_url = model_url
        self._ledger_port = ledger_port
        self._stack = AsyncExitStack()
        self.model: ScriptedModelServer
        self.client: Client

    async def worker(self, roles: str = "workflows,generate,tools") -> LabWorker:
        """Start a worker."""
        worker = LabWorker(
            address=self._address,
            model_url=self._model_url,
            agents="tests.long.chaos.agents",
            log=self._folder / f"{roles.replace(',', '-')}-{free_port()}.log",
            drain_s=2,
            roles=roles,
            settings={PORT_VARIABLE: str(self._ledger_port)},
        )
        await worker.start()
        self._stack.push_async_callback(worker.kill)
        return worker

    async def close(self) -> None:
        await self._stack.aclose()

    def arrivals(self, kind: str = "effect") -> list[Arrival]:
        return [one for one in read_arrivals(self._folder / "ledger.jsonl") if one.kind == kind]

    async def start(self, *turns: Sequence[dict[str, Any]], **options: Any) -> Run:
        """Start a run of the agent `doer` whose model makes these calls, turn by turn."""
        plan: list[Any] = [list(turn) for turn in turns]
        return await self.client.start("doer", {"plan": plan}, **options)

    async def scheduled(self, run: Run, activity_id: str) -> None:
        """Wait until an activity is scheduled."""
        handle = self.client.temporal.get_workflow_handle(run.id)

        async def is_scheduled() -> bool:
            return any(
                event.activity_task_scheduled_event_attributes.activity_id == activity_id
                for event in (await handle.fetch_history()).events
            )

        await until(is_scheduled)


def call(tool: str, ref: str = "r", before_s: float = 0, after_s: float = 0) -> dict[str, Any]:
    return {"tool": tool, "arguments": {"ref": ref, "before_s": before_s, "after_s": after_s}}


async def until(look: Callable[[], Awaitable[T | None]], within_s: float = WITHIN_S) -> T:
    """Look until there is something to see, and return it."""
    async with asyncio.timeout(within_s):
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.1)


async def ends(run: Run, within_s: float = WITHIN_S) -> AgentResult | RunFailed:
    """Return how a run ends; raises `TimeoutError` for one that hangs."""
    try:
        async with asyncio.timeout(within_s):
            return await run.result()
    except RunFailed as error:
        return error


@asynccontextmanager
async def lab(
    folder: Path, *, config: Sequence[str] = (), script: Script = script
) -> AsyncIterator[Lab]:
    """Open a lab without workers; `config` are dynamic settings of its server."""
    ledger_port = free_port()
    async with (
        TemporalServer(
            log_dir=folder, port=free_port(), log_level="error", dynamic_config=config
        ) as temporal,
        ScriptedModelServer(script) as model,
        ledger(folder / "ledger.jsonl", ledger_port),
    ):
        opened = Lab(folder, temporal.address, model.url, ledger_port)
        opened.model = model
        opened.client = await Client.connect(target_host=temporal.address)
        try:
            yield opened
        finally:
            await opened.close()
