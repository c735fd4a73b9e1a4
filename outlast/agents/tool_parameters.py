"""The parameters of a function as a model of its arguments, from its signature, hints and docstring."""

import inspect
import re
import warnings
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model

from outlast.agents.tool_context import is_context
from outlast.errors import DefinitionError
from outlast.jsonschema.type_schemas import core_nodes, schema_of

MAX_LAYERS = 50
"""Decorators and partials around one function. A circle of them would have no end."""


def checked_function(function: Any, name: str) -> Callable[..., Any]:
    """Return what a tool calls; raises `DefinitionError` if it cannot be a tool."""
    if isinstance(function, classmethod):
        raise DefinitionError(
            f"tool {name!r}: a method cannot be a tool before it belongs to an object: "
            "use tool(effect=…)(the_object.method)"
        )
    if hasattr(function, "spec"):
        raise DefinitionError(
            f"tool {name!r}: {function.spec.name!r} is a tool already; remove the second @tool"
        )
    if isinstance(function, type) or not callable(function):
        raise DefinitionError(f"tool {name!r}: {function!r} is not a function")
    if any(map(inspect.isasyncgenfunction, _layers(function))):
        raise DefinitionError(f"tool {name!r}: it yields its results; return them as a list")
    checked: Callable[..., Any] = function
    return checked


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether a call returns an awaitable, also through decorators, a partial or an object."""
    return any(map(inspect.iscoroutinefunction, _layers(function)))


def name_of(function: Any) -> str:
    """Return the name of a function, of the one in a partial, or of an object's class."""
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__name__", None) or type(function).__name__)


def place_of(function: Any) -> str:
    """Return where a function is defined: its module and line."""
    code = getattr(_layers(function)[-1], "__code__", None)
    module = getattr(function, "__module__", None) or "?"
    return module if code is None else f"{module}, line {code.co_firstlineno}"


def hints_of(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """Return the type hints of a function; raises `DefinitionError` if they cannot be used."""
    try:
        # The innermost function has the last word, as for its signature.
        hints = get_type_hints(_inner(function), include_extras=True)
        hints |= get_type_hints(_layers(function)[-1], include_extras=True)
    except NameError as error:
        raise DefinitionError(
            f"tool {name!r}: a type hint is not defined: {error}; define or import it at"
            " the top of the module, outside of TYPE_CHECKING"
        ) from None
    except SyntaxError as error:
        raise DefinitionError(f"tool {name!r}: a type hint is not Python: {error.text!r}") from None
    if "return" not in hints:
        raise DefinitionError(f"tool {name!r}: its result has no type hint; add '-> …'")
    return hints


def context_parameter(function: Callable[..., Any], hints: dict[str, Any], name: str) -> str | None:
    """Return the name of the first parameter if it is a `ToolContext`, which the worker passes.

    Raises `DefinitionError` for a `ToolContext` in another place.
    """
    parameters = _parameters_of(function)
    contexts = [entry.name for entry in parameters if is_context(hints.get(entry.name))]
    if not contexts:
        return None
    if contexts != [parameters[0].name] or parameters[0].kind is parameters[0].KEYWORD_ONLY:
        raise DefinitionError(
            f"tool {name!r}: {contexts[-1]!r} is a ToolContext; only the first parameter can be one"
        )
    return contexts[0]


def arguments_model(
    function: Callable[..., Any], hints: dict[str, Any], name: str
) -> type[BaseModel]:
    """Return a model with one field for each parameter, except for a `ToolContext`."""
    documented = _documented_arguments(function)
    fields: dict[str, Any] = {}
    for parameter in _parameters_of(function):
        if is_context(hints.get(parameter.name)):
            continue
        _check_parameter(parameter, hints, name)
        hint = hints[parameter.name]
        what = f"parameter {parameter.name!r} of tool {name!r}"
        check_type(hint, what)
        default = ... if parameter.default is parameter.empty else parameter.default
        description = documented.get(parameter.name)
        if description:
            # A `Field(…)` in the hint or as the default has the last word.
            extra = getattr(hint, "__metadata__", ())
            bare = hint.__origin__ if extra else hint
            hint = Annotated[bare, Field(description=description), *extra]
        fields[parameter.name] = (hint, default)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a field may have the name of an old method
        return create_model(
            f"{name}_arguments",
            __config__=ConfigDict(extra="forbid", protected_namespaces=()),
            **fields,
        )


def check_type(annotation: Any, what: str, *, is_read: bool = True) -> None:
    """Raise `DefinitionError` for a type without a schema, or with values that JSON cannot give back."""
    try:
        schema_of(annotation, what=what, mode="validation" if is_read else "serialization")
        if is_read:
            _check_values(annotation, what)
    except DefinitionError:
        raise
    except Exception as error:
        line = " ".join(str(error).split())[:300]
        raise DefinitionError(
            f"{what}: {annotation!r} cannot be used: {type(error).__name__}: {line}"
        ) from error


def description_of(function: Callable[..., Any]) -> str:
    """Return the docstring of a function up to its sections."""
    sections = re.split(r"\n\s*(?:Args|Arguments|Returns|Raises):", _docstring(function))
    return sections[0].strip()


def _layers(function: Any) -> list[Any]:
    """Return a function, and then what is in its partials, decorators and objects, to the innermost one."""
    layers = [function]
    while len(layers) <= MAX_LAYERS:
        layer = layers[-1]
        if isinstance(layer, partial):
            layers.append(layer.func)
        elif hasattr(layer, "__wrapped__"):
            layers.append(layer.__wrapped__)
        elif not inspect.isroutine(layer) and not isinstance(layer, type):
            layers.append(layer.__call__)
        else:
            break
    return layers


def _inner(function: Any) -> Any:
    """Return the function in a partial, or the `__call__` of an object, with its decorators."""
    return next((layer for layer in _layers(function) if inspect.isroutine(layer)), function)


def _parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters that a model gives: all but those that a partial has bound."""
    partials = [layer for layer in _layers(function) if isinstance(layer, partial)]
    bound = {name for layer in partials for name in layer.keywords}
    parameters = inspect.signature(function).parameters.values()
    return [parameter for parameter in parameters if parameter.name not in bound]


def _check_parameter(parameter: inspect.Parameter, hints: dict[str, Any], name: str) -> None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise DefinitionError(
            f"tool {name!r}: *{parameter.name} cannot have a schema; use named parameters"
        )
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise DefinitionError(
            f"tool {name!r}: {parameter.name!r} must not be positional-only; remove the /"
        )
    if parameter.name not in hints:
        method = (
            ": a method cannot be a tool before it belongs to an object: "
            "use tool(effect=…)(the_object.method)"
            if parameter.name in ("self", "cls")
            else ""
        )
        raise DefinitionError(
            f"tool {name!r}: parameter {parameter.name!r} has no type hint{method}"
        )
    is_kept = parameter.name.startswith("model_") and hasattr(BaseModel, parameter.name)
    if is_kept or parameter.name.startswith("_"):
        raise DefinitionError(
            f"tool {name!r}: parameter {parameter.name!r} has a name that pydantic keeps for itself; "
            f"rename it, for example to {parameter.name.strip('_').removeprefix('model_') + '_value'!r}"
        )


def _check_values(annotation: Any, what: str) -> None:
    """Check that each value of an enumeration can be read back from its own JSON."""
    for kind in _enumerations(TypeAdapter(annotation).core_schema):
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        for member in kind:
            try:
                is_same = adapter.validate_json(adapter.dump_json(member)) is member
            except ValueError:
                is_same = False
            if not is_same:
                raise DefinitionError(
                    f"{what}: {member!r} cannot be read from JSON, since its value is a "
                    f"{type(member.value).__name__}; use text or whole numbers as values of {kind.__name__}"
                )


def _enumerations(schema: Any) -> list[Any]:
    """Return the enumerations in a core schema of pydantic."""
    return [node["cls"] for node in core_nodes(schema) if node.get("type") == "enum"]


def _docstring(function: Callable[..., Any]) -> str:
    return inspect.getdoc(_inner(function)) or ""


def _documented_arguments(function: Callable[..., Any]) -> dict[str, str]:
    section = re.search(r"\n(?:Args|Arguments):\n(.*?)(?:\n\S|\Z)", _docstring(function), re.DOTALL)
    if section is None:
        return {}
    entries = re.findall(
        r"^\s+(\w+)(?: \([^)]*\))?: (.+?)(?=^\s+\w+(?: \([^)]*\))?: |\Z)",
        section[1] + "\n",
        re.DOTALL | re.MULTILINE,
    )
    return {name: " ".join(text.split()) for name, text in entries}
