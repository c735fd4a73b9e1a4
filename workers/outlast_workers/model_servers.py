"""The model servers of a worker process: connected, awaited and probed before it polls for model calls."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import lru_cache, partial

import structlog
from outlast_activities.generation.activity import DEFAULT_SERVER
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.policies.recovery import RULES
from outlast_activities.providers.registry import adapter_of, connected
from outlast_activities.providers.targets import model_target

from outlast.contracts.agents import Way
from outlast.errors import ModelError, ModelFailure, NotReady
from outlast.model_server import (
    Completion,
    ModelServer,
    OnTokens,
    Prompt,
    ServerFacts,
)
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.model_servers import ModelSettings, server_options

REPORT_EVERY_S = 30.0
"""The interval between two warnings that a process still waits for a model server."""

PROBE_EVERY_S = 2.0
"""The interval between two probes of a server that does not answer yet."""

MAX_MODELS = 100
"""Models of legs, agents and specs that a worker calls besides the model of each server."""

log = structlog.get_logger("outlast.worker")


class WaitReport:
    """Logs that a process waits for a model server: at once, and then every `REPORT_EVERY_S`."""

    def __init__(
        self, name: str, url: str, until: float | None, clock: Callable[[], float]
    ) -> None:
        self._name = name
        self._url = url
        self._until = until
        self._clock = clock
        self._began = clock()
        self._next = self._began

    def add(self, error: ModelError) -> None:
        """Log the failure of a probe, if it is time."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + REPORT_EVERY_S
        key = f"OUTLAST_SERVERS__{self._name.upper()}__URL" if self._name else "OUTLAST_MODEL__URL"
        log.warning(
            "model.not_available",
            server=self._name or None,
            url=self._url,
            reason=str(error.message),
            waited_s=round(now - self._began),
            gives_up_in_s=None if self._until is None else max(0, round(self._until - now)),
            advice=f"start the model server, or set {key}; runs wait meanwhile; Ctrl-C stops the worker",
        )


class UnavailableServer:
    """Stands in for a server that could not be probed yet. Each call fails with the error of the probe."""

    def __init__(self, reason: ModelError) -> None:
        self._reason = reason

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        """Raise the error of the probe."""
        del prompt, on_tokens
        raise self._error()

    async def count_prompt_tokens(self, prompt: Prompt) -> int:
        """Return 0, so that `complete` is called and fails."""
        del prompt
        return 0

    async def probe(self) -> ServerFacts:
        """Raise the error of the probe."""
        raise self._error()

    async def is_reachable(self) -> bool:
        """Return False."""
        return False

    async def aclose(self) -> None:
        """Do nothing: there are no connections."""

    def _error(self) -> ModelError:
        return ModelError(f"not probed yet: {self._reason.message}", kind=self._reason.kind)


class ModelServers:
    """The model servers of a process by name.

    A server whose facts are in `known` is not probed again. New facts are added to `known`.
    """

    def __init__(
        self,
        settings: Mapping[str, ModelSettings],
        known: dict[str, ServerFacts] | None = None,
    ) -> None:
        self._settings = settings
        self._known = {} if known is None else known
        self._servers = {
            name: _connect(name, server, self._known.get(name)) for name, server in settings.items()
        }
        self._late_probes: list[asyncio.Task[None]] = []
        self._models: dict[tuple[str, str], Endpoint] = {}
        self._lock_of = lru_cache(maxsize=MAX_MODELS)(_new_lock)

    async def endpoints(self, stop: asyncio.Event) -> dict[str, Endpoint]:
        """Wait for the servers, probe them, and return their endpoints for the activities.

        A server that stays away is probed in the background, if another one answers. Raises `NotReady`
        if none answers, or if a server cannot be used. Returns nothing if `stop` is set meanwhile.
        """
        results = await asyncio.gather(*(self._wait_for(name, stop) for name in self._settings))
        if stop.is_set():
            return {}
        facts = dict(zip(self._settings, results, strict=True))
        errors = {name: error for name, error in facts.items() if isinstance(error, ModelError)}
        if len(errors) == len(facts):
            name, error = next(iter(errors.items()))
            raise NotReady(f"{_table(name)}: {error.message}")
        endpoints = {name: self._endpoint(name, result) for name, result in facts.items()}
        self._late_probes += [
            asyncio.create_task(self._probe_later(name, endpoints, stop)) for name in errors
        ]
        return endpoints

    async def are_reachable(self) -> bool:
        """Return whether any server answers."""
        answers = await asyncio.gather(*(_is_reachable(*each) for each in self._servers.items()))
        return any(answers)

    async def aclose(self) -> None:
        """Close the connections."""
        for task in self._late_probes:
            task.cancel()
        await asyncio.gather(*self._late_probes, return_exceptions=True)
        own = [endpoint.server for endpoint in self._models.values()]
        await asyncio.gather(*(server.aclose() for server in (*self._servers.values(), *own)))

    async def _wait_for(self, name: str, stop: asyncio.Event) -> ServerFacts | ModelError:
        """Probe a server until it answers, fails for good, or its time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings[name].start_within_s
        report = self._wait_report(name, until=deadline)
        while True:  # bounded by start_within_s
            facts = await self._probe(name)
            if not isinstance(facts, ModelError):
                return facts
            is_final = not RULES[facts.kind].retryable
            if is_final or stop.is_set() or loop.time() >= deadline:
                return facts
            report.add(facts)
            await _pause(stop)

    def _wait_report(self, name: str, *, until: float | None = None) -> "WaitReport":
        return WaitReport(
            name, str(self._settings[name].url), until, asyncio.get_running_loop().time
        )

    async def _probe_later(
        self, name: str, endpoints: dict[str, Endpoint], stop: asyncio.Event
    ) -> None:
        """Probe a server until it answers, and replace its stand-in."""
        report = self._wait_report(name)
        try:
            while isinstance(facts := await self._probe(name), ModelError):  # ends with the process
                report.add(facts)
                await _pause(stop)
            endpoints[name] = self._endpoint(name, facts)
        except NotReady as refusal:
            log.error("model.refused", server=name or None, reason=str(refusal))
        except Exception:  # an adapter can be of another package, and nobody awaits this task
            log.exception("model.probe_failed", server=name or None)

    async def _probe(self, name: str) -> ServerFacts | ModelError:
        if name in self._known:
            return self._known[name]
        try:
            facts = await self._servers[name].probe()
        except ModelError as error:
            return error
        _log_probed(name, self._settings[name], facts)
        self._known[name] = facts
        return facts

    async def _for_model(self, name: str, model: str) -> Endpoint:
        """Return the endpoint of another model of a server, which is probed when it is first used.

        Raises `ModelError` if the model cannot be used.
        """
        async with self._lock_of(name, model):
            known = self._models.get((name, model))
            if known is not None:
                return known
            if len(self._models) >= MAX_MODELS:
                raise ModelError(
                    f"this worker calls {MAX_MODELS} other models already, and not {model!r}: limit the"
                    " models of specs, or restart it",
                    kind=ModelFailure.UNKNOWN_MODEL,
                )
            key = f"{name} {model}"
            settings = self._settings[name].model_copy(update={"name": model})
            facts = self._known.get(key)
            server = _connect(name, settings, facts)
            try:
                facts = facts or await server.probe()
                endpoint = _endpoint_of(name, server, settings, facts)
            except NotReady as refusal:
                await server.aclose()
                raise ModelError(str(refusal), kind=ModelFailure.BAD_REQUEST) from None
            except BaseException:
                await server.aclose()
                raise
            _log_probed(name, settings, facts)
            self._known[key] = facts
            self._models[name, model] = endpoint
            return endpoint

    def _endpoint(self, name: str, facts: ServerFacts | ModelError) -> Endpoint:
        settings = self._settings[name]
        if isinstance(facts, ModelError):
            if not RULES[facts.kind].retryable:
                raise NotReady(f"{_table(name)}: {facts.message}")
            log.warning("model.absent", server=name or None, reason=str(facts.message))
            return Endpoint(UnavailableServer(facts), settings.max_tokens)
        endpoint = _endpoint_of(name, self._servers[name], settings, facts)
        return replace(endpoint, for_model=partial(self._for_model, name))


async def _is_reachable(name: str, server: ModelServer) -> bool:
    try:
        return await server.is_reachable()
    except Exception:  # an adapter can be of another package, and health must not stay as it was
        log.exception("model.check_failed", server=name or None)
        return False


def _new_lock(_name: str, _model: str) -> asyncio.Lock:
    return asyncio.Lock()


def _endpoint_of(
    name: str, server: ModelServer, settings: ModelSettings, facts: ServerFacts
) -> Endpoint:
    """Return the endpoint of a server that was probed. Raises `NotReady` if it cannot be used."""
    return Endpoint(
        server,
        settings.max_tokens,
        constrained=facts.constrained,
        ways=_ways(name, settings, facts),
        effort=settings.effort,
        target=model_target(name, settings.api, settings.url or "", facts.engine),
        model=settings.name or facts.model or None,
        images=facts.images if settings.images is None else settings.images,
        files=facts.files,
    )


def _log_probed(name: str, settings: ModelSettings, facts: ServerFacts) -> None:
    log.info(
        "model.probed",
        server=name or None,
        url=settings.url,
        engine=facts.engine,
        version=facts.version,
        model=facts.model,
        context_tokens=facts.context_tokens,
        constrained=facts.constrained,
        ways=",".join(facts.ways),
    )


def _ways(name: str, settings: ModelSettings, facts: ServerFacts) -> tuple[Way, ...]:
    """Return the ways in which a server is used, the default first. Raises `NotReady` if there is none."""
    ways: tuple[Way, ...] = facts.ways
    if not facts.constrained and not settings.allow_unconstrained:
        unconstrained: Way = "decision"
        ways = tuple[Way, ...](way for way in ways if way != unconstrained)
        if not ways or settings.way == "decision":
            raise NotReady(f"{_table(name)}: {_unconstrained(settings, facts)}")
    if settings.way is None:
        return ways
    if settings.way not in ways:
        raise NotReady(
            f"{_table(name)}: the model server at {settings.url} (model {facts.model!r}) cannot take way = "
            f'"{settings.way}"; it can take {", ".join(map(repr, ways))}'
        )
    others: list[Way] = [way for way in ways if way != settings.way]
    return (settings.way, *others)


def _unconstrained(settings: ModelSettings, facts: ServerFacts) -> str:
    server = f"{facts.engine} {facts.version or ''}".strip()
    return (
        f"the model server at {settings.url} ({server}, model {facts.model!r}) ignores the JSON Schema "
        f"of a request: {adapter_of(settings.api).constraint_advice}; or accept unconstrained "
        "answers, which are validated, with --allow-unconstrained"
    )


async def _pause(stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), PROBE_EVERY_S)
    except TimeoutError:
        return


@asynccontextmanager
async def open_model_servers(
    settings: Settings, known: dict[str, ServerFacts] | None = None
) -> AsyncIterator[ModelServers | None]:
    """Yield the model servers of a process with the role `generate`, or None without it.

    `known` holds the facts of servers that were probed on an earlier event loop. New facts are added.
    """
    if "generate" not in settings.roles:
        yield None
        return
    servers = {DEFAULT_SERVER: settings.model} if settings.model.url else {}
    servers |= settings.servers
    if not servers:
        raise NotReady(
            "the role 'generate' needs a model server: give --model-url (OUTLAST_MODEL__URL), or leave "
            "the role out with --roles workflows,tools"
        )
    model_servers = ModelServers(servers, known)
    try:
        yield model_servers
    finally:
        await model_servers.aclose()


def _connect(name: str, settings: ModelSettings, facts: ServerFacts | None) -> ModelServer:
    """Return the adapter of a server. Raises `NotReady` with its table in the settings."""
    try:
        return connected(server_options(settings), facts)
    except NotReady as error:
        raise NotReady(f"{_table(name)}: {error}") from None


def _table(name: str) -> str:
    """Return the table of the settings that describes a server."""
    return f"[servers.{name}]" if name else "[model]"
