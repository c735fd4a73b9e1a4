"""A Temporal server and workers in one process, for tests of agents: `outlast.testing.AgentEnvironment`."""

import asyncio
import contextlib
import inspect
import tempfile
import threading
import types
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from outlast_activities.generation.activity import DEFAULT_SERVER
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.policies.schema_checker import SchemaChecker
from outlast_activities.providers.registry import connected

from outlast.agents.agent import Agent
from outlast.agents.catalog import Catalog
from outlast.agents.dependencies import Dependency
from outlast.agents.hooks import Hooks
from outlast.client.client import Client
from outlast.client.media import RunInput
from outlast.client.run_connection import RunConnection
from outlast.client.runs import Run
from outlast.contracts.agents import Leg, Route
from outlast.contracts.human import PendingRequest
from outlast.contracts.limits import Limits
from outlast.contracts.results import AgentResult
from outlast.errors import ModelError, ModelFailure, OutlastError, RunFailed, Unavailable
from outlast.model_server import (
    Completion,
    ModelServer,
    OnTokens,
    Prompt,
    ServerFacts,
    ServerOptions,
)
from outlast.testing import ScriptedModel
from outlast.text.json_text import from_json
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.media import MediaSettings
from outlast_workers.settings_sections.workers import QueuesSettings, RoutesSettings
from outlast_workers.task_queues import build_workers, polled_queues, run_workers, tool_runner

POLL_S = 0.05
"""How often to query whether a run waits for a person."""

RUN_WITHIN_S = 60.0
"""How long a run of a test may take, if the test does not say it."""

STARTS_WITHIN_S = 60.0
"""How long the server may take to start, and to stop."""

_Value = TypeVar("_Value")
Decide = Callable[[PendingRequest], Any]


class Environment:
    """A server and an event loop in a thread of its own, so that tests need no event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._opened = AsyncExitStack()
        self._client: Client | None = None
        self._media_store = ""

    def start(self) -> None:
        """Start the server."""
        self._thread.start()
        self._wait(self._start(), timeout_s=STARTS_WITHIN_S)

    def stop(self) -> None:
        """Stop the server and the thread."""
        try:
            self._wait(self._opened.aclose(), timeout_s=STARTS_WITHIN_S)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def run(self, agent: Agent[Any, Any], request: RunInput, **options: Any) -> AgentResult[Any]:
        """Run an agent, and return its result."""
        return self._wait(self._run(agent, request, **options))

    def _wait(self, work: Coroutine[Any, Any, _Value], *, timeout_s: float | None = None) -> _Value:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    async def _start(self) -> None:
        folder = Path(self._opened.enter_context(tempfile.TemporaryDirectory()))
        server = TemporalServer(log_dir=folder, port=free_port(), log_level="error")
        await self._opened.enter_async_context(server)
        self._media_store = (folder / "media").as_uri()
        self._client = await Client.connect(
            target_host=server.address, media_store=self._media_store
        )

    async def _run(  # noqa: PLR0913 the parameters of `AgentEnvironment.run`
        self,
        agent: Agent[Any, Any],
        request: RunInput,
        *,
        model: ModelServer,
        deps: Mapping[Dependency[Any], Any],
        decide: Decide | None,
        tenant: str,
        limits: Limits | None,
        hooks: Sequence[Hooks],
        within: timedelta | None,
    ) -> AgentResult[Any]:
        if self._client is None:
            raise AssertionError("the environment is not started: use it in a with block")
        settings, guard = _settings(self._media_store), _ModelGuard(model)
        catalog = _catalog(agent, deps, hooks)
        within_s = RUN_WITHIN_S if within is None else within.total_seconds()
        async with _closed_after(model), _serving(self._client, settings, catalog, guard):
            run = await self._client.start(
                agent, request, tenant=tenant, limits=limits, task_queue=settings.queue("workflows")
            )
            try:
                async with asyncio.timeout(within_s):
                    result = await _decided(run, decide)
            except TimeoutError:
                raise AssertionError(await self._late(run, within_s)) from None
            except RunFailed:
                guard.check()
                raise
        guard.check()
        if isinstance(model, ScriptedModel):
            model.assert_complete()
        return result

    async def _late(self, run: Run[Any], within_s: float) -> str:
        """Return that a run did not end, and what it waits for."""
        text = f"the run did not end within {within_s:g} s"
        if self._client is None:
            return text
        with contextlib.suppress(OutlastError):
            handle = self._client.temporal.get_workflow_handle(run.id)
            waiting = await RunConnection(handle).waiting(with_steps=True)
            text = "; ".join([text, *(entry.content for entry in waiting)])
        return text


async def _decided(run: Run[Any], decide: Decide | None) -> AgentResult[Any]:
    """Wait for the end of a run, and decide its requests meanwhile."""
    result = asyncio.create_task(run.result())
    try:
        while not result.done():  # bounded by the timeout of the caller
            await asyncio.wait([result], timeout=POLL_S)
            for request in [] if result.done() else await _pending(run):
                await _decide(run, request, decide)
        return await result
    finally:
        result.cancel()


async def _pending(run: Run[Any]) -> list[PendingRequest]:
    try:
        return await run.pending_requests()
    except Unavailable:
        return []


async def _decide(run: Run[Any], request: PendingRequest, decide: Decide | None) -> None:
    shown = f"{request.kind} of {request.tool}({request.arguments})"
    if decide is None:
        await run.cancel()
        raise AssertionError(f"the run waits for a person ({shown}): pass decide=")
    decided = decide(request)
    decided = await decided if inspect.isawaitable(decided) else decided
    if request.kind == "question":
        await run.answer(request, decided, by="test")
    elif decided is True:
        await run.approve(request, by="test")
    elif decided is False:
        await run.deny(request, by="test")
    else:
        await run.cancel()
        raise AssertionError(f"decide returned {decided!r} for the {shown}; return True or False")


class RealModel:
    """A real model server, with connections of its own in each run: `aclose` does not end its use.

    Raises `NotReady` if its options cannot be used. The server is probed in the first run only.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._facts: ServerFacts | None = None
        self._opened: ModelServer | None = connected(options, None)

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        """Return the completion of the server."""
        return await self._server().complete(prompt, on_tokens=on_tokens)

    async def count_prompt_tokens(self, prompt: Prompt) -> int:
        """Return the count of the server."""
        return await self._server().count_prompt_tokens(prompt)

    async def probe(self) -> ServerFacts:
        """Return the facts of the server."""
        self._facts = self._facts or await self._server().probe()
        return self._facts

    async def is_reachable(self) -> bool:
        """Return whether the server answers."""
        return await self._server().is_reachable()

    async def aclose(self) -> None:
        """Close the connections. The next call opens others."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()

    def _server(self) -> ModelServer:
        self._opened = self._opened or connected(self._options, self._facts)
        return self._opened


class _ModelGuard:
    """A model whose faults end the run at once, and then fail the test."""

    def __init__(self, model: ModelServer) -> None:
        self._model = model
        self._checker = SchemaChecker()
        self._fault: BaseException | None = None

    def check(self) -> None:
        """Raise the fault of the model, if it had one."""
        if self._fault is not None:
            raise self._fault from None

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        """Return the completion of the model, if it is possible in this turn."""
        try:
            completion = await self._model.complete(prompt, on_tokens=on_tokens)
            if isinstance(self._model, ScriptedModel) and not self._model.is_raw:
                self._check_decision(completion, prompt)
        except (asyncio.CancelledError, ModelError):
            raise
        except BaseException as error:
            # `pytest.fail` and `pytest.skip` raise no `Exception`.
            if isinstance(error, Exception) and not isinstance(error, AssertionError):
                raise
            self._fault = error
            raise ModelError(str(error), kind=ModelFailure.BAD_REQUEST) from error
        return completion

    def _check_decision(self, completion: Completion, prompt: Prompt) -> None:
        if completion.finish_reason != "stop":
            return
        problem = self._checker.problem(
            from_json(completion.text), prompt.schema, key=prompt.schema_key
        )
        if problem is not None:
            raise AssertionError(
                f"the step {completion.text} is not possible in this turn: {problem}"
            )

    async def count_prompt_tokens(self, prompt: Prompt) -> int:
        """Return the count of the model."""
        return await self._model.count_prompt_tokens(prompt)

    async def probe(self) -> ServerFacts:
        """Return the facts of the model."""
        return await self._model.probe()

    async def is_reachable(self) -> bool:
        """Return True."""
        return True

    async def aclose(self) -> None:
        """Close the model."""
        await self._model.aclose()


@asynccontextmanager
async def _closed_after(model: ModelServer) -> AsyncIterator[None]:
    """Close the connections of a model after a run; those of a user's adapter belong to the user."""
    try:
        yield
    finally:
        if isinstance(model, RealModel | ScriptedModel):
            await model.aclose()


@asynccontextmanager
async def _serving(
    client: Client, settings: Settings, catalog: Catalog, model: ModelServer
) -> AsyncIterator[None]:
    endpoints = {DEFAULT_SERVER: Endpoint(model, settings.model.max_tokens)}
    stop = asyncio.Event()
    async with tool_runner(settings, catalog) as runner:
        queues = polled_queues(
            client.temporal,
            settings,
            catalog,
            runner=runner,
            endpoints=endpoints,
            has_search_attributes=True,
        )
        workers = build_workers(client.temporal, settings, queues)
        serving = asyncio.create_task(run_workers(workers, stop, drain_s=0))
        try:
            yield
        finally:
            stop.set()
            await serving


def _catalog(
    agent: Agent[Any, Any], deps: Mapping[Dependency[Any], Any], hooks: Sequence[Hooks]
) -> Catalog:
    module = types.ModuleType("test")
    vars(module)["agent"] = agent
    vars(module).update({f"hooks_{number}": each for number, each in enumerate(hooks)})
    catalog = Catalog.of([module])
    needed = {*catalog.dependencies.values(), *catalog.agent_dependencies.values()}
    unknown = [each.name for each in deps if each not in needed]
    if unknown:
        raise AssertionError(f"deps: nothing of agent {agent.name!r} needs {unknown[0]!r}")
    fakes = {each: _fake(each, value) for each, value in deps.items()}

    def faked(known: Mapping[str, Dependency[Any]]) -> dict[str, Dependency[Any]]:
        return {name: fakes.get(dependency, dependency) for name, dependency in known.items()}

    return replace(
        catalog,
        dependencies=faked(catalog.dependencies),
        agent_dependencies=faked(catalog.agent_dependencies),
    )


def _fake(dependency: Dependency[Any], value: Any) -> Dependency[Any]:
    def fake() -> Any:
        return value

    fake.__name__ = dependency.name
    return Dependency(fake)


def _settings(media_store: str) -> Settings:
    """Return settings with task queues that no other run uses."""
    own = uuid.uuid4().hex[:8]

    def route(kind: str) -> Route:
        return Route(legs=(Leg(task_queue=f"{kind}-{own}"),))

    return Settings(
        roles=("workflows", "generate", "tools"),
        queues=QueuesSettings(
            workflows=f"agents-{own}", generate=f"generate-{own}", tools=f"tools-{own}"
        ),
        routes=RoutesSettings(generate=route("generate"), tools=route("tools")),
        media=MediaSettings(store=media_store),
        drain_s=0,
    )
