"""`outlast worker demo`: run two example agents on this machine, then stop."""

import asyncio
import json
import shlex
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from outlast_workflows.display_text import call_summary

from outlast import AgentResult, Client, OutlastError, Run
from outlast.contracts.human import PendingRequest
from outlast.contracts.messages import Message, ToolCall
from outlast.decide_commands import decide_payload
from outlast.text.texts import cut
from outlast_workers.connection import connect
from outlast_workers.local.dev import (
    Stack,
    start_command,
    start_stack,
    temporal_command,
    temporal_program,
)
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from outlast_workers.settings import Settings
from outlast_workers.worker_process import run_process

PACKAGE = "pydantic"
ORDER = "My order A-1042 arrived broken. I want my money back."

READY_WITHIN_S = 60.0
ENDS_WITHIN_S = 180.0
"""Bounds the start and each run. A small model needs seconds for each turn on two cores."""

PAUSE_S = 2.0
"""Time to read the command before the demo runs it."""

MAX_TEXT_BYTES = 98
"""Keeps each entry of the transcript on one line of a terminal."""


async def run_demo() -> int:
    """Run both agents; return 0 if both runs completed, else 1."""
    say("outlast demo: durable agents on a real Temporal server and a real, tiny model")
    settings = Settings(log_level="error", log_format="console", drain_s=1)
    with tempfile.TemporaryDirectory(prefix="outlast-demo-") as folder:
        log_dir = Path(folder)
        temporal = TemporalServer(log_dir=log_dir, port=free_port(), ui_port=free_port())
        async with (
            start_stack(
                settings, temporal=temporal, log_dir=log_dir, model_port=free_port()
            ) as stack,
            _client(stack) as client,
        ):
            say(f"Temporal {temporal.address} · Web UI {temporal.ui_url} · model {stack.model}")
            has_reviewed = await _show("A review without a person", lambda: _review(client))
            has_refunded = await _show(
                "A refund that waits for a person", lambda: _refund(client, stack)
            )
    _print_next_steps()
    return 0 if has_reviewed and has_refunded else 1


@asynccontextmanager
async def _client(stack: Stack) -> AsyncIterator[Client]:
    """Yield a client when a worker of this process polls, and stop the worker at the end."""
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
                address=stack.temporal.address,
                use_profile=False,
                plugins=[stack.settings.payloads.plugin()],
            )
        )
    finally:
        waiting.cancel()
        stop.set()
        await worker


async def _show(title: str, part: Callable[[], Awaitable[AgentResult]]) -> bool:
    """Print one part of the demo, with the reason if it fails; return whether its run completed."""
    say(f"\n── {title} " + "─" * (70 - len(title)))
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            result = await part()
    except TimeoutError:
        say(f"  The run timed out after {ENDS_WITHIN_S:g} s: is this machine very busy?")
        return False
    except OutlastError as error:
        say(f"  The run failed: {getattr(error, 'message', error)}")
        return False
    usage = result.usage
    say(
        f"\n  {result.status} after {result.turns} turns, {result.tool_calls} tool calls, "
        f"{usage.tokens:,} tokens"
    )
    say("  " + json.dumps(result.output_json, indent=2, ensure_ascii=False).replace("\n", "\n  "))
    return result.status == "completed"


async def _review(client: Client) -> AgentResult:
    run = await client.start("dependency-review", PACKAGE)
    return await _follow(run, None)


async def _refund(client: Client, stack: Stack) -> AgentResult:
    run = await client.start("refund-desk", ORDER)
    return await _follow(run, stack)


async def _follow(run: Run, stack: Stack | None) -> AgentResult:
    """Print each entry of a run's transcript as it arrives, and approve its first request."""
    turn, is_approved = 0, False
    async for entry in run.stream():
        turn += entry.role == "assistant"
        if entry.role == "waiting":
            if entry.request is not None and stack is not None and not is_approved:
                is_approved = True
                await _approve(run, entry.request, stack)
        elif entry.role != "text":
            for line in _lines(entry, turn):
                say(line)
    return await run.result()


async def _approve(run: Run, request: PendingRequest, stack: Stack) -> None:
    command = [
        *temporal_program(stack),
        *("workflow", "update", "execute", "--workflow-id", run.id, "--name", "decide"),
        *("--input", decide_payload(request, "approve", by="demo")),
    ]
    say(f"\n  The run waits for {request.audience}. To approve the refund, one of them runs")
    say(f"  $ {shlex.join(command)}")
    say("  The demo runs this command in a moment …\n")
    await asyncio.sleep(PAUSE_S)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode:
        say(f"  The command failed: {output.decode().strip()}")


def _lines(entry: Message, turn: int) -> list[str]:
    content = entry.content or ""
    if entry.role == "user":
        return [f"  input     {cut(content, MAX_TEXT_BYTES)}"]
    if entry.role == "tool":
        return ["            " + cut(f"{entry.tool} → {content}", MAX_TEXT_BYTES)]
    decision = json.loads(content)
    if "answer" in decision:
        return [f"  turn {turn}    answers"]
    calls = [ToolCall.model_validate(call) for call in decision["tool_calls"]]
    summaries = (cut(call_summary(call), MAX_TEXT_BYTES) for call in calls)
    return [f"  turn {turn}    calls {summary}" for summary in summaries]


def _print_next_steps() -> None:
    say("\n── What to try next " + "─" * 54)
    say(
        "  make dev          runs these servers until Ctrl-C, with a Web UI on http://127.0.0.1:8233; then"
    )
    say("  " + start_command(agent="dependency-review", value="openai", run_id="r1"))
    say(f"  {temporal_command()} workflow result --workflow-id r1")


def say(text: str) -> None:
    """Print a line of the demo."""
    print(text, flush=True)  # noqa: T201 a command-line program
