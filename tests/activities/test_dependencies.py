"""Dependencies of tools: opened once by a worker, on the loop of its tools, and closed when it drains."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from outlast_activities import tool_runner as runner_module
from outlast_activities.tool_runner import ToolRunner
from outlast_workers.task_queues import tool_runner
from structlog.testing import capture_logs
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from outlast import (
    Agent,
    DefinitionError,
    dependency,
    tool,
)
from outlast.agents.catalog import Catalog
from outlast.errors import NotReady
from outlast.testing import ScriptedModel, answer, call, calls
from tests.activities.shop_agents import (
    EVENTS,
    KEEPER,
    Shop,
    context,
    count,
    desk,
    greet,
    greet_in_thread,
    is_known,
    is_known_in_thread,
    look,
)
from tests.conditions import until
from tests.stage import catalog_of, on_stage, staged_settings


@pytest.fixture(autouse=True)
def _fresh() -> None:
    EVENTS.clear()


async def test_a_worker_opens_a_dependency_once_and_closes_it_when_it_drains(
    temporal: Client,
) -> None:
    steps = [
        calls(call("look", item="lamp"), call("count"), call("plain")),
        call("look", item="cup"),
        answer("done"),
    ]
    async with on_stage(temporal, ScriptedModel(steps), [KEEPER]) as stage:
        run = await stage.start(KEEPER)
        assert (await run.result()).output == "done"
        results = [entry.content for entry in await run.transcript() if entry.role == "tool"]
        assert EVENTS == ["open"]
        histories = await stage.chain(run)
    assert results == ['"lamp in shop"', '"shop from tool count"', '"plain"', '"cup in shop"']
    assert EVENTS == ["open", "close"]
    assert not any("Shop" in str(history.to_json()) for history in histories)


def _runner(catalog: Catalog) -> ToolRunner:
    return tool_runner(staged_settings(cached=1), catalog)


async def test_a_call_on_a_spare_loop_gets_a_dependency_of_that_loop() -> None:
    blocked, go_on = threading.Event(), threading.Event()

    async def block() -> str:
        """Block the event loop."""
        blocked.set()
        go_on.wait(20)
        return "late"

    blocker = tool(effect="read")(block)
    async with _runner(catalog_of([KEEPER], [blocker])) as runner:
        blocking = asyncio.create_task(runner.run(blocker, b"{}"))
        await asyncio.to_thread(blocked.wait, 20)
        assert await runner.run(look, b'{"item":"lamp"}', context()) == b'"lamp in shop"'
        go_on.set()
        await blocking
        assert EVENTS == ["open", "open"]
    assert EVENTS == ["open", "open", "close", "close"]


@dependency
def plain_shop() -> Iterator[Shop]:
    """Open a shop in a thread."""
    EVENTS.append(threading.current_thread().name[:4])
    yield Shop("plain")
    EVENTS.append("close")


@dependency
def returned_shop() -> Shop:
    """Return a shop, which needs no closing."""
    return Shop("returned")


@dependency
async def awaited_shop() -> Shop:
    """Return a shop from an async function."""
    return Shop("awaited", asyncio.get_running_loop())


@pytest.mark.parametrize(
    ("deps", "name"),
    [(plain_shop, "plain"), (returned_shop, "returned"), (awaited_shop, "awaited")],
)
async def test_a_dependency_can_be_any_function_without_arguments(deps: Any, name: str) -> None:
    agent = Agent(name="keeper", instructions="Keep.", tools=[count], deps=deps)
    async with _runner(catalog_of([agent])) as runner:
        result = await runner.run(count, b"{}", context())
    assert result.decode() == f'"{name} from tool count"'
    assert EVENTS in ([], ["tool", "close"])


async def _refused() -> AsyncIterator[Shop]:
    raise ConnectionRefusedError("port 5432")
    yield Shop()


async def _exits() -> Shop:
    raise SystemExit(3)


async def _nothing() -> AsyncIterator[Shop]:
    for _ in ():
        yield Shop()


def _stops() -> Shop:
    raise StopIteration


async def _slow() -> Shop:
    await asyncio.sleep(60)
    return Shop()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_refused, "ConnectionRefusedError: port 5432"),
        (_exits, "SystemExit: 3"),
        (_nothing, "RuntimeError: generator didn't yield"),
        (_stops, "StopIteration"),
        (_slow, "it took longer than 0.2 s"),
    ],
)
async def test_a_dependency_that_cannot_be_opened_is_one_line_at_start(
    function: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if function is _slow:
        monkeypatch.setattr(runner_module, "OPEN_WITHIN_S", 0.2)
    broken: Any = dependency(function)
    agent = Agent(name="keeper", instructions="Keep.", tools=[count], deps=broken)
    with pytest.raises(NotReady) as caught:
        async with _runner(catalog_of([agent])):
            pass
    line = str(caught.value)
    assert line.startswith(f"the dependency {function.__name__!r} (tests.activities.test_dep")
    assert reason in line
    assert "\n" not in line


async def test_a_dependency_that_does_not_close_is_abandoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner_module, "CLOSE_WITHIN_S", 0.2)

    @dependency
    async def sticky() -> AsyncIterator[Shop]:
        yield Shop()
        await asyncio.sleep(60)

    agent = Agent(name="keeper", instructions="Keep.", tools=[count], deps=sticky)
    started = time.monotonic()
    async with _runner(catalog_of([agent])):
        pass
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("error", [ValueError("closed twice"), SystemExit(1)])
async def test_an_error_while_closing_does_not_reach_the_worker(error: BaseException) -> None:
    @dependency
    async def fragile() -> AsyncIterator[Shop]:
        yield Shop()
        raise error

    agent = Agent(name="keeper", instructions="Keep.", tools=[count], deps=fragile)
    async with _runner(catalog_of([agent])):
        pass


async def test_a_worker_without_the_role_tools_opens_nothing() -> None:
    settings = staged_settings(cached=1).with_options({"roles": ("workflows",)})
    async with tool_runner(settings, catalog_of([KEEPER])):
        assert EVENTS == []


def test_a_tool_has_one_dependency_in_all_agents() -> None:
    other = Agent(name="other", instructions="Keep.", tools=[look], deps=returned_shop)
    with pytest.raises(
        DefinitionError, match="'look' gets the dependency 'returned_shop' in agent 'other'"
    ):
        catalog_of([KEEPER, other])


async def test_a_tool_without_an_agent_that_has_its_dependencies_is_one_line_at_start() -> None:
    with pytest.raises(NotReady, match="'look' needs dependencies of the type Shop, but no agent"):
        _runner(catalog_of([], [look]))


@pytest.mark.parametrize(
    ("check", "instructions"), [(is_known, greet), (is_known_in_thread, greet_in_thread)]
)
async def test_checks_and_instructions_get_the_dependencies_of_their_agent(
    temporal: Client, check: Any, instructions: Any
) -> None:
    model = ScriptedModel([answer({"order": "bank-1"}), answer({"order": "shop-1"})])
    async with on_stage(temporal, model, [desk(check, instructions)]) as stage:
        result = await stage.run("desk", "help", tenant="acme")
    assert result.output == {"order": "shop-1"}
    assert model.prompts[0].instructions == "You work at shop for acme: help."
    assert "acme has no order bank-1" in str(model.prompts[1].messages)
    assert EVENTS == ["open", "close"]


async def test_a_worker_without_tools_opens_what_its_checks_need() -> None:
    catalog = catalog_of([desk(is_known, "Help.")])
    assert catalog.dependencies == {}
    settings = staged_settings(cached=1).model_copy(update={"roles": ("workflows",)})
    async with tool_runner(settings, catalog):
        assert EVENTS == ["open"]
    others = settings.model_copy(update={"roles": ("tools", "generate")})
    EVENTS.clear()
    async with tool_runner(others, catalog):
        assert EVENTS == []


@pytest.mark.parametrize("called", [look, count])
async def test_a_dependency_that_ends_by_itself_is_opened_again(called: Any) -> None:
    breaks = threading.Event()

    async def background() -> None:
        while not breaks.is_set():
            await asyncio.sleep(0.01)
        breaks.clear()
        raise ConnectionResetError("by peer")

    @dependency
    async def fragile() -> AsyncIterator[Shop]:
        async with asyncio.TaskGroup() as group:
            EVENTS.append("open")
            watching = group.create_task(background())
            yield Shop(loop=asyncio.get_running_loop())
            watching.cancel()
        EVENTS.append("close")

    agent = Agent(name="keeper", instructions="Keep.", tools=[called], deps=fragile)
    arguments = b'{"item":"lamp"}' if called is look else b"{}"
    async with _runner(catalog_of([agent])) as runner:
        first = await runner.run(called, arguments, context())
        with capture_logs() as lines:
            breaks.set()
            await until(lambda: any(line["event"] == "dependency.lost" for line in lines))
        assert await runner.run(called, arguments, context()) == first
        assert EVENTS == ["open", "open"]
    assert EVENTS == ["open", "open", "close"]


async def test_a_dependency_that_could_not_be_opened_is_opened_by_the_next_call() -> None:
    refuses = [False, True, False]

    @dependency
    async def database() -> AsyncIterator[Shop]:
        if refuses.pop(0):
            raise ConnectionRefusedError("port 5432")
        yield Shop(loop=asyncio.get_running_loop())

    blocked, go_on = threading.Event(), threading.Event()

    async def block() -> None:
        """Block the event loop, so that other calls move to a spare loop."""
        blocked.set()
        go_on.wait(20)

    blocker = tool(effect="read")(block)
    agent = Agent(name="keeper", instructions="Keep.", tools=[look], deps=database)
    async with _runner(catalog_of([agent], [blocker])) as runner:
        blocking = asyncio.create_task(runner.run(blocker, b"{}"))
        await asyncio.to_thread(blocked.wait, 20)
        with pytest.raises(ApplicationError, match="port 5432"):
            await runner.run(look, b'{"item":"lamp"}', context())
        assert await runner.run(look, b'{"item":"lamp"}', context()) == b'"lamp in shop"'
        go_on.set()
        await blocking
