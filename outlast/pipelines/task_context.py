"""What the bodies of tasks are read with: their fields, variables, siblings and definitions."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from outlast.pipelines.fields import Fields
from outlast.pipelines.places import below
from outlast.pipelines.tasks import (
    TaskList,
)

Variables = frozenset[str]

_EMPTY = TaskList(())


@dataclass(frozen=True)
class Definitions:
    """What `use` defines for the whole document, as JSON."""

    errors: dict[str, JsonValue]
    retries: dict[str, JsonValue]
    timeouts: dict[str, JsonValue]
    authentications: dict[str, JsonValue]
    secrets: tuple[str, ...]

    def fields(self, owner: Fields, name: str, kind: str, what: str) -> Fields | None:
        """Return the fields of a value that is in the document, or that `use` defines under its name."""
        value, place = owner.raw(name), owner.at(name)
        if name not in owner:
            return None
        if isinstance(value, str):
            known: dict[str, JsonValue] = getattr(self, kind)
            if value not in known:
                owner.problems.unknown(place, f"name in use.{kind}", value, list(known))
                return None
            return Fields(owner.problems, known[value], below(f"/use/{kind}", value), what)
        return Fields(owner.problems, value, place, what)


class ListReader(Protocol):
    """Reads a list of tasks below the current one."""

    def __call__(self, value: JsonValue, place: str, variables: Variables) -> TaskList:
        """Return the tasks."""
        ...


@dataclass(frozen=True)
class TaskContext:
    """What the body of a task is read with."""

    fields: Fields
    variables: Variables
    siblings: Collection[str]
    read_list: ListReader
    definitions: Definitions

    def tasks(self, fields: Fields, name: str, variables: Variables) -> TaskList:
        """Return the list of tasks in a required field."""
        value = fields.raw(name, required=True)
        if name not in fields:
            return _EMPTY
        return self.read_list(value, fields.at(name), variables)

    def directive(self, fields: Fields, name: str, *, required: bool = False) -> str:
        """Return a flow directive: `continue`, `exit`, `end`, or a task of the same list."""
        value = fields.text(name, default="" if required else "continue", required=required)
        known = (*FLOW, *self.siblings)
        if value and value not in known:
            fields.problems.unknown(fields.at(name), "task", value, known)
        return value or "continue"


FLOW = ("continue", "exit", "end")
"""The flow directives that are not the name of a task."""
