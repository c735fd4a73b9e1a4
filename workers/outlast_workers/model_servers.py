"""The model servers of a process: opened, waited for, and probed before anything relies on them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog
from outlast_activities.generation.activity import DEFAULT_SERVER
from outlast_activities.generation.attempt import Endpoint
from outlast_activities.policies.recovery import RULES
from outlast_activities.providers.chat_completions import ChatCompletions, Server
from outlast_activities.providers.probe import ServerFacts, needed, probe

from outlast.errors import ModelError, NotReady
from outlast.model_server import Completion, OnTokens, Prompt
from outlast_workers.settings import Settings
from outlast_workers.settings_sections import ModelSettings

LOOK_EVERY_S = 2.0
"""Between two looks whether a model server that is still loading is there."""

log = structlog.get_logger("outlast.worker")


class Absent:
    """Fulfils `Model` in the place of a server that was never there: no answer of it is relied on."""

    def __init__(self, reason: ModelError) -> None:
        self._reason = reason

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        """Fail as the server did when it was probed."""
        del prompt, on_tokens
        raise ModelError(f"not probed yet: {self._reason.message}", kind=self._reason.kind)

    async def most_prompt_tokens(self, prompt: Prompt) -> int:
        """Return nought: nothing is asked."""
        del prompt
        return 0


class ModelServers:
    """The model servers of a process by name; those that are `known` are not probed again."""

    def __init__(
        self, told: Mapping[str, ModelSettings], known: dict[str, ServerFacts] | None = None
    ) -> None:
        self._told = told
        self._known = {} if known is None else known
        self._adapters = {name: ChatCompletions(_server(one)) for name, one in told.items()}
        self._late: list[asyncio.Task[None]] = []

    async def probed(self, stop: asyncio.Event) -> dict[str, Endpoint]:
        """Wait until the servers are there, probe them, and return what the activities use.

        One that stays away is used all the same, as soon as it comes, if another one is there. Raises
        `NotReady` where none is, or one will not do; returns nothing when `stop` is set meanwhile.
        """
        facts = await asyncio.gather(*(self._facts(name, stop) for name in self._told))
        if stop.is_set():
            return {}
        absent = [one for one in facts if isinstance(one, ModelError)]
        if len(absent) == len(facts):
            raise NotReady(str(absent[0].message))
        endpoints = {
            name: self._endpoint(name, one) for name, one in zip(self._told, facts, strict=True)
        }
        for name, one in zip(self._told, facts, strict=True):
            if isinstance(one, ModelError):
                self._late.append(asyncio.create_task(self._awaited(name, endpoints, stop)))
        return endpoints

    async def _awaited(
        self, name: str, endpoints: dict[str, Endpoint], stop: asyncio.Event
    ) -> None:
        """Probe a server that was away, and is used as soon as it is there."""
        while isinstance(facts := await self._probed(name), ModelError):  # ends with the process
            await _pause(stop)
        try:
            endpoints[name] = self._endpoint(name, facts)
        except NotReady as refusal:
            log.error("model.refused", server=name or None, reason=str(refusal))

    async def are_reachable(self) -> bool:
        """Tell whether any of them answers."""
        answers = await asyncio.gather(
            *(adapter.is_reachable() for adapter in self._adapters.values())
        )
        return any(answers)

    async def aclose(self) -> None:
        """Close the connections."""
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)
        await asyncio.gather(*(adapter.aclose() for adapter in self._adapters.values()))

    async def _facts(self, name: str, stop: asyncio.Event) -> ServerFacts | ModelError:
        told = self._told[name]
        loop = asyncio.get_running_loop()
        until = loop.time() + told.start_within_s
        waiting = False
        while True:  # bounded by start_within_s
            facts = await self._probed(name)
            if not isinstance(facts, ModelError):
                return facts
            final = not RULES[facts.kind].retryable
            if final or stop.is_set() or loop.time() >= until:
                return facts
            if not waiting:
                log.info("model.waited_for", server=name or None, reason=str(facts.message))
            waiting = True
            await _pause(stop)

    async def _probed(self, name: str) -> ServerFacts | ModelError:
        told = self._told[name]
        if name in self._known:
            self._adapters[name].engine = self._known[name].engine
            return self._known[name]
        try:
            facts = await probe(self._adapters[name], engine=told.engine)
        except ModelError as error:
            return error
        log.info(
            "model.probed",
            server=name or None,
            url=told.url,
            engine=facts.engine,
            version=facts.version,
            model=facts.model,
            context_tokens=facts.context_tokens,
            constrained=facts.constrained,
        )
        self._known[name] = facts
        return facts

    def _endpoint(self, name: str, facts: ServerFacts | ModelError) -> Endpoint:
        adapter, told = self._adapters[name], self._told[name]
        if isinstance(facts, ModelError):
            if not RULES[facts.kind].retryable:
                raise NotReady(str(facts.message))
            log.warning("model.absent", server=name or None, reason=str(facts.message))
            return Endpoint(Absent(facts), told.max_tokens)
        if not facts.constrained and not told.allow_unconstrained:
            raise NotReady(needed(adapter, facts))
        return Endpoint(adapter, told.max_tokens, constrained=facts.constrained)


async def _pause(stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)
    except TimeoutError:
        return


@asynccontextmanager
async def opened(
    settings: Settings, known: dict[str, ServerFacts] | None = None
) -> AsyncIterator[ModelServers | None]:
    """Yield the model servers of a process that has the role `generate`, else None.

    `known` is what was learned of them on an earlier event loop, and is added to.
    """
    if "generate" not in settings.roles:
        yield None
        return
    told = {DEFAULT_SERVER: settings.model} if settings.model.url else {}
    told |= settings.servers
    if not told:
        raise NotReady(
            "the role 'generate' needs a model server: give --model-url (OUTLAST_MODEL__URL), or leave "
            "the role out with --roles workflows,tools"
        )
    servers = ModelServers(told, known)
    try:
        yield servers
    finally:
        await servers.aclose()


def _server(told: ModelSettings) -> Server:
    return Server(
        url=told.url or "",
        api=told.api,
        api_key=told.api_key.get_secret_value() if told.api_key else None,
        model=told.name,
        timeout_s=told.timeout_s,
        gap_s=told.gap_s,
        temperature=told.temperature,
        session_header=told.session_header,
    )
