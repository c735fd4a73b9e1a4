"""Validation of answers against the JSON Schema that the model server got."""

from typing import Any

from pydantic import JsonValue

from outlast.errors import ModelError, ModelFailure
from outlast.jsonschema.canonical import canonical_schema
from outlast.jsonschema.pattern_syntax import PatternError
from outlast.jsonschema.schemas import Schema
from outlast.text.texts import cut
from outlast.weighed_cache import WeighedCache
from outlast_activities.policies.schema_evaluation import CheckTooLarge, Evaluation
from outlast_activities.policies.schema_problem import Problem

MAX_ANSWER_DEPTH = 68
"""Levels of a checked value: 64 for what a person or a model gives, and 4 of the decision around it. The
payload codec fails at 200."""

MAX_CACHED_SCHEMAS = 256
"""Canonical schemas in the cache: one per agent and set of tools that are still allowed."""

MAX_CACHED_SCHEMA_BYTES = 32_000_000
"""The estimated size of all canonical schemas in the cache."""

MAX_PROBLEM = 300
"""Bytes of a problem, which a model reads."""

_NODE_BYTES = 200
"""The estimated size of an object, a list or a value of a schema in memory."""


class SchemaChecker:
    """Implements `Checker`, formats included, in a bounded number of steps.

    All workflow threads of a worker share one instance.
    """

    def __init__(self) -> None:
        self._schemas: WeighedCache[str, Schema] = WeighedCache(
            max_bytes=MAX_CACHED_SCHEMA_BYTES, max_entries=MAX_CACHED_SCHEMAS
        )

    def problem(self, value: JsonValue, schema: dict[str, Any], *, key: str) -> str | None:
        """Return what is wrong with `value` in one line, or None.

        Equal schemas need equal keys. A check with too many steps is a problem as well. Raises `ModelError`
        if the schema itself is broken.
        """
        if is_deeper(value, MAX_ANSWER_DEPTH):
            return f"nested deeper than {MAX_ANSWER_DEPTH - 4} levels; give a flatter value"
        try:
            canonical = self._schemas.get_or_make(key, lambda: _sized(schema))
            found = Evaluation(canonical).problem(canonical, value)
        except CheckTooLarge as error:
            return str(error)
        except RecursionError:
            return "nested too deep to be checked; give a flatter value"
        except ArithmeticError as error:
            return f"a number cannot be checked: {error}"
        except (PatternError, ValueError, TypeError, AttributeError) as broken:
            reason = cut(str(broken), MAX_PROBLEM)
            raise ModelError(
                f"the schema of a decision cannot be checked: {reason}",
                kind=ModelFailure.BAD_REQUEST,
            ) from None
        return None if found is None else _line(found)


def _line(problem: Problem) -> str:
    path = ".".join(str(step) for step in problem.path)
    message = problem.message()
    return cut(f"{path}: {message}" if path else message, MAX_PROBLEM)


def _sized(schema: Schema) -> tuple[Schema, int]:
    canonical = canonical_schema(schema)
    nodes, waiting = 0, [canonical]
    while waiting:
        node: Any = waiting.pop()
        nodes += 1
        if isinstance(node, dict | list):
            waiting.extend(node.values() if isinstance(node, dict) else node)
    return canonical, nodes * _NODE_BYTES


def is_deeper(value: JsonValue, most: int) -> bool:
    """Return whether lists and objects are nested deeper than `most` levels."""
    level: list[Any] = [value]
    for _ in range(most):
        level = [
            part
            for node in level
            if isinstance(node, dict | list)
            for part in (node.values() if isinstance(node, dict) else node)
            if isinstance(part, dict | list)
        ]
        if not level:
            return False
    return True
