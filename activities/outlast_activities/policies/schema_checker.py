"""Validation of answers against the JSON Schema that the model server got."""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import extend
from pydantic import JsonValue
from pydantic_core import SchemaError as PydanticSchemaError
from pydantic_core import SchemaValidator, core_schema
from referencing.exceptions import Unresolvable

from outlast.errors import ModelError, ModelFailure
from outlast.texts import cut
from outlast_activities.keyed_schema import KeyedSchema
from outlast_activities.policies.formats import format_checker

MAX_VALIDATORS = 256
"""Compiled validators in the cache: one per agent and set of tools that are still allowed."""

MAX_PROBLEM = 300
"""Bytes of a problem, which a model reads."""


@functools.lru_cache(maxsize=1_024)
def _linear_matcher(pattern: str) -> SchemaValidator | None:
    """Return a matcher that takes linear time, or None if the pattern looks ahead or behind.

    Python's own `re` can take exponential time, and blocks the worker meanwhile.
    """
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except PydanticSchemaError:
        return None


def _pattern(
    validator: Any, pattern: str, instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    del validator, schema
    if not isinstance(instance, str):
        return
    matcher = _linear_matcher(pattern)
    if matcher is None:
        matches = re.search(pattern, instance) is not None
    else:
        matches = matcher.isinstance_python(instance)
    if not matches:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]  # jsonschema's own


class SchemaChecker:
    """Implements `Checker` with jsonschema, formats included.

    One instance is shared by all workflow threads of a worker. `lru_cache` is safe there.
    """

    def __init__(self) -> None:
        self._formats = format_checker()
        self._validator_of = functools.lru_cache(maxsize=MAX_VALIDATORS)(self._compile)

    def problem(self, value: JsonValue, schema: dict[str, Any], *, key: str) -> str | None:
        """Return what is wrong with `value` in one line, or None.

        Equal schemas need equal keys. Raises `ModelError` if the schema itself is broken.
        """
        try:
            validator = self._validator_of(KeyedSchema(key, schema))
            error = best_match(validator.iter_errors(value))
        except (SchemaError, Unresolvable) as broken:
            reason = cut(str(broken), MAX_PROBLEM)
            raise ModelError(
                f"the schema of a decision cannot be checked: {reason}",
                kind=ModelFailure.BAD_REQUEST,
            ) from None
        if error is None:
            return None
        path = ".".join(str(step) for step in error.absolute_path)
        return cut(f"{path}: {error.message}" if path else error.message, MAX_PROBLEM)

    def _compile(self, keyed: KeyedSchema) -> Draft202012Validator:
        validator: Draft202012Validator = _Validator(keyed.schema, format_checker=self._formats)
        return validator
