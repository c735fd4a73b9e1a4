"""The schema of an agent's answers and the specs of its tools, and their checks."""

import warnings
from collections.abc import Sequence
from typing import Any

from outlast.agents.tool_parameters import check_type
from outlast.contracts.agents import ToolSpec
from outlast.errors import DefinitionError
from outlast.jsonschema.schema_checks import check_derived, check_schema
from outlast.jsonschema.schemas import Schema
from outlast.jsonschema.type_schemas import schema_of

AGENT_PARAMETERS: Schema = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "the task of the agent"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""The parameters of an agent that is a tool of another agent."""


def output_schema_of(output: Any, name: str) -> Schema:
    """Return the JSON Schema of an output type; raises `DefinitionError` for a type without one."""
    what = f"the output of agent {name!r}"
    is_schema = isinstance(output, dict)
    if not is_schema:
        check_type(output, what)
    schema: Schema = output if is_schema else schema_of(output, what=what)
    try:
        if is_schema:
            _warn(check_schema(schema, what))
        else:
            check_derived(schema, what)
    except ValueError as error:
        raise DefinitionError(str(error)) from None
    return schema


def _warn(remarks: tuple[str, ...]) -> None:
    for remark in remarks:
        warnings.warn(remark, UserWarning, stacklevel=2)


def unique_names(specs: Sequence[ToolSpec], agent_name: str) -> list[str]:
    """Return the names of tools; raises `DefinitionError` if two are the same."""
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DefinitionError(
            f"agent {agent_name!r}: two of its tools are named {twice[0]!r}; give each tool another name"
        )
    return names


def in_opening_order(specs: Sequence[ToolSpec], begin_with: Sequence[str]) -> tuple[ToolSpec, ...]:
    """Return the tools in the order of `begin_with`, and then all others; the first are marked."""
    opening = {name: position for position, name in enumerate(begin_with)}
    ordered = sorted(specs, key=lambda spec: opening.get(spec.name, len(opening)))
    return tuple(spec.model_copy(update={"begins_run": spec.name in opening}) for spec in ordered)


def check_parameters(spec: ToolSpec) -> None:
    """Raise `DefinitionError` if the schemas of a tool of another worker cannot be used."""
    if spec.kind == "question" and spec.approval is None:
        raise DefinitionError(f"tool {spec.name!r}: a question needs approval=, with its audience")
    try:
        _warn(
            check_schema(spec.parameters, f"the parameters of tool {spec.name!r}", arguments=True)
        )
        if spec.answer_schema is not None:
            check_derived(spec.answer_schema, f"the answer of tool {spec.name!r}")
    except ValueError as error:
        raise DefinitionError(str(error)) from None
