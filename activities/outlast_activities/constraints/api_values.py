"""The way back: values in the form of an API's schema, restored to the form of the original schema.

A restorer never fails. It returns a value of an unexpected form unchanged: the check then rejects it, and
the prompt is repeated.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from outlast.jsonschema.contradictions import types_of
from outlast.jsonschema.schemas import Schema

Restore = Callable[[JsonValue], JsonValue]

KEY, VALUE = "key", "value"
"""The properties of an entry, in the list that stands for a map."""

REST = "rest"
"""The property with the other items, in the object that stands for a tuple."""


def unchanged(value: JsonValue) -> JsonValue:
    """Return a value whose form is the original one."""
    return value


def item_name(index: int) -> str:
    """Return the name of the property that stands for an item of a tuple."""
    return f"item_{index + 1}"


def from_json_text(value: JsonValue) -> JsonValue:
    """Return the value in a JSON text, or the text if it is not JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def from_enum(texts: Mapping[str, JsonValue], *, folds: bool) -> Restore:
    """Return the restorer of an enum. `texts` has the original value of each text.

    With `folds`, a text that differs from one value in its case alone stands for that value.
    """
    folded: dict[str, list[str]] = {}
    for text in texts:
        folded.setdefault(text.casefold(), []).append(text)

    def restore(value: JsonValue) -> JsonValue:
        if not isinstance(value, str):
            return value
        if value in texts:
            return texts[value]
        alike = folded.get(value.casefold(), []) if folds else []
        return texts[alike[0]] if len(alike) == 1 else value

    return restore


def from_items(restore_item: Restore) -> Restore:
    """Return the restorer of a list."""
    if restore_item is unchanged:
        return unchanged
    return lambda value: (
        [restore_item(item) for item in value] if isinstance(value, list) else value
    )


def from_entries(restore_key: Restore, restore_value: Restore) -> Restore:
    """Return the restorer of a map that is a list of entries. Of two equal keys, the later one counts."""

    def restore(value: JsonValue) -> JsonValue:
        if not isinstance(value, list):
            return value
        restored: dict[str, JsonValue] = {}
        for entry in value:
            if not isinstance(entry, dict) or entry.keys() != {KEY, VALUE}:
                return value
            restored[str(restore_key(entry[KEY]))] = restore_value(entry[VALUE])
        return restored

    return restore


def from_tuple(restore_items: Sequence[Restore], restore_rest: Restore | None) -> Restore:
    """Return the restorer of a tuple that is an object. A missing item, or null, ends the tuple."""

    def restore(value: JsonValue) -> JsonValue:
        if not isinstance(value, dict):
            return value
        items: list[JsonValue] = []
        for index, restore_item in enumerate(restore_items):
            if item_name(index) not in value:
                return items
            items.append(restore_item(value[item_name(index)]))
        rest = value.get(REST)
        if restore_rest is not None and isinstance(rest, list):
            items += [restore_rest(item) for item in rest]
        return items

    return restore


@dataclass(frozen=True)
class Property:
    """How a property of the API's schema is restored.

    `drops_null` is whether null stands for a property that is missing.
    """

    name: str
    restore: Restore
    drops_null: bool = False


def from_object(properties: Mapping[str, Property]) -> Restore:
    """Return the restorer of an object. `properties` has the original of each property."""
    plain = all(
        own.restore is unchanged and not own.drops_null and own.name == name
        for name, own in properties.items()
    )
    if plain:
        return unchanged

    def restore(value: JsonValue) -> JsonValue:
        if not isinstance(value, dict):
            return value
        restored: dict[str, JsonValue] = {}
        for name, part in value.items():
            own = properties.get(name)
            if own is None:
                restored[name] = part
            elif part is not None or not own.drops_null:
                restored[own.name] = own.restore(part)
        return restored

    return restore


@dataclass(frozen=True)
class Branch:
    """One branch of a union: the schema for the API, the JSON types of its values, and the way back."""

    schema: Schema
    kinds: frozenset[str]
    restore: Restore


def from_union(branches: Sequence[Branch], fits: Callable[[JsonValue, Schema], bool]) -> Restore:
    """Return the restorer of a union: that of the first branch whose schema the value fits."""
    if all(branch.restore is unchanged for branch in branches):
        return unchanged

    def restore(value: JsonValue) -> JsonValue:
        kinds = set(types_of(value))
        possible = [branch for branch in branches if branch.kinds & kinds]
        if len(possible) > 1:
            possible = [b for b in possible if fits(value, b.schema)] or possible
        return possible[0].restore(value) if possible else value

    return restore


def unwrapped(restore: Restore) -> Restore:
    """Return the restorer of a value that an object with one property holds."""

    def unwrap(value: JsonValue) -> JsonValue:
        if isinstance(value, dict) and value.keys() == {VALUE}:
            return restore(value[VALUE])
        return value

    return unwrap
