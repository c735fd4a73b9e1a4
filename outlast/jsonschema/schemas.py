"""The type of a JSON Schema, as a value."""

from pydantic import JsonValue

Schema = dict[str, JsonValue]
