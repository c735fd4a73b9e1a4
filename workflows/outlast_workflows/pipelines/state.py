"""The state of a pipeline: serialisable, with one owner, and carried over a continue-as-new.

The interpreter is recursive, so its stack cannot be carried. Instead, each list of tasks, loop, fork and
try under way has a cursor, by its address. The next run starts the document anew, and each of them goes on
at its cursor.
"""

from datetime import datetime

from pydantic import BaseModel, JsonValue

from outlast.contracts.base import WireModel
from outlast.contracts.http_calls import HttpAuthentication
from outlast.errors import RunTooLarge
from outlast_workflows.state import MAX_CARRIED_BYTES, InboundState, RunState, recent_settled


class Cursor(BaseModel):
    """Where a list, a loop, a fork or a try is.

    In a list, `place` is the task, and `data` its raw input. `entered` is whether its body has begun, with
    `input`, the transformed one. In a loop, `place` is the index, and `items` are what it goes over.
    `outputs` and `errors` are those of the items or branches that have ended. In a `try`, `place` is the
    attempt, and `error` what its handler gets.
    """

    place: int = 0
    data: JsonValue = None
    entered: bool = False
    input: JsonValue = None
    items: list[JsonValue] = []
    outputs: dict[int, JsonValue] = {}
    errors: dict[int, JsonValue] = {}
    error: JsonValue = None
    began_at: datetime | None = None
    strands: str = ""
    """Begins the places of the branches, or of the items that run at the same time."""


class Strand(BaseModel):
    """A branch or an item that runs beside others: how many calls and forks it has begun itself."""

    place: str = ""
    """Begins the places of its calls."""
    calls: int = 0
    forks: int = 0


class RemoteTask(BaseModel):
    """A task of an A2A agent for which a task of the pipeline waits."""

    url: str
    tenant: str
    id: str
    context_id: str
    message_id: str
    """Begins the ids of further messages. It is the id of the first, if the document names that."""
    began_at: datetime
    authentication: HttpAuthentication | None = None
    history_length: int | None = None
    answers: int = 0
    """Answers of people that were sent to the agent."""
    answered_status: str = ""
    """The `status_id` of the last question that was answered."""
    answered_at: datetime | None = None


class PipelineState(BaseModel):
    """Everything that a pipeline knows, except what people sent to it."""

    run: RunState
    """The tools, limits and route, in the form that the parts of agent runs use."""
    document: dict[str, JsonValue]
    language: str
    """The version of the expressions with which the run started."""
    raw_input: JsonValue = None
    input: JsonValue = None
    context: JsonValue = None
    cursors: dict[str, Cursor] = {}
    task_runs: int = 0
    call_count: int = 0
    has_strands: bool = False
    """Whether branches number their calls apart; false in a run that an older build began."""
    strands: dict[str, Strand] = {}
    """The branches under way, by address."""
    agent_runs: int = 0
    timers: dict[str, datetime] = {}
    """When the timers under way end, by the address of their task."""
    remote_tasks: dict[str, RemoteTask] = {}
    """The tasks of agents under way, by the address of the task that waits for each."""
    events: list[dict[str, JsonValue]] = []
    """Events that no `listen` has consumed."""

    def carried_with(self, inbound: InboundState) -> "CarriedPipeline":
        """Return the input of the next run; raises `RunTooLarge` if it does not fit."""
        carried = CarriedPipeline(
            pipeline_state=self.model_copy(deep=True),
            inbound=inbound.model_copy(update={"settled": recent_settled(inbound.settled)}),
        )
        size = len(carried.model_dump_json().encode())
        if size > MAX_CARRIED_BYTES:
            raise RunTooLarge(
                f"the state of the pipeline has {size:,} bytes, and {MAX_CARRIED_BYTES:,} are allowed: keep"
                " less data between tasks, with 'output.as' and 'export.as'"
            )
        return carried


class CarriedPipeline(WireModel):
    """The input of the next run of a pipeline."""

    pipeline_state: PipelineState
    inbound: InboundState
