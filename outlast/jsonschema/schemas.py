"""The type of a JSON Schema, and the schema of a closed object."""

from pydantic import JsonValue

Schema = dict[str, JsonValue]


def closed_object(properties: Schema) -> Schema:
    """Return the schema of an object with these properties only, all of them required."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
