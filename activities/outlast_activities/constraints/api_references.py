"""References of a schema: their targets, which of them are recursive, and their names for an API."""

import re
from typing import Any

from outlast.jsonschema.schemas import Schema
from outlast_activities.constraints.api_nodes import references_in

_UNSAFE_NAME = re.compile(r"[^A-Za-z0-9_-]+")

MAX_NAME = 60
"""Characters of the name of a definition. A number may follow."""


class SchemaReferences:
    """The references of one canonical schema."""

    def __init__(self, root: Schema) -> None:
        self._root = {key: value for key, value in root.items() if key != "$defs"}
        self._definitions: Any = root.get("$defs", {})
        self._direct: dict[str, list[str]] = {}
        self._reachable: dict[str, set[str]] = {}
        self._names: dict[str, str] = {}

    def target(self, reference: str) -> Any:
        """Return the schema that a reference names."""
        if reference == "#":
            return self._root
        return self._definitions.get(reference.removeprefix("#/$defs/"), True)

    def is_recursive(self, reference: str) -> bool:
        """Return whether a definition contains itself."""
        return reference in self.reachable(reference)

    def reachable(self, reference: str) -> set[str]:
        """Return all references that a definition has, directly or not."""
        if reference not in self._reachable:
            found: set[str] = set()
            waiting = [reference]
            while waiting:
                for other in self._direct_of(waiting.pop()):
                    if other not in found:
                        found.add(other)
                        waiting.append(other)
            self._reachable[reference] = found
        return self._reachable[reference]

    def _direct_of(self, reference: str) -> list[str]:
        if reference not in self._direct:
            self._direct[reference] = list(references_in(self.target(reference)))
        return self._direct[reference]

    def name(self, reference: str) -> str:
        """Return the name of a definition for the API. Different references have different names."""
        if reference not in self._names:
            wanted = _UNSAFE_NAME.sub("_", reference.removeprefix("#/$defs/"))[:MAX_NAME] or "_"
            name, number = wanted, 2
            while name in self._names.values():
                name, number = f"{wanted}_{number}", number + 1
            self._names[reference] = name
        return self._names[reference]
