"""Contexts: what functions of a user know about their run or their tool call, and their dependencies."""

import copy
import json
from dataclasses import dataclass
from typing import Any, Generic, Self, get_args, get_origin

from pydantic import JsonValue
from typing_extensions import TypeVar

from outlast.agents.leases import Lease

MAX_CHECKPOINT_BYTES = 64_000
"""Size as JSON. Heartbeats carry the checkpoint, and the server stores each of them."""

Deps_co = TypeVar("Deps_co", covariant=True, default=None)


@dataclass
class CallState:
    """What changes during a tool call: its newest checkpoint, and the lease of its attempt."""

    checkpoint: JsonValue = None
    lease: Lease | None = None


class RunContext(Generic[Deps_co]):
    """What a check of answers, or a function of instructions, knows about its run.

    A function gets it if its first parameter has this type.

    - `deps` are the dependencies of the agent, of the type `Deps`.
    - `workflow_id` is the id of the run, as `Run.id`; `workflow_run_id` is Temporal's id of its execution.
    - `tenant` is the tenant of the run.
    """

    def __init__(
        self,
        *,
        deps: Deps_co = None,  # type: ignore[assignment]  # the default of the type
        workflow_id: str = "",
        workflow_run_id: str = "",
        tenant: str = "default",
    ) -> None:
        self.deps = deps
        self.workflow_id = workflow_id
        self.workflow_run_id = workflow_run_id
        self.tenant = tenant

    def __repr__(self) -> str:
        return f"<outlast.RunContext {self.workflow_id!r}>"

    def with_deps(self, deps: Any) -> Self:
        """Return the same context with dependencies. The worker calls it."""
        context = copy.copy(self)
        context.deps = deps
        return context


class ToolContext(RunContext[Deps_co]):
    """What a tool knows about its call. A tool gets it if its first parameter has this type.

    - `deps`, `workflow_id`, `workflow_run_id` and `tenant` are those of `RunContext`.
    - `turn` and `call_id` name the call in the run: `3.1` is the first call of turn 3.
    - `attempt` is the number of the attempt, from 1. Attempts that the shutdown of a worker ended do
      not count.

    The worker sends heartbeats by itself. In a unit test, create a context with the values that the tool
    needs: `refund(ToolContext(deps=FakeShop()), "A-1042")`.
    """

    def __init__(  # noqa: PLR0913 all of them are named
        self,
        *,
        deps: Deps_co = None,  # type: ignore[assignment]  # the default of the type
        workflow_id: str = "",
        workflow_run_id: str = "",
        tenant: str = "default",
        turn: int = 0,
        call_id: str = "",
        attempt: int = 1,
        idempotency_key: str = "",
        state: CallState | None = None,
    ) -> None:
        super().__init__(
            deps=deps, workflow_id=workflow_id, workflow_run_id=workflow_run_id, tenant=tenant
        )
        self.turn = turn
        self.call_id = call_id
        self.attempt = attempt
        self._key = idempotency_key
        self._state = CallState() if state is None else state

    def __repr__(self) -> str:
        return f"<outlast.ToolContext {self.workflow_id!r}, call {self.call_id!r}>"

    @property
    def idempotency_key(self) -> str:
        """The key of the call, which is the same in all of its attempts.

        Pass it to the system that a `write` changes, so that the system can recognise a repetition. A
        `compensate` or `verify` tool gets the key of the call that it belongs to. The key is also the same
        after the run continued as new or was reset. If the caller of an agent is reset, the agent's calls
        have the same keys, except those with a `compensate` tool. Raises `AttemptLost` if the worker was
        frozen for so long that another one may make the call.
        """
        self._check_lease()
        return self._key

    @property
    def last_checkpoint(self) -> JsonValue:
        """The checkpoint that this or an earlier attempt of the call saved last, or None."""
        return self._state.checkpoint

    def save_checkpoint(self, value: JsonValue) -> None:
        """Save the progress of the call as JSON of at most 64 kB; the next heartbeat carries it.

        The next attempt, on any worker, reads it as `last_checkpoint`. A worker that shuts down passes on
        the newest checkpoint. After a crash, the checkpoint can be some seconds old. Raises `ValueError` if
        the value is too large or is not JSON, and `AttemptLost` if the worker was frozen for so long that
        another one may make the call.
        """
        self._check_lease()
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
            size = len(text.encode())
        except (TypeError, ValueError) as error:
            raise ValueError(f"a checkpoint must be JSON: {error}") from None
        if size > MAX_CHECKPOINT_BYTES:
            raise ValueError(
                f"a checkpoint has at most {MAX_CHECKPOINT_BYTES:,} bytes, not {size:,}"
            )
        # A copy, in the form that is read later: tuples become lists, and keys become text.
        self._state.checkpoint = json.loads(text)

    def _check_lease(self) -> None:
        if self._state.lease is not None:
            self._state.lease.check()


def is_context(hint: Any) -> bool:
    """Tell whether a type hint is a context, with or without a type of dependencies."""
    return (get_origin(hint) or hint) in (RunContext, ToolContext)


def deps_type_of(hint: Any) -> Any:
    """Return the type of dependencies in a hint such as `ToolContext[Shop]`; `type(None)` without one."""
    return next(iter(get_args(hint)), type(None))
