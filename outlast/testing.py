"""Tests of agents without a model server and without a key.

    def test_the_desk_pays(agent_environment: AgentEnvironment) -> None:
        model = ScriptedModel([call("pay", order_id="A-1"), answer({"refunded": True})])
        result = agent_environment.run(desk, "My lamp is broken", model=model)
        assert result.output.refunded

The pytest fixture `agent_environment` serves the agent on a real Temporal server. The first model call of
the run gets the first step of the script, the next call the next step, and so on. See docs/testing.md.
"""

import json
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from pydantic import JsonValue

from outlast.agents.agent import Agent
from outlast.agents.dependencies import Dependency
from outlast.agents.hooks import Hooks
from outlast.client.media import RunInput
from outlast.contracts.human import PendingRequest
from outlast.contracts.limits import Limits
from outlast.contracts.results import AgentResult, Answer
from outlast.jsonschema.plausible_values import plausible_value
from outlast.model_requests import VARIABLE
from outlast.model_server import (
    Completion,
    ModelServer,
    OnTokens,
    Prompt,
    ServerFacts,
    ServerOptions,
)
from outlast.text.json_text import JsonInput, from_json, plain_json, to_json
from outlast.turns import CallsTurn

Step: TypeAlias = "dict[str, JsonValue] | str | Exception | Callable[[Prompt], Any]"
"""A decision, a raw text, an error to raise, or a function of the prompt that returns one of these."""

CHARACTERS_PER_TOKEN = 4
"""A scripted model counts tokens by characters."""


_RECORDED_CHARACTERS = 200
"""Characters of the end of a prompt that a recording keeps beside an answer."""


class ScriptExhausted(AssertionError):
    """Raised when a scripted fake gets more calls than its script has steps."""


class ScriptUnfinished(AssertionError):
    """Raised when a run ended before it used all steps of a script."""


class ScriptedModel:
    """A fake `ModelServer` that answers with the steps of a script, in order.

    A step is a decision (`call`, `calls`, `answer`), a raw text, an error, or a function of the prompt.
    `prompts` holds the prompts that it received. With `repeat_last` the last step answers all later
    prompts; otherwise a further prompt raises `ScriptExhausted`. A token is four characters. An answer
    with more than the prompt's `max_tokens` is cut off, with `finish_reason` `length`.
    """

    def __init__(self, steps: Iterable[Step], *, repeat_last: bool = False) -> None:
        self._steps = list(steps)
        self._repeat_last = repeat_last
        self.prompts: list[Prompt] = []
        self.is_raw = False
        """Whether the last step was a raw text, which need not be a valid decision."""

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        """Return the next step of the script as a completion, or raise it."""
        position = len(self.prompts)
        if self._repeat_last:
            position = min(position, len(self._steps) - 1)
        if position >= len(self._steps):
            raise ScriptExhausted(
                f"the script has {len(self._steps)} steps; prompt {position + 1} came"
            )
        self.prompts.append(prompt)
        step: Any = self._steps[position]
        if callable(step):
            step = step(prompt)
            step = await step if hasattr(step, "__await__") else step
        if isinstance(step, Exception):
            raise step
        self.is_raw = isinstance(step, str)
        text = step if isinstance(step, str) else to_json(step)
        is_cut = len(text) > CHARACTERS_PER_TOKEN * prompt.max_tokens
        text = text[: CHARACTERS_PER_TOKEN * prompt.max_tokens]
        completion_tokens = max(1, len(text) // CHARACTERS_PER_TOKEN)
        if on_tokens is not None:
            on_tokens(completion_tokens)
        return Completion(
            text=text,
            finish_reason="length" if is_cut else "stop",
            prompt_tokens=_tokens_of(prompt),
            completion_tokens=completion_tokens,
            model="scripted",
        )

    def assert_complete(self) -> None:
        """Raise `ScriptUnfinished` if steps are left. `AgentEnvironment.run` calls it."""
        left = self._steps[len(self.prompts) :]
        if left:
            raise ScriptUnfinished(
                f"{len(left)} of {len(self._steps)} steps were not used; the next one is {left[0]!r:.200}"
            )

    async def count_prompt_tokens(self, prompt: Prompt) -> int:
        """Return the same count that `complete` reports."""
        return _tokens_of(prompt)

    async def probe(self) -> ServerFacts:
        """Return the facts of a server that enforces schemas. It uses no step of the script."""
        return ServerFacts("scripted", None, "scripted", None, constrained=True)

    async def is_reachable(self) -> bool:
        """Return True."""
        return True

    async def aclose(self) -> None:
        """Do nothing: there are no connections."""


class PlausibleModel(ScriptedModel):
    """A fake `ModelServer` that calls each tool once, and then answers.

    Arguments and answers are the smallest values of their schemas: defaults, the first value of an
    enumeration, the smallest number. It cannot guess text that must match a pattern: use `ScriptedModel`.
    """

    def __init__(self) -> None:
        super().__init__([_plausible_decision], repeat_last=True)


def _plausible_decision(prompt: Prompt) -> Any:
    called = {
        call.tool for turn in prompt.turns if isinstance(turn, CallsTurn) for call in turn.calls
    }
    for tool in prompt.allowed_tools:
        if tool.name not in called or not prompt.may_answer:
            return call(tool.name, **_arguments(plausible_value(dict(tool.parameters))))
    options: list[Any] = [prompt.schema, *prompt.schema.get("anyOf", [])]
    (answered,) = [entry for entry in options if "answer" in entry.get("properties", {})]
    shared = {"$defs": prompt.schema.get("$defs", {})}
    return answer(plausible_value({**answered["properties"]["answer"], **shared}))


def _arguments(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}


class RecordedModel(ScriptedModel):
    """A `ModelServer` that records the answers of a real one in a file, and replays them later.

    With a `server`, it asks that server and writes the file anew. Without one, it replays the file: the
    prompts must end as they did, in the same order. Record once with a key, and let tests replay.
    """

    def __init__(self, file: Path, server: ModelServer | None = None) -> None:
        self._file = file
        self._server = server
        self._recorded: list[dict[str, Any]] = []
        super().__init__([self._next], repeat_last=True)
        if server is None:
            if not file.exists():
                raise FileNotFoundError(
                    f"{file}: there is no recording; pass server= once to record it"
                )
            self._recorded = json.loads(file.read_text(encoding="utf-8"))

    async def _next(self, prompt: Prompt) -> Any:
        position, key = len(self.prompts) - 1, _tail(prompt)
        if self._server is not None:
            text = (await self._server.complete(prompt)).text
            self._recorded.append({"prompt": key, "answer": _readable(text)})
            recorded = json.dumps(self._recorded, indent=2, ensure_ascii=False)
            self._file.write_text(recorded + "\n", encoding="utf-8")
            return text
        if position >= len(self._recorded):
            raise ScriptExhausted(
                f"{self._file} has {len(self._recorded)} answers; prompt {position + 1} came:"
                " record it again"
            )
        entry = self._recorded[position]
        if entry["prompt"] != key:
            raise ScriptExhausted(
                f"prompt {position + 1} differs from {self._file}: it ends with {key!r}, and the"
                f" recorded one with {entry['prompt']!r}: record it again, or let tools return what does"
                " not change from run to run"
            )
        recorded_answer = entry["answer"]
        return recorded_answer if isinstance(recorded_answer, str) else to_json(recorded_answer)

    async def probe(self) -> ServerFacts:
        """Return the facts of the server that is recorded, or of a script."""
        return await (super().probe() if self._server is None else self._server.probe())

    async def aclose(self) -> None:
        """Close the connections to the server that is recorded."""
        if self._server is not None:
            await self._server.aclose()

    def assert_complete(self) -> None:
        """Raise `ScriptUnfinished` if recorded answers are left."""
        left = len(self._recorded) - len(self.prompts)
        if left > 0:
            raise ScriptUnfinished(f"{left} answers of {self._file} were not used")


def _readable(text: str) -> JsonValue:
    """Return a decision as JSON, and any other answer of a model as the text that it is."""
    try:
        value = from_json(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text


def _tail(prompt: Prompt) -> str:
    return str(prompt.messages[-1]["content"])[-_RECORDED_CHARACTERS:]


def real_model(options: ServerOptions) -> ModelServer:
    """Return a real model server, to record its answers or to evaluate an agent with it.

    It needs the extra `outlast[workers]`. Raises `NotReady` if the options cannot be used, or if
    `allow_model_requests(False)` forbids it.
    """
    from outlast_workers.local.agent_environment import RealModel  # noqa: PLC0415 an extra

    return RealModel(options)


def allow_model_requests(allowed: bool) -> None:  # noqa: FBT001 reads well in a call
    """Allow or forbid connections to real model servers, in this process and those that it starts.

    If they are forbidden, a worker with a real model server raises `NotReady` at its start. Call
    `allow_model_requests(False)` in `conftest.py`.
    """
    if allowed:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = "false"


class AgentEnvironment:
    """Runs agents in tests: on a real Temporal server of its own, and with a fake model.

    The fixture `agent_environment` is one for all tests of a session. Otherwise use it as a context
    manager. It needs the extra `outlast[workers]`. Raises `NotReady` if the server cannot start.
    """

    def __init__(self) -> None:
        from outlast_workers.local.agent_environment import Environment  # noqa: PLC0415 an extra

        self._environment: Environment = Environment()

    def __enter__(self) -> Self:
        """Start the server."""
        self._environment.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self._environment.stop()

    def run(  # noqa: PLR0913 a run's options, each with a default
        self,
        agent: Agent[Any, Answer],
        input: RunInput,  # noqa: A002 the contract's word
        *,
        model: ModelServer,
        deps: Mapping[Dependency[Any], Any] | None = None,
        decide: Callable[[PendingRequest], "JsonInput | Awaitable[JsonInput]"] | None = None,
        tenant: str = "default",
        limits: Limits | None = None,
        hooks: Sequence[Hooks] = (),
        within: timedelta | None = None,
    ) -> AgentResult[Answer]:
        """Run an agent with its tools, and return the result.

        `deps` are values in place of dependencies: `{shop: FakeShop()}`. `decide` decides about approvals
        and questions: it returns True or False for an approval, and the answer for a question. `hooks`
        are those of the worker.

        Raises `AssertionError` if the script of the model has too few or too many steps, if a step is not
        possible in its turn, if a person must decide and there is no `decide`, or if the run does not end
        `within` this time, by default a minute. Raises `RunFailed` if the run fails.
        """
        return self._environment.run(
            agent,
            input,
            model=model,
            deps=deps or {},
            decide=decide,
            tenant=tenant,
            limits=limits,
            hooks=hooks,
            within=within,
        )


def _tokens_of(prompt: Prompt) -> int:
    return len(json.dumps(prompt.messages)) // CHARACTERS_PER_TOKEN


def call(tool: str, **arguments: JsonInput) -> dict[str, JsonValue]:
    """Return the decision to call one tool."""
    return {"tool_calls": [{"tool": tool, "arguments": plain_json(arguments)}]}


def calls(*decisions: dict[str, Any]) -> dict[str, JsonValue]:
    """Return one decision that makes the tool calls of several decisions in parallel."""
    return {
        "tool_calls": [tool_call for decision in decisions for tool_call in decision["tool_calls"]]
    }


def answer(value: JsonInput) -> dict[str, JsonValue]:
    """Return the decision to end with an answer."""
    return {"answer": plain_json(value)}
