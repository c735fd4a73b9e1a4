"""Events of a pipeline: those that arrive as the signal `event`, and those that `emit` writes."""

from pydantic import JsonValue
from temporalio import workflow

from outlast.errors import BadRequest
from outlast.pipelines.requests import PipelineEvent
from outlast.pipelines.tasks import EmitBody, ListenBody
from outlast_workflows.pipelines.evaluation import Evaluator, TaskData

MAX_EVENTS = 500
"""Events that wait for a `listen`."""

MAX_EVENTS_BYTES = 500_000
"""Their size as JSON: a continue-as-new carries them."""


class Events:
    """The events that a pipeline has received and no task has consumed."""

    def __init__(self, events: list[dict[str, JsonValue]], evaluator: Evaluator) -> None:
        self._events = events
        self._evaluator = evaluator

    async def listen(self, data: TaskData, body: ListenBody) -> JsonValue:
        """Wait for events, and return them as an array. They are consumed together, at the end.

        So a run that continues as new meanwhile loses none: the next one waits for all of them again.
        """
        filters = [self._evaluator.value(data, each) for each in body.filters]
        wanted = [each if isinstance(each, dict) else {} for each in filters]
        # The handler of `event` adds events meanwhile, and other tasks consume them. No await follows.
        await workflow.wait_condition(lambda: self._matches(wanted, is_all=body.is_all) is not None)
        found = self._matches(wanted, is_all=body.is_all) or []
        for event in found:
            self._events.remove(event)
        return [event.get("data") if body.read == "data" else event for event in found]

    def _matches(
        self, filters: list[dict[str, JsonValue]], *, is_all: bool
    ) -> list[dict[str, JsonValue]] | None:
        """Return the events that the filters select, or None if some are missing."""
        if not is_all:
            for event in self._events:
                if not filters or any(_selects(each, event) for each in filters):
                    return [event]
            return None
        found: list[dict[str, JsonValue]] = []
        for each in filters:
            event_or_none = next(
                (
                    event
                    for event in self._events
                    if _selects(each, event) and not any(event is other for other in found)
                ),
                None,
            )
            if event_or_none is None:
                return None
            found.append(event_or_none)
        return found

    def emitted(self, data: TaskData, body: EmitBody) -> JsonValue:
        """Return the event of an `emit`, with the attributes that CloudEvents require."""
        event = self._evaluator.value(data, body.event)
        return {
            "id": str(workflow.uuid4()),
            "specversion": "1.0",
            "time": workflow.now().isoformat().replace("+00:00", "Z"),
            **(event if isinstance(event, dict) else {}),
        }


def _selects(wanted: dict[str, JsonValue], event: dict[str, JsonValue]) -> bool:
    return all(event.get(name) == value for name, value in wanted.items())


def add_event(
    events: list[dict[str, JsonValue]], event: PipelineEvent, *, size: int, total: int
) -> None:
    """Keep an event for a `listen`. Raises `BadRequest` if too many wait already."""
    if len(events) >= MAX_EVENTS or size + total > MAX_EVENTS_BYTES:
        raise BadRequest(f"{len(events):,} events already wait for a task, which is too many")
    events.append(event.model_dump(mode="json", exclude_unset=True))
