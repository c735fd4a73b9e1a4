"""One worker and one decision page get every poisoned input at once: both answer, and other runs go on."""

import asyncio
import contextlib
import json
import sys
import time
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from outlast_workers.callback.links import Links
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowFailureError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from bench.scripted_model.scripts import Request, Step
from bench.scripted_model_server import ScriptedModelServer
from outlast import Client, OutlastError, Run, RunFailed
from outlast.errors import ModelFailure
from tests.acceptance.processes import ROOT, CallbackUnderTest, WorkerUnderTest
from tests.long.fuzz.poison import CHECKS, REQUESTS
from tests.long.poison.poison_inputs import ANSWERS, EDITS, FORM, LINKS, STARTS
from tests.stage import pending

ENDS_WITHIN_S = 10.0
ANSWERS_WITHIN_S = 1.0
"""How soon the worker and the page answer a health check, whatever else they do."""
LATE_S = 9.0
"""How much later an answer or an end may be because the machine is busy with other things.

A worker that hangs does not answer at all. The test prints the slowest answer, which is the measure."""
AT_ONCE = 3
"""Inputs that are sent at the same time: with more, each would wait for the others."""

TOOL_TEXTS = {
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
    "recurses": "recurses (call 1.1): RecursionError",
    "takes_memory": "takes_memory (call 1.1): MemoryError",
    "cannot_be_shown": "cannot_be_shown (call 1.1): Silent",
    "group": "group (call 1.1): ExceptionGroup",
    "base_group": "base_group (call 1.1): BaseExceptionGroup",
    "circle": "circle (call 1.1): the result cannot be written as JSON",
    "large": "large returned 50,000,002 bytes",
    "endless": "endless returned more than 256,000 values",
    "odd_names": "caf\ufffd",
    "shouts": "shouts (call 1.1): ValueError: hoarse",
    "closes_its_loop": "closes_its_loop (call 1.1)",
    "cancels_all": "cancels_all (call 1.1)",
    "blocks": "page",
    "blocks_for_good": "blocks_for_good: a",
    "hangs": "hangs: a",
}
"""What a run's failure, or its transcript, says about the call of a poisoned tool.

The last two took too long: on a busy machine the server notices it before their worker does.
"""

SLOW_TOOLS = ("blocks", "blocks_for_good", "hangs")
"""Tools that take 13 s by themselves, or hang in each of four attempts, which their timeout of 3 s ends."""


@dataclass
class Innocent:
    """Runs an innocent agent again and again."""

    client: Client
    slowest_s: float = 0
    runs: int = 0

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            async with asyncio.timeout(30):
                assert (await self.client.run("poisoned", "call:innocent")).output == "done"
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.runs += 1


@asynccontextmanager
async def polled(*urls: str) -> AsyncIterator[dict[str, float]]:
    """Ask for health until the block ends, and then fill in the slowest answers."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.long.poison.health_poller", *urls),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    slowest_s: dict[str, float] = {}
    try:
        yield slowest_s
    finally:
        output, _ = await asyncio.wait_for(process.communicate(b""), 60)
        slowest_s.update(json.loads(output))


@dataclass
class Site:
    """A worker, a decision page and a model server that answers with poison."""

    client: Client
    innocent: Innocent
    slowest_s: dict[str, float]
    page_port: int
    links: Links


def _script(request: Request) -> Step:
    text = json.dumps(request.messages).replace('"', " ").replace("\\n", " ")
    kind, _, name = next(
        (word for word in text.split() if word.startswith(("call:", "answer:", "check:", "pay:"))),
        "",
    ).partition(":")
    if request.assistant_messages or kind == "" or name in _GIVEN:
        return Step('{"answer":"done"}')
    if kind in ("call", "pay"):
        used = {
            "tool": name or "pay",
            "arguments": {} if name else {"when": "2026-01-01", "amount": 5},
        }
        return Step(json.dumps({"tool_calls": [used]}))
    _GIVEN.add(name)
    if kind == "answer":
        return _answer(name)
    try:
        return Step(json.dumps({"answer": _named(CHECKS, name)()[1]}))
    except RecursionError:  # it is a list of lists
        return Step('{"answer":' + "[" * 5_000 + "]" * 5_000 + "}")


_GIVEN: set[str] = set()
"""The names of the answers that the model server has given."""


def _answer(name: str) -> Step:
    step: Step = _named(ANSWERS, name)()
    return step


def _named(inputs: dict[str, Any], name: str) -> Any:
    return list(inputs.values())[int(name[1:])]


@asynccontextmanager
async def opened(tmp_path: Path) -> AsyncIterator[Site]:
    """Serve until the block ends; the worker must then end as it should."""
    port, page_port, secret = free_port(), free_port(), "a secret of many letters"
    temporal = TemporalServer(log_dir=tmp_path, port=free_port(), db=tmp_path / "temporal.db")
    async with temporal, ScriptedModelServer(_script) as model:
        worker = WorkerUnderTest(
            address=temporal.address,
            model_url=model.url,
            agents="tests.long.poison.poison_tools,tests.long.poison.poison_inputs",
            log=tmp_path / "worker.log",
            drain_s=1,
            settings={"OUTLAST_HEALTH__PORT": str(port)},
        )
        page = CallbackUnderTest(temporal.address, page_port, secret, log=tmp_path / "page.log")
        await worker.start()
        await page.start()
        client = await Client.connect(target_host=temporal.address)
        innocent = Innocent(client)
        running = asyncio.create_task(innocent.run())
        health = (f"http://127.0.0.1:{port}/livez", f"http://127.0.0.1:{page_port}/healthz")
        try:
            async with polled(*health) as slowest_s:
                yield Site(client, innocent, slowest_s, page_port, Links(secret))
                assert not running.done(), running
        finally:
            running.cancel()
            statuses = (await worker.terminate(), await page.terminate())
        assert statuses == (0, 0)


async def spoken(port: int, data: bytes) -> bytes:
    """Send bytes to a port, and return the first line of the answer; empty if there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(ConnectionError):
            return await reader.readline()
        return b""
    finally:
        writer.close()


# Each input: None if it ended as it should, else what was wrong.


async def started(site: Site, encoding: bytes, data: bytes) -> str | None:
    """A start is refused by the server or the run, by name, or its run ends."""
    try:
        handle = await site.client.temporal.start_workflow(
            "AgentWorkflow",
            RawValue(Payload(metadata={"encoding": encoding}, data=data)),
            id=f"poison-{uuid.uuid4().hex[:8]}",
            task_queue="agents",
        )
        await handle.result()
    except RPCError as error:
        return None if "size limit" in str(error) or "larger" in str(error) else str(error)
    except WorkflowFailureError as error:
        return _unnamed(error.cause)
    return None


def _unnamed(cause: BaseException | None) -> str | None:
    kinds = {kind.__name__ for kind in _leaves(OutlastError)} | set(ModelFailure)
    is_named = isinstance(cause, ApplicationError) and cause.type in kinds
    is_short = isinstance(cause, ApplicationError) and len(cause.message) < 2_000
    return None if is_named and is_short else repr(cause)[:300]


def _leaves(kind: type[Any]) -> Iterable[type[Any]]:
    for each in kind.__subclasses__():
        yield each
        yield from _leaves(each)


async def answered(site: Site, value: str, **options: Any) -> str | None:
    """A run with a poisoned answer of its model completes, or fails with a class of model failures."""
    run = await site.client.start(None if "spec" in options else "plain", value, **options)
    try:
        result = await run.result()
    except RunFailed as error:
        is_named = error.cause_type in (*ModelFailure, "BadRequest")
        return None if is_named else f"{error.cause_type}: {error.message}"
    return None if result.status == "completed" else result.status


async def checked(site: Site, position: int) -> str | None:
    """A schema of a `spec` is refused, or the answer that was made for it is."""
    schema, _ = list(CHECKS.values())[position]()
    spec = {"instructions": "x", "output": {"anyOf": [schema, {"const": "done"}]}}
    try:
        return await answered(site, f"check:c{position}", spec=spec)
    except OutlastError as error:
        return None if len(str(error)) < 2_000 else str(error)[:200]


async def called(site: Site, name: str) -> str | None:
    """A call of a poisoned tool ends with its own failure."""
    run = await site.client.start("poisoned", f"call:{name}")
    try:
        await run.result()
        seen = " ".join(str(entry.content) for entry in await run.transcript())
    except RunFailed as error:
        seen = error.message
    return None if TOOL_TEXTS[name] in seen else seen[:300]


async def linked(site: Site, run: Run, token: str, name: str) -> str | None:
    """A poisoned request to the page gets an error, or no answer, and settles nothing."""
    line = await spoken(site.page_port, LINKS[name](token))
    if line and not line.split(b" ", 2)[1].startswith((b"4", b"5")):
        return line.decode()
    return await _settled(run)


async def edited(site: Site, run: Run, token: str, name: str) -> str | None:
    """A poisoned edit gets a page that says what is wrong, and settles nothing."""
    request = await pending(run)
    fields = {
        "decision": "edit",
        "by": "mallory",
        "comment": "",
        "arguments_hash": request.arguments_hash,
        "arguments": EDITS[name](),
    }
    body = urllib.parse.urlencode(fields, errors="surrogatepass").encode()
    head = f"POST /r/{token} HTTP/1.1\r\nHost: page\r\n{FORM}\r\nConnection: close\r\n"
    line = await spoken(
        site.page_port, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    )
    if not line.split(b" ", 2)[1].startswith((b"2", b"4")):
        return line.decode()
    return await _settled(run)


async def _settled(run: Run) -> str | None:
    return None if await run.pending_requests() else "its request is settled"


async def timed(
    limit: asyncio.Semaphore, name: str, work: Callable[[], Awaitable[str | None]]
) -> tuple[str, str | None, float]:
    """Return what was wrong with an input, and how long it took."""
    async with limit:
        began = time.monotonic()
        try:
            async with asyncio.timeout(60):
                wrong = await work()
        except TimeoutError:
            wrong = "it did not end"
        return name, wrong, time.monotonic() - began


def _kinds(site: Site, run: Run, token: str) -> dict[str, dict[str, Callable[[], Any]]]:
    def later(work: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Callable[[], Any]:
        return lambda: work(site, *arguments)

    def as_json(name: str) -> bytes:
        return json.dumps(REQUESTS[name]()).encode()

    return {
        "start": {
            **{name: later(started, *STARTS[name]()) for name in STARTS},
            **{name: later(started, b"json/plain", as_json(name)) for name in REQUESTS},
        },
        "answer": {
            name: later(answered, f"answer:a{position}") for position, name in enumerate(ANSWERS)
        },
        "check": {name: later(checked, position) for position, name in enumerate(CHECKS)},
        "tool": {name: later(called, name) for name in TOOL_TEXTS},
        "link": {name: later(linked, run, token, name) for name in LINKS},
        "edit": {name: later(edited, run, token, name) for name in EDITS},
    }


@pytest.mark.timeout(300)
async def test_poison_stops_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        run = await site.client.start("payer", "pay:")
        request = await pending(run)
        url = site.links.url(run.id, run.first_execution_run_id or "", request)
        kinds = _kinds(site, run, url.rpartition("/")[2])
        few, all_ = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(len(SLOW_TOOLS))
        ended = await asyncio.gather(
            *(
                timed(all_ if name in SLOW_TOOLS else few, f"{kind}: {name}", work)
                for kind, inputs in kinds.items()
                for name, work in inputs.items()
            )
        )
        wrong = {name: reason for name, reason, _ in ended if reason}
        assert not wrong, "\n".join(f"{name}: {reason}" for name, reason in wrong.items())
        await run.deny(await pending(run), by="ann")
        assert (await run.result()).output == "done"
    late = {
        name: round(took, 1)
        for name, _, took in ended
        if took > ENDS_WITHIN_S + LATE_S and name.removeprefix("tool: ") not in SLOW_TOOLS
    }
    slowest = sorted(((round(took, 1), name) for name, _, took in ended), reverse=True)[:5]
    print(f"\n{len(ended)} inputs; the slowest, in seconds: {slowest}")
    print(f"slowest answers of health checks: {site.slowest_s}")
    print(f"{site.innocent.runs} other runs; the slowest takes {site.innocent.slowest_s:.1f} s")
    assert not late
    assert max(site.slowest_s.values()) < ANSWERS_WITHIN_S + LATE_S
    assert site.innocent.runs > 5
    log = (tmp_path / "worker.log").read_text()
    assert '"tool.blocks_event_loop"' in log
    assert "Failed activating workflow" not in log
