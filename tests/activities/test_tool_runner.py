"""Whatever a tool raises, returns or blocks: its call fails with the cause, and the worker goes on."""

import asyncio
import contextvars
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from outlast_activities.tool_code import Outcome, outcome_future
from outlast_activities.tool_loop import BLOCKED_AFTER_S
from outlast_activities.tool_runner import ToolRunner
from structlog.testing import capture_logs
from temporalio import activity
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from outlast import tool
from outlast.agents.tools import Tool
from outlast.temporal.plugin import OutlastPlugin
from tests.activities.tool_exceptions import ERRORS
from tests.conditions import WITHIN_S, until

CALM_S = 0.5
"""How much longer the worker's loop may wait than a thread of its own does on a busy machine."""


@pytest.fixture
async def runner() -> ToolRunner:
    return ToolRunner(threads=4)


@pytest.fixture(autouse=True)
async def calm() -> AsyncIterator[None]:
    """Check that the worker's event loop is not held up during a test."""
    longest_s = longest_in_thread_s = 0.0
    is_over = threading.Event()

    async def watch() -> None:
        nonlocal longest_s
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.02)
            longest_s = max(longest_s, time.monotonic() - began - 0.02)

    def watch_thread() -> None:
        nonlocal longest_in_thread_s
        while not is_over.is_set():
            began = time.monotonic()
            time.sleep(0.02)
            longest_in_thread_s = max(longest_in_thread_s, time.monotonic() - began - 0.02)

    thread = threading.Thread(target=watch_thread)
    thread.start()
    watching = asyncio.create_task(watch())
    yield
    watching.cancel()
    is_over.set()
    thread.join()
    assert longest_s - longest_in_thread_s < CALM_S


def _raiser(error: Callable[[], BaseException]) -> Callable[[], None]:
    def fail() -> None:
        raise error()

    return fail


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize(
    ("error", "kind", "message"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS]
)
async def test_an_exception_is_the_failure_of_its_call(
    runner: ToolRunner, is_async: bool, error: Any, kind: str, message: str
) -> None:
    fail = _raiser(error)

    def plain() -> None:
        fail()

    async def on_loop() -> None:
        await asyncio.sleep(0)
        fail()

    acting: Tool[Any, ..., Any] = tool(effect="read", name="act")(on_loop if is_async else plain)
    with capture_logs() as logs, pytest.raises(ApplicationError) as raised:
        await runner.run(acting, b"{}")
    if not (is_async and kind in ("StopIteration", "StopAsyncIteration")):
        assert raised.value.type == kind  # Python itself makes a RuntimeError of these two
        assert message in raised.value.message
    failed = [entry for entry in logs if entry["event"] == "tool.failed"]
    assert [(each["tool"], each["error_type"]) for each in failed] == [("act", raised.value.type)]
    assert await runner.run(_answering(is_async=is_async), b"{}") == b'"yes"'
    await _crosses_the_wire(raised.value)


async def _crosses_the_wire(error: ApplicationError) -> None:
    """Check that the failure can be encoded, in a size that a server takes."""
    from temporalio.api.failure.v1 import Failure  # noqa: PLC0415

    [plugin_config] = [OutlastPlugin().configure_client({})]  # type: ignore[typeddict-item]
    converter: DataConverter = plugin_config["data_converter"]
    failure = Failure()
    await converter.encode_failure(error, failure)
    assert failure.application_failure_info.type == error.type
    assert failure.ByteSize() < 300_000


def _answering(*, is_async: bool) -> Tool[Any, ..., Any]:
    def plain() -> str:
        return "yes"

    async def on_loop() -> str:
        await asyncio.sleep(0)
        return "yes"

    made: Tool[Any, ..., Any] = tool(effect="read", name="answer")(on_loop if is_async else plain)
    return made


async def _exit_in_a_task() -> None:
    async def leave() -> None:
        sys.exit(4)

    await asyncio.create_task(leave())


async def _exit_in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(sys.exit)
    await asyncio.sleep(0.1)


async def _interrupt_in_a_group() -> None:
    async def leave() -> None:
        raise KeyboardInterrupt

    async with asyncio.TaskGroup() as group:
        group.create_task(leave())


async def _stop_the_loop() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.1)


async def _cancel_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


async def _cancel_all_others() -> None:
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            task.cancel()


async def _close_the_loop() -> None:
    asyncio.get_running_loop().close()


async def _run_another_loop() -> None:
    sleeping = asyncio.sleep(0)
    try:
        asyncio.run(sleeping)
    finally:
        sleeping.close()


async def _complete_elsewhere() -> None:
    activity.raise_complete_async()


@pytest.mark.parametrize(
    "function",
    [
        _exit_in_a_task,
        _exit_in_a_callback,
        _interrupt_in_a_group,
        _stop_the_loop,
        _cancel_itself,
        _cancel_all_others,
        _close_the_loop,
        _run_another_loop,
        _complete_elsewhere,
    ],
)
async def test_what_an_async_tool_does_to_its_loop_spares_the_worker(
    runner: ToolRunner, function: Any
) -> None:
    try:
        async with asyncio.timeout(WITHIN_S):
            await runner.run(tool(effect="read", name="act")(function), b"{}")
    except ApplicationError as error:
        assert error.type  # noqa: PT017
    assert await runner.run(_answering(is_async=True), b"{}") == b'"yes"'


async def test_a_blocking_async_tool_is_named_and_others_go_on(runner: ToolRunner) -> None:
    begun, release = threading.Event(), threading.Event()

    @tool(effect="read")
    async def fetch() -> str:
        """Fetch."""
        begun.set()
        release.wait(60)
        return "page"

    with capture_logs() as logs:
        fetching = asyncio.create_task(runner.run(fetch, b"{}"))
        await until(begun.is_set)
        async with asyncio.timeout(WITHIN_S):
            # It waits on the blocked loop, and moves to another.
            assert await runner.run(_answering(is_async=True), b"{}") == b'"yes"'
            # The next ones begin on the other loop at once.
            assert min([await _answered_in_s(runner) for _ in range(5)]) < BLOCKED_AFTER_S
        assert "fetch blocks the event loop of async tools for" in runner.blocked_text()
    [line] = [entry for entry in logs if entry["event"] == "tool.blocks_event_loop"]
    assert line["tool"] == "fetch"
    assert line["place"].startswith("test_tool_runner.py:")
    release.set()
    assert await fetching == b'"page"'
    await until(lambda: runner.blocked_text() == "")


async def _answered_in_s(runner: ToolRunner) -> float:
    began = time.monotonic()
    assert await runner.run(_answering(is_async=True), b"{}") == b'"yes"'
    return time.monotonic() - began


async def test_a_blocking_subtask_has_the_name_of_its_tool(runner: ToolRunner) -> None:
    seen = threading.Event()

    @tool(effect="read")
    async def gather() -> int:
        """Gather."""

        async def part() -> int:
            seen.wait(60)
            return 1

        return sum(await asyncio.gather(part(), asyncio.sleep(0, 2)))

    with capture_logs() as logs:
        gathering = asyncio.create_task(runner.run(gather, b"{}"))
        await until(lambda: any("tool" in entry for entry in logs))
        seen.set()
        assert await gathering == b"3"
    assert {entry["tool"] for entry in logs if "tool" in entry} == {"gather"}


async def test_primitives_and_context_are_shared_between_tools(runner: ToolRunner) -> None:
    label: contextvars.ContextVar[str] = contextvars.ContextVar("label", default="none")
    event = asyncio.Event()

    @tool(effect="read")
    async def wait() -> str:
        """Wait."""
        await event.wait()
        return label.get()

    @tool(effect="read")
    async def wake() -> str:
        """Wake."""
        event.set()
        return await asyncio.to_thread(label.get)

    @tool(effect="read")
    def plain() -> str:
        """Read."""
        return label.get()

    label.set("run 1")
    async with asyncio.timeout(WITHIN_S):
        waiting = asyncio.create_task(runner.run(wait, b"{}"))
        await asyncio.sleep(0.05)
        assert await runner.run(wake, b"{}") == b'"run 1"'
        assert await waiting == b'"run 1"'
        assert await runner.run(plain, b"{}") == b'"run 1"'


async def test_a_cancelled_call_is_cancelled_on_its_loop(runner: ToolRunner) -> None:
    begun = threading.Event()
    ended: list[str] = []

    @tool(effect="read")
    async def wait() -> None:
        """Wait."""
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.append("cleaned up")

    waiting = asyncio.create_task(runner.run(wait, b"{}"))
    await until(begun.is_set)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == ["cleaned up"]


async def test_plain_calls_that_hang_are_bounded_and_named(
    runner: ToolRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast_activities.tool_runner.MAX_HUNG_CALLS", 2)
    begun, release = threading.Event(), threading.Event()

    @tool(effect="read")
    def hang() -> None:
        """Hang."""
        begun.set()
        release.wait(60)

    for _ in range(2):
        begun.clear()
        hanging = asyncio.create_task(runner.run(hang, b"{}"))
        await until(begun.is_set)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
    with pytest.raises(ApplicationError, match="2 calls hang on this worker.*: hang; restart it"):
        await runner.run(_answering(is_async=False), b"{}")
    release.set()
    async with asyncio.timeout(WITHIN_S):
        while await _is_refused(runner):
            await asyncio.sleep(0.01)


async def test_a_call_whose_thread_ends_as_it_is_abandoned_does_not_count_as_hanging(
    runner: ToolRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[Callable[[], None]] = []

    def held_future() -> tuple[asyncio.Future[Outcome], Callable[[Outcome], None]]:
        """Return a future whose loop is too busy to learn that the thread has ended."""
        future, end = outcome_future()
        return future, lambda outcome: ends.append(partial(end, outcome))

    monkeypatch.setattr("outlast_activities.tool_runner.MAX_HUNG_CALLS", 1)
    with monkeypatch.context() as patch:
        patch.setattr("outlast_activities.tool_runner.outcome_future", held_future)
        abandoned = asyncio.create_task(runner.run(_answering(is_async=False), b"{}"))
        await until(lambda: bool(ends))
        abandoned.cancel()
        with pytest.raises(asyncio.CancelledError):
            await abandoned
    assert await _is_refused(runner)
    ends[0]()
    async with asyncio.timeout(WITHIN_S):
        while await _is_refused(runner):
            await asyncio.sleep(0.01)


async def _is_refused(runner: ToolRunner) -> bool:
    try:
        assert await runner.run(_answering(is_async=False), b"{}") == b'"yes"'
    except ApplicationError:
        return True
    return False
