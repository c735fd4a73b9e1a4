"""Dependencies of tools: opened once by a worker, on the loop of its tools, and closed when it drains."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from outlast_activities import tool_runner as runner_module
from outlast_activities.tool_runner import ToolRunner
from outlast_workers.task_queues import tool_runner
from temporalio.client import Client

from outlast import (
    Agent,
    AgentRequest,
    DefinitionError,
    Retry,
    RunContext,
    ToolContext,
    dependency,
    tool,
)
from outlast.agents.catalog import Catalog
from outlast.errors import NotReady
from outlast.testing import ScriptedModel, answer, call, calls
from tests.stage import catalog_of, on_stage, staged_settings

EVENTS: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    EVENTS.clear()


@dataclass
class Shop:
    """What the tools of the tests need. It belongs to an event loop, as connections do."""

    name: str = "shop"
    loop: asyncio.AbstractEventLoop | None = None
    tasks: list[int] = field(default_factory=list)


@dependency
async def shop() -> AsyncIterator[Shop]:
    """Open a shop, in a task group, which must be closed by the task that opened it."""
    EVENTS.append("open")
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))
        yield Shop(loop=asyncio.get_running_loop())
    EVENTS.append("close")


@tool(effect="read")
async def look(context: ToolContext[Shop], item: str) -> str:
    """Look an item up."""
    assert context.deps.loop is asyncio.get_running_loop()
    return f"{item} in {context.deps.name}"


@tool(effect="read")
def count(context: ToolContext[Shop]) -> str:
    """Count, in a thread."""
    return f"{context.deps.name} from {threading.current_thread().name}"


@tool(effect="read")
async def plain() -> str:
    """Need nothing."""
    return "plain"


KEEPER = Agent(name="keeper", instructions="Keep.", tools=[look, count, plain], deps=shop)


def context() -> ToolContext:
    return ToolContext(call_id="1.1")


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


def test_an_agent_without_the_dependencies_of_its_tools_cannot_be_defined() -> None:
    with pytest.raises(DefinitionError, match="'look' needs dependencies of the type Shop; give"):
        Agent(name="keeper", instructions="Keep.", tools=[look])


def test_dependencies_of_a_companion_are_needed_too() -> None:
    @tool(effect="idempotent")
    def undo(context: ToolContext[Shop]) -> str:
        return context.deps.name

    booking = tool(effect="write", compensate=undo, name="book")(lambda_with_hints)
    with pytest.raises(DefinitionError, match="'undo' needs dependencies of the type Shop"):
        Agent(name="keeper", instructions="Keep.", tools=[booking])
    agent = Agent(name="keeper", instructions="Keep.", tools=[booking], deps=shop)
    assert catalog_of([agent]).dependencies == {"undo": shop}


def lambda_with_hints() -> str:
    """Book."""
    return ""


def test_a_tool_has_one_dependency_in_all_agents() -> None:
    other = Agent(name="other", instructions="Keep.", tools=[look], deps=returned_shop)
    with pytest.raises(
        DefinitionError, match="'look' gets the dependency 'returned_shop' in agent 'other'"
    ):
        catalog_of([KEEPER, other])


def test_two_dependencies_of_one_name_are_rejected() -> None:
    def opened() -> Shop:
        return Shop()

    opened.__name__ = "shop"
    twin = dependency(opened)
    one = Agent(name="one", instructions="Keep.", tools=[count], deps=twin)
    two = Agent(name="two", instructions="Keep.", tools=[look], deps=shop)
    with pytest.raises(DefinitionError, match="two dependencies are named 'shop'"):
        catalog_of([one, two])


async def test_a_tool_without_an_agent_that_has_its_dependencies_is_one_line_at_start() -> None:
    with pytest.raises(NotReady, match="'look' needs dependencies of the type Shop, but no agent"):
        _runner(catalog_of([], [look]))


def _needs(url: str) -> Shop:
    return Shop(url)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (_needs, "it has a parameter 'url', but the worker passes nothing"),
        (Shop, "is not a function"),
        (3, "is not a function"),
    ],
)
def test_a_dependency_that_cannot_be_called_is_rejected(value: Any, why: str) -> None:
    with pytest.raises(DefinitionError, match=why):
        dependency(value)


@pytest.mark.parametrize("value", [Shop(), Shop, shop.function])
def test_deps_that_are_not_a_dependency_are_rejected(value: Any) -> None:
    with pytest.raises(DefinitionError, match="is not a dependency; decorate its function"):
        Agent(name="keeper", instructions="Keep.", deps=value)


@dataclass
class Order:
    """An answer that names an order."""

    order: str


def _desk(check: Any, instructions: Any) -> Agent[Any, Any]:
    agent = Agent(name="desk", instructions=instructions, output=Order, deps=shop)
    agent.check(check)
    return agent


async def _greet(context: RunContext[Shop], request: AgentRequest) -> str:
    assert context.deps.loop is asyncio.get_running_loop()
    return f"You work at {context.deps.name} for {context.tenant}: {request.input}."


def _greet_in_thread(context: RunContext[Shop], request: AgentRequest) -> str:
    return f"You work at {context.deps.name} for {context.tenant}: {request.input}."


async def _is_known(context: RunContext[Shop], answer: Order) -> None:
    assert context.deps.loop is asyncio.get_running_loop()
    if answer.order != f"{context.deps.name}-1":
        raise Retry(f"{context.tenant} has no order {answer.order}")


def _is_known_in_thread(context: RunContext[Shop], answer: Order) -> None:
    if answer.order != f"{context.deps.name}-1":
        raise Retry(f"{context.tenant} has no order {answer.order}")


@pytest.mark.parametrize(
    ("check", "instructions"), [(_is_known, _greet), (_is_known_in_thread, _greet_in_thread)]
)
async def test_checks_and_instructions_get_the_dependencies_of_their_agent(
    temporal: Client, check: Any, instructions: Any
) -> None:
    model = ScriptedModel([answer({"order": "bank-1"}), answer({"order": "shop-1"})])
    async with on_stage(temporal, model, [_desk(check, instructions)]) as stage:
        result = await stage.run("desk", "help", tenant="acme")
    assert result.output == {"order": "shop-1"}
    assert model.prompts[0].instructions == "You work at shop for acme: help."
    assert "acme has no order bank-1" in str(model.prompts[1].messages)
    assert EVENTS == ["open", "close"]


async def test_a_worker_without_tools_opens_what_its_checks_need() -> None:
    catalog = catalog_of([_desk(_is_known, "Help.")])
    assert catalog.dependencies == {}
    settings = staged_settings(cached=1).model_copy(update={"roles": ("workflows",)})
    async with tool_runner(settings, catalog):
        assert EVENTS == ["open"]
    others = settings.model_copy(update={"roles": ("tools", "generate")})
    EVENTS.clear()
    async with tool_runner(others, catalog):
        assert EVENTS == []


def _takes_tool_context(context: ToolContext[Shop], answer: Order) -> None: ...


def _takes_three(context: RunContext[Shop], answer: Order, more: int) -> None: ...


def _takes_nothing() -> None: ...


def _takes_context_last(answer: Order, context: RunContext[Shop]) -> None: ...


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (
            _takes_tool_context,
            "takes a ToolContext, which only tools get: annotate it with RunContext",
        ),
        (_takes_three, "must take an answer, and may take a RunContext as its first parameter"),
        (_takes_nothing, "must take an answer, and may take a RunContext as its first parameter"),
        (_takes_context_last, "must take an answer, and may take a RunContext as its first"),
    ],
)
def test_a_check_that_cannot_be_called_is_rejected(check: Any, reason: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        _desk(check, "Help.")
    assert str(refused.value).startswith(f"agent 'desk': its check {check.__name__!r} {reason}")


def test_a_check_or_instructions_without_their_dependencies_are_rejected() -> None:
    agent: Any = Agent("desk", "Help.", output=Order)
    with pytest.raises(
        DefinitionError, match="its check '_is_known' needs dependencies of the type Shop"
    ):
        agent.check(_is_known)
    with pytest.raises(
        DefinitionError, match="'_greet' of its instructions needs dependencies of the"
    ):
        Agent("desk", _greet)
