"""Reading `emit` and `listen`: tasks that write events, and wait for them."""

from typing import Literal

from outlast.pipelines.bounds import (
    MAX_EVENT_FILTERS,
)
from outlast.pipelines.fields import Fields, quoted
from outlast.pipelines.places import below
from outlast.pipelines.task_context import TaskContext, Variables
from outlast.pipelines.tasks import (
    Body,
    EmitBody,
    ListenBody,
)
from outlast.pipelines.templates import Template


def read_emit(task: TaskContext) -> Body:
    """Return the body of an `emit`."""
    fields = Fields(task.fields.problems, task.fields.raw("emit"), task.fields.at("emit"), "'emit'")
    event = fields.inner("event", "an event")
    if event is None:
        fields.raw("event", required=True)
        return EmitBody(Template({}, {}))
    fields.close()
    attributes = event.inner("with", "the attributes of an event")
    if attributes is None:
        event.raw("with", required=True)
        return EmitBody(Template({}, {}))
    event.close()
    attributes.text("source", required=True)
    attributes.text("type", required=True)
    return EmitBody(event.template("with", task.variables))


def read_listen(task: TaskContext) -> Body:
    """Return the body of a `listen`."""
    fields = Fields(
        task.fields.problems, task.fields.raw("listen"), task.fields.at("listen"), "'listen'"
    )
    task.fields.reject("foreach", "is not supported; use 'for' over the output")
    read = fields.choice("read", ("data", "envelope", "raw"), default="data")
    to = Fields(fields.problems, fields.raw("to", required=True), fields.at("to"), "'to'")
    fields.close()
    to.reject("until", "is not supported; use 'any' in a 'for' with 'while'")
    modes = [mode for mode in ("one", "any", "all") if mode in to]
    if len(modes) != 1:
        fields.problems.add(to.place, "needs one of 'one', 'any' and 'all'")
        return ListenBody(is_all=False, filters=(), read="data")
    filters = _event_filters(to, modes[0], task.variables)
    to.close()
    kind: Literal["data", "envelope"] = "data" if read == "data" else "envelope"
    return ListenBody(is_all=modes[0] == "all", filters=filters, read=kind)


def _event_filters(to: Fields, mode: str, variables: Variables) -> tuple[Template, ...]:
    value, place = to.raw(mode), to.at(mode)
    many = value if mode != "one" and isinstance(value, list) else [value]
    if mode != "one" and not isinstance(value, list):
        to.problems.add(place, f"{quoted(value)} is not an array of events")
        return ()
    if len(many) > MAX_EVENT_FILTERS or (not many and mode == "all"):
        to.problems.add(place, f"has {len(many):,} events; 1 to {MAX_EVENT_FILTERS} are allowed")
        return ()
    filters = []
    for number, each in enumerate(many):
        at = place if mode == "one" else below(place, number)
        wanted = Fields(to.problems, each, at, "an event")
        wanted.reject("correlate", "is not supported; filter by 'with'")
        attributes = wanted.raw("with", required=True)
        if "with" in wanted and (not isinstance(attributes, dict) or not attributes):
            to.problems.add(wanted.at("with"), f"{quoted(attributes)} has no attributes")
        filters.append(wanted.template("with", variables))
        wanted.close()
    return tuple(filters)
