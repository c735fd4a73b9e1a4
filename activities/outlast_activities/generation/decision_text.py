"""Reading a decision from the text of a model.

A server that enforces a schema may still add special tokens, such as `<|im_end|>`. A model whose server
does not enforce it also writes thoughts, prose and Markdown fences around its JSON.
"""

import json
import re
from typing import Any

from outlast.text.json_text import MAX_JSON_DEPTH, checked_json

_DECODER = json.JSONDecoder()

MAX_OBJECTS = 100
"""Places in a text at which an object may begin. A text with more has no decision."""

MAX_MARKS = 20_000
"""Braces and ends of thoughts in a text around a decision. A text with more has no decision."""

DECISION_KEYS = ("answer", "tool_calls")

BEGIN_OF_THOUGHTS = re.compile(
    r"\s*(?:<think(?:ing)?>|<thought>|<reasoning>|\[THINK\]|<\|channel\|>analysis)", re.IGNORECASE
)
_END = r"</think(?:ing)?>|</thought>|</reasoning>|\[/THINK\]|<\|channel\|>final<\|message\|>"
END_OF_THOUGHTS = re.compile(_END, re.IGNORECASE)
_MARK = re.compile(rf"[{{}}]|(?P<end>{_END})", re.IGNORECASE)


def well_formed(text: str) -> str:
    """Return a text whose surrogates are pairs: halves are joined, and replaced if one is missing."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def has_open_thoughts(text: str) -> bool:
    """Return whether a text begins with thoughts that do not end."""
    is_thinking = BEGIN_OF_THOUGHTS.match(text) is not None
    return is_thinking and END_OF_THOUGHTS.search(text) is None


def decision_value(text: str) -> Any:
    """Return the value of the only decision in a text. Raises `ValueError` if there is none, or more.

    An object in thoughts, in another object, or in one that is cut off, is not a decision.
    """
    try:
        return _loads(text)
    except ValueError as error:
        problem = str(error)
    objects = _objects(text)
    decisions = [value for value in objects if any(key in value for key in DECISION_KEYS)]
    different = [value for number, value in enumerate(decisions) if value not in decisions[:number]]
    if len(different) > 1:
        raise ValueError(f"{len(different)} different decisions; write one JSON object alone")
    if different or len(objects) == 1:
        return (different or objects)[0]
    raise ValueError(problem)


def _loads(text: str) -> Any:
    try:
        value = json.loads(text)
        encoded = json.dumps(value, ensure_ascii=False, allow_nan=False)
        complete = well_formed(encoded)
        value = value if complete is encoded else json.loads(complete)
        return checked_json(value, max_depth=MAX_JSON_DEPTH)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _objects(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects after the thoughts in a text that are in no other braces."""
    objects: list[dict[str, Any]] = []
    is_thinking = BEGIN_OF_THOUGHTS.match(text) is not None
    position = depth = attempts = marks = 0
    while match := _MARK.search(text, position):
        position, marks = match.end(), marks + 1
        if marks > MAX_MARKS or attempts > MAX_OBJECTS:
            return []
        if match.group("end"):
            objects.clear()
            is_thinking, depth = False, 0
            continue
        if match.group() == "}":
            depth = max(0, depth - 1)
            continue
        depth += 1
        if depth > 1:
            continue
        attempts += 1
        try:
            _, end = _DECODER.raw_decode(text, match.start())
            objects.append(_loads(text[match.start() : end]))
        except (ValueError, RecursionError):
            continue
        position, depth = end, 0
    return [] if is_thinking else objects
