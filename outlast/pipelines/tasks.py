"""The tasks of a pipeline, compiled: what the check of a document returns, and the workflow runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from outlast.contracts.a2a_calls import A2aMethod
from outlast.contracts.effects import Effect
from outlast.contracts.http_calls import HttpAuthentication, HttpOutput
from outlast.jsonschema.schemas import Schema
from outlast.pipelines.templates import Template


@dataclass(frozen=True)
class Duration:
    """A duration in seconds, or an expression for one: a text in ISO 8601, or an object."""

    seconds: float = 0
    expression: Template | None = None


@dataclass(frozen=True)
class TaskList:
    """Tasks that run one after the other, until a flow directive says otherwise."""

    tasks: tuple["Task", ...]

    def index_of(self, name: str) -> int:
        """Return the place of a task in the list; the check of the document has found it."""
        return next(place for place, task in enumerate(self.tasks) if task.name == name)


@dataclass(frozen=True)
class SetBody:
    """`set`: the output is the rendered value."""

    value: Template


@dataclass(frozen=True)
class Case:
    """One case of a `switch`; without `when`, it is the default."""

    name: str
    when: Template | None
    then: str


@dataclass(frozen=True)
class SwitchBody:
    """`switch`: the first case that applies decides which task is next."""

    cases: tuple[Case, ...]


@dataclass(frozen=True)
class DoBody:
    """`do`: tasks in a scope of their own."""

    tasks: TaskList


@dataclass(frozen=True)
class MapOptions:
    """`metadata.outlast` of a `for`: its items run at the same time, and do not see each other's output.

    If it is tolerant, an item that fails is part of the output, and does not end the loop. `stop_after` is
    the number of failures after which no new item starts; None if all items run.
    """

    concurrency: int
    is_tolerant: bool
    stop_after: int | None = None


@dataclass(frozen=True)
class ForBody:
    """`for`: tasks for each item of an array, one after the other, or as `map` says."""

    each: str
    at: str
    items: Template
    condition: Template | None
    tasks: TaskList
    map: MapOptions | None = None


@dataclass(frozen=True)
class ForkBody:
    """`fork`: branches at the same time; with `compete`, the first that ends wins."""

    branches: TaskList
    compete: bool


@dataclass(frozen=True)
class RetryPolicy:
    """`retry` of a `catch`. Limits that are None do not apply; `count` always does."""

    when: Template | None
    except_when: Template | None
    delay: Duration
    backoff: Literal["constant", "linear", "exponential"]
    count: int
    limit: Duration | None
    attempt_limit: Duration | None
    jitter: tuple[Duration, Duration] | None


@dataclass(frozen=True)
class Catch:
    """`catch`: which errors of a `try` are caught, and what happens then."""

    filter: Mapping[str, JsonValue]
    name: str
    when: Template | None
    except_when: Template | None
    retry: RetryPolicy | None
    tasks: TaskList | None


@dataclass(frozen=True)
class TryBody:
    """`try`: tasks whose errors `catch` handles."""

    tasks: TaskList
    catch: Catch


@dataclass(frozen=True)
class WaitBody:
    """`wait`: a timer."""

    duration: Duration


@dataclass(frozen=True)
class RaiseBody:
    """`raise`: ends the tasks around it with an error, until a `catch`."""

    error: Template


@dataclass(frozen=True)
class EmitBody:
    """`emit`: the output is a CloudEvent."""

    event: Template


@dataclass(frozen=True)
class ListenBody:
    """`listen`: waits for events, which arrive as the signal `event`."""

    is_all: bool
    """Whether it waits for one event of each filter, and not for the first of any."""
    filters: tuple[Template, ...]
    read: Literal["data", "envelope"]


@dataclass(frozen=True)
class AgentCall:
    """`call: agent`: a run of an agent as a child, which `request` starts like any other run."""

    name: str
    request: Template
    is_registered: bool = True
    """Whether it names an agent of the workers, and has no `spec`."""


@dataclass(frozen=True)
class ToolCall:
    """`call: tool`: a tool as an activity, with its effects, retries and approval."""

    tool: str
    arguments: Template


@dataclass(frozen=True)
class AskCall:
    """`call: ask`: a question for people of an audience."""

    question: Template
    audience: str
    answer_schema: Schema
    expires_s: float
    remind_s: float | None
    escalate: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Endpoint:
    """Where an HTTP call goes: an expression, or a text with `{name}` for fields of the input."""

    uri: Template
    is_template: bool
    authentication: HttpAuthentication | None


@dataclass(frozen=True)
class HttpCall:
    """`call: http`: a request, which a worker sends if its settings allow the host."""

    method: str
    effect: Effect
    endpoint: Endpoint
    headers: Template
    query: Template
    body: Template
    output: HttpOutput
    redirect: bool


@dataclass(frozen=True)
class OpenApiCall:
    """`call: openapi`: an operation of a document that a worker reads."""

    document: Endpoint
    operation_id: str
    arguments: Template
    authentication: HttpAuthentication | None
    output: HttpOutput
    redirect: bool


@dataclass(frozen=True)
class A2aCall:
    """`call: a2a`: a method of an agent elsewhere, which a worker calls if its settings allow the host."""

    method: A2aMethod
    endpoint: Endpoint
    """The server, or the card of the agent, which names it."""
    has_card: bool
    parameters: Template
    effect: Effect
    """Whether a message whose outcome is unknown is sent again, under the same id."""
    audience: str
    """Who answers what the agent asks. Empty if its questions are errors."""


Body = (
    SetBody | SwitchBody | DoBody | ForBody | ForkBody | TryBody | WaitBody | RaiseBody | EmitBody
    | ListenBody | AgentCall | ToolCall | AskCall | HttpCall | OpenApiCall
    | A2aCall
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One task: its name, its place in the document, what it does, and how its data is transformed."""

    name: str
    place: str
    body: Body
    condition: Template | None = None
    input_from: Template | None = None
    input_schema: Schema | None = None
    output_as: Template | None = None
    output_schema: Schema | None = None
    export_as: Template | None = None
    timeout: Duration | None = None
    then: str = "continue"


@dataclass(frozen=True)
class Pipeline:
    """A checked document.

    `tools`, `agents` and `audiences` are the names that it uses, with the JSON pointer of the first use.
    """

    namespace: str
    name: str
    version: str
    tasks: TaskList
    input_from: Template | None
    input_schema: Schema | None
    output_as: Template | None
    output_schema: Schema | None
    timeout: Duration | None
    tools: Mapping[str, str]
    agents: Mapping[str, str]
    audiences: Mapping[str, str]
    task_count: int
    makes_http_calls: bool = False
