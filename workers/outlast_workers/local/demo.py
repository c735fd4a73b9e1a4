"""`outlast worker demo`: two agents from beginning to end on this machine, then stop."""

import asyncio
import json
import shlex
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from outlast_workflows.display_text import call_summary
from temporalio.client import WorkflowQueryFailedError
from temporalio.service import RPCError

from outlast import AgentResult, Client, OutlastError, OutlastPlugin, Run
from outlast.contracts.human import PendingRequest
from outlast.contracts.messages import Message, ToolCall
from outlast.decide_commands import decide_payload
from outlast_workers.connection import connect
from outlast_workers.local.dev import (
    Stack,
    start_command,
    started_stack,
    temporal_command,
    temporal_program,
)
from outlast_workers.local.servers import TemporalServer, free_port
from outlast_workers.settings import Settings
from outlast_workers.worker_process import run_process

PACKAGE = "pydantic"
ORDER = "My order A-1042 arrived broken. I want my money back."

READY_WITHIN_S = 60.0
ENDS_WITHIN_S = 180.0
"""Bounds of starting and of each run: a small model takes seconds a turn on two cores."""

READING_S = 2.0
"""A moment to read the command before the demo runs it."""

MAX_SHOWN = 110


async def run_demo() -> int:
    """Run both agents; return 0 when each ended with a typed answer, else 1."""
    say("outlast demo: durable agents on a real Temporal server and a real, tiny model")
    settings = Settings(log_level="error", log_format="console", drain_s=1)
    with tempfile.TemporaryDirectory(prefix="outlast-demo-") as folder:
        log_dir = Path(folder)
        temporal = TemporalServer(log_dir=log_dir, port=free_port(), ui_port=free_port())
        async with (
            started_stack(
                settings, temporal=temporal, log_dir=log_dir, model_port=free_port()
            ) as stack,
            _client(stack) as client,
        ):
            say(f"Temporal {temporal.address} · Web UI {temporal.ui_url} · model {stack.model}")
            reviewed = await _shown("A review that ends by itself", lambda: _review(client))
            refunded = await _shown(
                "A refund that waits for a person", lambda: _refund(client, stack)
            )
    _say_what_next()
    return 0 if reviewed and refunded else 1


@asynccontextmanager
async def _client(stack: Stack) -> AsyncIterator[Client]:
    """Yield a client once a worker of this process polls; stop the worker at the end."""
    stop, ready = asyncio.Event(), asyncio.Event()
    worker = asyncio.create_task(
        run_process(stack.settings, stop=stop, address=stack.temporal.address, ready=ready.set)
    )
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait(
            [worker, waiting], timeout=READY_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
        )
        if worker.done():
            await worker
        yield Client(
            await connect(
                address=stack.temporal.address, use_profile=False, plugins=[OutlastPlugin()]
            )
        )
    finally:
        waiting.cancel()
        stop.set()
        await worker


async def _shown(title: str, part: Callable[[], Awaitable[AgentResult]]) -> bool:
    """Show one part of the demo, and say plainly what it could not do."""
    say(f"\n── {title} " + "─" * (70 - len(title)))
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            result = await part()
    except TimeoutError:
        say(f"  It did not end within {ENDS_WITHIN_S:g} s: is this machine very busy?")
        return False
    except OutlastError as error:
        say(f"  It failed: {getattr(error, 'message', error)}")
        return False
    usage = result.usage
    say(
        f"\n  {result.status} after {result.turns} turns, {result.tool_calls} tool calls, "
        f"{usage.tokens:,} tokens"
    )
    say("  " + json.dumps(result.output, indent=2, ensure_ascii=False).replace("\n", "\n  "))
    return result.status == "completed"


async def _review(client: Client) -> AgentResult:
    run = await client.start("dependency-review", PACKAGE)
    await _tell(run, [])
    return await run.result()


async def _refund(client: Client, stack: Stack) -> AgentResult:
    run = await client.start("refund-desk", ORDER)
    told: list[Message] = []
    telling = asyncio.create_task(_tell(run, told))
    request = await _pending(run, telling, told)
    if request is not None:
        await _approve(run, request, stack)
    await telling
    return await run.result()


async def _pending(
    run: Run, telling: "asyncio.Task[None]", told: list[Message]
) -> PendingRequest | None:
    """Return the request that the run waits for, its call told of; None when it ended without one."""
    while not telling.done():
        await asyncio.sleep(0.2)
        with suppress(RPCError, WorkflowQueryFailedError):  # the run has not begun yet
            pending = await run.pending_requests()
            turns = sum(entry.role == "assistant" for entry in told)
            if pending and turns >= int(pending[0].request_id.partition(".")[0]):
                return pending[0]
    return None


async def _approve(run: Run, request: PendingRequest, stack: Stack) -> None:
    command = [
        *temporal_program(stack),
        *("workflow", "update", "execute", "--workflow-id", run.id, "--name", "decide"),
        *("--input", decide_payload(request, "approve", by="demo")),
    ]
    say(f"\n  It waits for {request.audience}. Anybody who may would approve it with")
    say(f"  $ {shlex.join(command)}")
    say("  The demo does just that in a moment …\n")
    await asyncio.sleep(READING_S)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode:
        say(f"  The command failed: {output.decode().strip()}")


async def _tell(run: Run, told: list[Message]) -> None:
    """Print each entry of a run's transcript as it comes, and add it to what was told."""
    turn = 0
    async for entry in run.stream():
        turn += entry.role == "assistant"
        for line in _lines(entry, turn):
            say(line if len(line) <= MAX_SHOWN else f"{line[: MAX_SHOWN - 1]}…")
        told.append(entry)


def _lines(entry: Message, turn: int) -> list[str]:
    content = entry.content or ""
    if entry.role == "user":
        return [f"  asked     {content}"]
    if entry.role == "tool":
        return [f"            {entry.tool} → {content}"]
    decision = json.loads(content)
    if "answer" in decision:
        return [f"  turn {turn}    answers"]
    calls = [ToolCall.model_validate(call) for call in decision["tool_calls"]]
    return [f"  turn {turn}    calls {call_summary(call)}" for call in calls]


def _say_what_next() -> None:
    say("\n── What to try next " + "─" * 54)
    say("  make dev          keeps such a stack, with its Web UI on http://127.0.0.1:8233; then")
    say("  " + start_command(agent="dependency-review", value="openai", run_id="r1"))
    say(f"  {temporal_command()} workflow result --workflow-id r1")


def say(text: str) -> None:
    """Print a line of the demo."""
    print(text, flush=True)  # noqa: T201 this is what the command is for
