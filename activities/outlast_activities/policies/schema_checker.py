"""Checks answers against the schema that an engine was given: a promise is good, a look is better."""

import functools
import re
from collections import OrderedDict
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
from outlast_activities.policies.formats import format_checker

MAX_VALIDATORS = 256
"""Compiled validators kept: one for each agent and set of tools still allowed."""

MAX_PROBLEM = 300
"""Characters of a problem; a model reads it."""


@functools.lru_cache(maxsize=1_024)
def _linear(pattern: str) -> SchemaValidator | None:
    """Return what matches a pattern in time that grows with the text alone, if there is such a thing.

    Python's own `re` may take for ever, and holds everything else up meanwhile.
    """
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except PydanticSchemaError:
        return None  # it looks around or back


def _pattern(
    validator: Any, pattern: str, instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    del validator, schema
    if not isinstance(instance, str):
        return
    linear = _linear(pattern)
    if linear is None:
        matches = re.search(pattern, instance) is not None
    else:
        matches = linear.isinstance_python(instance)
    if not matches:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]  # jsonschema's own


class SchemaChecker:
    """Fulfils `Checker` with jsonschema, formats included."""

    def __init__(self) -> None:
        self._validators: OrderedDict[str, Draft202012Validator] = OrderedDict()
        self._formats = format_checker()

    def problem(self, value: JsonValue, schema: dict[str, Any], *, key: str) -> str | None:
        """Return what is wrong with `value`, in one line, or None."""
        try:
            error = best_match(self._validator(schema, key).iter_errors(value))
        except (SchemaError, Unresolvable) as broken:
            reason = cut(str(broken), MAX_PROBLEM)
            raise ModelError(
                f"the schema of a decision cannot be checked: {reason}",
                kind=ModelFailure.BAD_REQUEST,
            ) from None
        if error is None:
            return None
        place = ".".join(str(step) for step in error.absolute_path)
        text = f"{place}: {error.message}" if place else error.message
        return text if len(text) <= MAX_PROBLEM else f"{text[: MAX_PROBLEM - 1]}…"

    def _validator(self, schema: dict[str, Any], key: str) -> Draft202012Validator:
        if key not in self._validators:
            self._validators[key] = _Validator(schema, format_checker=self._formats)
            if len(self._validators) > MAX_VALIDATORS:
                self._validators.popitem(last=False)
        self._validators.move_to_end(key)
        return self._validators[key]
