"""Plausible values of a JSON Schema, as a model writes them that reads the schema and its descriptions."""

import json
import random
import re
import re._constants as regex  # type: ignore[import-not-found] # no other module parses patterns
import re._parser as regex_parser  # type: ignore[import-not-found]
from typing import Any

MAX_DEPTH = 6
"""Levels after which the values are as small as the schema allows."""

FORMATS = {
    "date": "2026-11-26",
    "date-time": "2026-11-26T10:00:00Z",
    "time": "10:00:00Z",
    "duration": "PT90M",
    "email": "ann@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "uri": "https://example.org/a",
}

_REMARK = re.compile(r"(\w+): (\"(?:[^\"\\]|\\.)*\"|\[[^\]]*\]|[^;)]+)[;)]")


def plausible(schema: Any, random_: random.Random, root: Any = None, depth: int = 0) -> Any:
    """Return a value that satisfies a schema, and the limits in its description."""
    root = schema if root is None else root
    if "$ref" in schema:
        target = root
        for step in schema["$ref"].split("/")[1:]:
            target = target[step]
        return plausible(target, random_, root, depth + 1)
    if "anyOf" in schema:
        branches = schema["anyOf"]
        if depth > MAX_DEPTH:
            scalars = [
                branch for branch in branches if branch.get("type") not in ("object", "array")
            ]
            branches = [branch for branch in scalars if "$ref" not in branch] or branches
        return plausible(random_.choice(branches), random_, root, depth + 1)
    if "enum" in schema:
        return random_.choice(schema["enum"])
    if "const" in schema:
        return schema["const"]
    limits = {**_remarks(schema.get("description", "")), **schema}
    kind = schema.get("type")
    kind = random_.choice(kind) if isinstance(kind, list) else kind
    match kind:
        case "object":
            return _object(schema, random_, root, depth)
        case "array":
            return _array(limits, random_, root, depth)
        case "string":
            return _text(limits, random_)
        case "integer" | "number":
            return _number(limits, random_, whole=kind == "integer")
        case "boolean":
            return random_.random() < 0.5
        case "null":
            return None
    return "anything"


def _remarks(description: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    start = description.rfind("(")
    for name, value in _REMARK.findall(description[start:] if start >= 0 else ""):
        try:
            found[name] = json.loads(value)
        except ValueError:
            continue
    if "a JSON value, written as a JSON text" in description:
        found["json_text"] = True
    if "one of " in description and start >= 0:
        listed = description[start:].partition("one of ")[2].rstrip(")")
        found["one_of"] = json.loads(f"[{listed}]")
    return found


def _object(schema: Any, random_: random.Random, root: Any, depth: int) -> dict[str, Any]:
    required = schema.get("required", [])
    return {
        name: plausible(part, random_, root, depth + 1)
        for name, part in schema.get("properties", {}).items()
        if name in required or (depth <= MAX_DEPTH and random_.random() < 0.5)
    }


def _array(schema: Any, random_: random.Random, root: Any, depth: int) -> list[Any]:
    first = [plausible(part, random_, root, depth + 1) for part in schema.get("prefixItems", [])]
    least = max(schema.get("minItems", 0), schema.get("minProperties", 0)) - len(first)
    most = schema.get("maxItems", schema.get("maxProperties", max(least, 0) + 2)) - len(first)
    count = (
        max(least, 0) if depth > MAX_DEPTH else random_.randint(max(least, 0), max(most, least, 0))
    )
    items: list[Any] = list(first)
    for _ in range(50):
        if len(items) >= count + len(first) or not isinstance(schema.get("items"), dict):
            break
        item = plausible(schema["items"], random_, root, depth + 1)
        is_entry = isinstance(item, dict) and item.keys() == {"key", "value"}
        taken = [other["key"] for other in items] if is_entry and items else []
        if (schema.get("uniqueItems") and item in items) or (is_entry and item["key"] in taken):
            continue
        items.append(item)
    return items


def _text(schema: Any, random_: random.Random) -> str:
    if schema.get("json_text"):
        return random_.choice(('{"a": 1}', "[1, 2]", '"text"', "7", "null", "true"))
    if "one_of" in schema:
        return str(random_.choice(schema["one_of"]))
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    least, most = schema.get("minLength", 0), schema.get("maxLength", 1_000)
    if "pattern" in schema:
        for _ in range(50):
            text = matching(schema["pattern"], random_)
            if least <= len(text) <= most:
                return text
    return "plausible text"[: max(most, 0)].ljust(least, "x")


def _number(schema: Any, random_: random.Random, *, whole: bool) -> Any:
    if "one_of" in schema:
        return random_.choice(schema["one_of"])
    step = schema.get("multipleOf", 1 if whole else 0.5)
    low = schema.get("minimum", schema.get("exclusiveMinimum", -(10**6)))
    high = schema.get("maximum", schema.get("exclusiveMaximum", 10**6))
    for count in range(int(low // step), int(low // step) + 2_000):
        value = count * step
        if low <= value <= high and value not in (
            schema.get("exclusiveMinimum"),
            schema.get("exclusiveMaximum"),
        ):
            return int(value) if whole else value
    return low


def matching(pattern: str, random_: random.Random) -> str:
    """Return a text that a simple pattern matches."""
    return "".join(_piece(part, random_) for part in regex_parser.parse(pattern))


def _piece(part: Any, random_: random.Random) -> str:
    kind, value = part
    if kind is regex.LITERAL:
        return chr(value)
    if kind is regex.ANY or kind is regex.NOT_LITERAL:
        return "x"
    if kind is regex.IN:
        return _member(random_.choice(value), random_)
    if kind in (regex.MAX_REPEAT, regex.MIN_REPEAT):
        least, most, inner = value
        count = random_.randint(least, min(most, least + 3))
        return "".join(_piece(piece, random_) for _ in range(count) for piece in inner)
    if kind is regex.SUBPATTERN:
        return "".join(_piece(piece, random_) for piece in value[-1])
    if kind is regex.BRANCH:
        return "".join(_piece(piece, random_) for piece in random_.choice(value[1]))
    if kind is regex.CATEGORY:
        return _member(part, random_)
    return ""


def _member(member: Any, random_: random.Random) -> str:
    kind, value = member
    if kind is regex.RANGE:
        return chr(random_.randint(*value))
    if kind is regex.LITERAL:
        return chr(value)
    return {"CATEGORY_DIGIT": "7", "CATEGORY_SPACE": " "}.get(str(value), "x")
